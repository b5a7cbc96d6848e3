"""The models and corpora of the book: `fetch("bbc-news")` returns the folder that holds
one.
"""

from finetuning.resources.fetching import ResourceError, cache_folder, fetch, names

__all__ = ["ResourceError", "cache_folder", "fetch", "names"]
