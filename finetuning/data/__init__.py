"""The book's data: corpora by name, streams of token ids, and what is generated."""

from finetuning.data.corpora import (
    headline_and_lead,
    load_bbc_news,
    load_interface_strings,
    load_state_of_the_union,
    near_duplicate_groups,
)

__all__ = [
    "headline_and_lead",
    "load_bbc_news",
    "load_interface_strings",
    "load_state_of_the_union",
    "near_duplicate_groups",
]
