"""The book's rules for notebooks, which `tools/lint.py` holds them to."""
