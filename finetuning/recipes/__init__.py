"""Tuning a model on a reader's own table: what `recipes/finetune.py` runs.

The modules are small and in the order of a run: `tables` and `columns` read and refuse,
`splitting` cuts, `classify`, `sft` and `dpo` train and measure, `predict` loads what
was kept.
"""
