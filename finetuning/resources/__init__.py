"""The models and corpora of the book: `fetch("bbc-news")` returns the folder that holds
one.
"""

from finetuning.resources.fetching import cache_folder, fetch, names
from finetuning.resources.messages import ResourceError

__all__ = ["ResourceError", "cache_folder", "fetch", "names"]
