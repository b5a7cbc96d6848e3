"""The history of language models: complete rows, in order, each with its source."""

import re

from notebooks import ROOT

from finetuning.data.history import HISTORY


def test_every_row_names_a_source_of_the_bibliography():
    text = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE))
    assert [row.name for row in HISTORY if row.source not in keys] == []
    assert all(row.where for row in HISTORY)


def test_the_rows_are_in_order_and_distinct():
    years = [row.year for row in HISTORY]
    assert years == sorted(years)
    assert len({row.name for row in HISTORY}) == len(HISTORY)


def test_numbers_are_of_a_plausible_size():
    for row in HISTORY:
        assert 1e7 < row.parameters < 1e12
        assert row.tokens is None or 1e10 < row.tokens < 1e14
        assert row.kind in ("encoder", "decoder", "encoder–decoder")


def test_a_row_without_tokens_says_what_its_paper_counts():
    assert [row.name for row in HISTORY if row.tokens is None and not row.note] == []
