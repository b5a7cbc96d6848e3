"""The book's models and corpora: `fetch("bbc-news")` returns the folder of one."""

from finetuning.resources.cache import cache_folder, keep
from finetuning.resources.fetching import fetch, mend, names, pins
from finetuning.resources.messages import ResourceError

__all__ = ["ResourceError", "cache_folder", "fetch", "keep", "mend", "names", "pins"]
