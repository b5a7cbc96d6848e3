"""Each rule for notebooks fires on one small fault, and none fires on a book that keeps
them.
"""

import subprocess
import sys

import pytest
import samples
from lint import lint
from nbformat.v4 import new_output
from notebooks import ROOT, NotebookError, read
from rules.page import EVERYWHERE, RULES
from samples import CHAPTER, EXERCISES, SOLUTIONS, code, printed, text


@pytest.fixture
def root(tmp_path):
    return samples.book(tmp_path)


def findings(root, name, change, keep_status=True):
    """What lint says after `change` was made to one notebook of the small book."""
    content = read(root / name, root)
    changed = change(content)
    content = (
        changed if hasattr(changed, "cells") else content
    )  # most change it in place
    path = root / name
    if keep_status:
        samples.save(root, name, content)
    else:
        path.write_text(samples.dumps(content))
    return [str(finding) for finding in lint(path, root)]


def cell(content, cell_id):
    return next(cell for cell in content.cells if cell.id == cell_id)


def put(cell_id, source):
    """A change: this text at the end of a cell."""

    def change(content):
        cell(content, cell_id).source += "\n\n" + source

    return change


def swap(cell_id, old, new):
    def change(content):
        assert old in cell(content, cell_id).source
        cell(content, cell_id).source = cell(content, cell_id).source.replace(old, new)

    return change


def add(*cells, before=-1):
    """A change: more cells, before the last one, and all of them numbered anew."""

    def change(content):
        content.cells[before:before] = cells
        return samples.notebook(*content.cells)

    return change


def set_metadata(cell_id, **metadata):
    return lambda content: cell(content, cell_id).metadata.update(metadata)


def set_output(cell_id, *outputs):
    def change(content):
        cell(content, cell_id).outputs = list(outputs)

    return change


def remove(*cell_ids):
    return lambda content: samples.notebook(
        *[cell for cell in content.cells if cell.id not in cell_ids]
    )


def stream(name, what):
    return new_output("stream", name=name, text=what)


@pytest.mark.parametrize("name", [CHAPTER, SOLUTIONS, EXERCISES])
def test_nothing_is_said_of_a_book_that_keeps_the_rules(root, name):
    assert findings(root, name, lambda content: None) == []


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["no"])

FAULTS = {
    # Markdown
    "role-in-table": (
        put("wrong", "| a |\n|---|\n| {ref}`x` |"),
        "cell 'wrong' (7), line 7: a MyST role",
    ),
    "html-in-list": (put("wrong", "- x\n  <div>x</div>"), "line 6: `<div>`"),
    "directive": (
        put("wrong", "```{note}\nx\n```"),
        "cell 'wrong' (7), line 5: a MyST directive",
    ),
    "colons": (put("wrong", ":::{note}"), "a MyST directive"),
    "role": (put("wrong", "see {ref}`x`"), "a MyST role"),
    "target": (put("wrong", "(here)="), "a MyST target"),
    "comment": (put("wrong", "% note"), "a MyST comment"),
    "substitution": (put("wrong", "{{ x }}"), "a MyST substitution"),
    "footnote": (put("wrong", "x[^1]"), "a footnote"),
    "environment": (put("wrong", "\\begin{align}"), "LaTeX outside"),
    "parentheses": (put("wrong", "\\(x\\)"), "mathematics goes between"),
    "label": (put("wrong", "$$x$$ (eq)"), "a labelled equation"),
    "picture-file": (put("wrong", "![x](x.png)"), "a picture from a file"),
    "html": (put("wrong", "<div>x</div>"), "`<div>`"),
    "attribute": (put("wrong", '<sub style="x">x</sub>'), "has attributes"),
    "dead-link": (
        put("wrong", "[x](../chapters/05.ipynb)"),
        "line 5: the link leads to ../chapters/05.ipynb",
    ),
    "reference-link": (
        put("wrong", "[x]: ../none.ipynb"),
        "../none.ipynb, which does not exist",
    ),
    "root-link": (put("wrong", "[x](/chapters/05.ipynb)"), "is not relative"),
    "http": (put("wrong", "[x](http://example.org)"), "is not https"),
    "phrase": (
        put("wrong", "In this section, we will see."),
        "says “In this section, we will”",
    ),
    "word": (put("wrong", "A Powerful idea."), "says “Powerful”"),
    "second-title": (put("wrong", "# Again"), "a second title"),
    "skipped-level": (put("wrong", "#### Deep"), "skips a level"),
    # The file
    "big": (set_output("claim", printed("x" * 1_000_000)), "less than 1,000,000"),
    "widgets": (
        lambda content: content.metadata.update(widgets={}),
        "has metadata `widgets`",
    ),
    "kernel": (
        lambda content: content.metadata.kernelspec.update(name="venv"),
        "has another `kernelspec`",
    ),
    "no-language": (
        lambda content: content.metadata.pop("language_info"),
        "has no `language_info`",
    ),
    "timing": (
        set_metadata("claim", execution={}),
        "cell 'claim' (6): has metadata `execution`",
    ),
    "tag": (
        set_metadata("claim", tags=["nbval-ignore-outputs"]),
        "the tag `nbval-ignore-outputs`",
    ),
    "attachment": (
        lambda content: cell(content, "wrong").update(attachments={"a": {}}),
        "an attached file",
    ),
    # Code and outputs
    "number": (swap("title", "# 04 ·", "# 4 ·"), "not a title `# 04 · …`"),
    "no-setup": (set_metadata("setup", tags=[]), "must be tagged `setup`"),
    "late-setup": (add(code("early", "1;"), before=1), "must be tagged `setup`"),
    "shell": (put("claim", "!ls"), "calls the shell"),
    "pip": (put("claim", "%pip install x"), "calls the shell"),
    "empty": (add(code("none", "")), "is empty"),
    "long": (put("claim", "\n".join(["1"] * 20)), "has 21 statements"),
    "deep": (
        put("claim", "def f():\n    'why'\n" + "    for x in y:\n        1\n" * 10),
        "has 22 statements",
    ),
    "semicolon": (
        put("claim", "a = 1; b = 2"),
        "cell 'claim' (6), line 3: two statements in one line",
    ),
    "packed": (
        put("claim", "a, b = 1, 2"),
        "cell 'claim' (6), line 3: assigns several values",
    ),
    "packed-attributes": (
        put("claim", "self.a, self.b = model, len(model)"),
        "assigns several values",
    ),
    "hidden-import": (
        lambda content: [
            put("module", "import torch")(content),
            set_metadata("module", tags=["remove-cell"])(content),
            put("claim", "torch.ones(2)")(content),
        ],
        "cell 'claim' (6): uses `torch`, which only a cell that is not shown",
    ),
    "hidden-definition": (
        lambda content: [
            set_metadata("mix", tags=["remove-cell"])(content),
            put("claim", "def later():\n    return mix")(content),
        ],
        "uses `mix`, which only a cell that is not shown",
    ),
    "wide": (
        set_output("claim", printed("x" * 81 + "\n")),
        "has a line of 81 columns; 80 fit",
    ),
    "wide-chinese": (
        set_output("claim", printed("学" * 41 + "\n")),
        "has a line of 82 columns",
    ),
    "wide-result": (
        set_output("claim", new_output("display_data", data={"text/plain": "x" * 90})),
        "has a line of 90 columns",
    ),
    "wide-trace": (
        set_output(
            "claim",
            new_output(
                "error", ename="E", evalue="", traceback=["\x1b[31m" + "x" * 81]
            ),
        ),
        "has a line of 81 columns",
    ),
    "folder": (put("claim", "open('/home/me/x')"), "names a folder of one machine"),
    "folder-in-output": (
        set_output("claim", printed("in /root/x")),
        "its output names a folder",
    ),
    "windows": (put("wrong", r"C:\Users\me"), "names a folder"),
    "address": (
        set_output("claim", printed("<x at 0x7f0123456789>")),
        "an address in memory",
    ),
    "not-run": (
        lambda content: cell(content, "claim").update(execution_count=None),
        "has not been run",
    ),
    "out-of-order": (
        lambda content: cell(content, "claim").update(execution_count=9),
        "was run as number 9, not 5",
    ),
    "stderr": (
        set_output("claim", stream("stderr", "careful")),
        "has output on stderr",
    ),
    "colours": (set_output("claim", printed("\x1b[31mred")), "colours of a terminal"),
    "progress": (set_output("claim", printed("10%\r20%")), "a progress bar"),
    "widget": (
        set_output(
            "claim",
            new_output(
                "display_data", data={"application/vnd.jupyter.widget-view+json": {}}
            ),
        ),
        "shows a widget",
    ),
    "exception": (set_output("claim", ERROR), "no tag `raises-exception`"),
    "no-exception": (
        set_metadata("claim", tags=["raises-exception"]),
        "no exception in its output",
    ),
    "no-picture": (set_output("figure"), "has no picture in its output"),
    "no-alternative": (
        lambda content: cell(content, "figure").metadata.clear(),
        "without alternative text",
    ),
    "short-alternative": (
        set_metadata("figure", mystnb={"image": {"alt": "Weights."}}),
        "should say",
    ),
    "what-it-is": (
        set_metadata(
            "figure",
            mystnb={"image": {"alt": "A plot of the weights of each of the words."}},
        ),
        "should say",
    ),
    "alternative-of-nothing": (
        set_metadata("claim", mystnb={"image": {"alt": "x"}}),
        "and no picture",
    ),
    "ignored": (
        set_metadata("claim", tags=["nbval-ignore-output"]),
        "has to do with none of",
    ),
    "often-ignored": (
        add(
            *[
                code(f"t{at}", "watch.seconds", tags=["nbval-ignore-output"])
                for at in range(6)
            ]
        ),
        "7 cells are tagged nbval-ignore-output",
    ),
    "comment-marker": (put("claim", "# NBVAL_IGNORE_OUTPUT"), "use tags"),
    "tolerance": (set_metadata("claim", nbval_tolerance=0.5), "nbval_tolerance 0.5"),
    "no-tolerance": (
        set_metadata("claim", nbval_tolerance="wide"),
        "nbval_tolerance wide",
    ),
    # A chapter
    "promise": (
        swap("title", "Words that look at each other. Nothing is learnt yet.\n\n", ""),
        "no promise",
    ),
    "abilities": (
        swap("title", "What you will be able to do", "Aims"),
        "“What you will be able to do” is missing",
    ),
    "builds-on": (swap("title", "Builds on", "After"), "“Builds on” is missing"),
    "no-measured": (
        swap("title", "<!-- measured -->", ""),
        "no line `<!-- measured -->`",
    ),
    "not-measured": (swap("title", "about 3 s", "some s"), "is not filled in"),
    "mismeasured": (
        swap("title", "about 3 s", "about 30 s"),
        "states 30 s and 0.3 GB; measured were 3.0 s",
    ),
    "nothing-wrong": (
        swap("wrong", "What goes wrong", "Bugs"),
        "no heading “What goes wrong”",
    ),
    "no-summary": (swap("closing", "## Summary", "Summary"), "no heading “Summary”"),
    "no-reading": (
        swap("closing", "Further reading", "More"),
        "no heading “Further reading”",
    ),
    "order": (add(text("early", "## Further reading"), before=2), None),
    "wrong-order": (
        lambda content: samples.notebook(
            *content.cells[:6], *content.cells[7:], content.cells[6]
        ),
        "stand in another order",
    ),
    "uncited": (
        swap("closing", "](https://example.org/1)", "]"),
        "fewer than two links",
    ),
    "no-exercises": (
        swap("closing", "../exercises/", "../solutions/"),
        "does not link to its exercises",
    ),
    "no-claim": (remove("claim"), "no cell calls claim"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_in_a_chapter_is_found(root, fault):
    change, expected = FAULTS[fault]
    found = findings(root, CHAPTER, change)
    if expected is None:
        assert found == []
    else:
        assert any(expected in finding for finding in found), found
        assert all(finding.startswith(CHAPTER) for finding in found)


SOLUTION_FAULTS = {
    "title": (swap("title", ": solutions", ""), "does not say “solutions”"),
    "no-chapter": (
        swap("title", "../chapters/", "../exercises/"),
        "no link to ../chapters/",
    ),
    "no-blank": (remove("about"), "no link to ../exercises/"),
    "few": (
        remove("exercise-5", "answer-5", "check-5", "why-5"),
        "has 4 exercises; at least 5",
    ),
    "numbering": (swap("exercise-3", "4.3", "4.4"), "is not `## Exercise 4.3 · …`"),
    "no-hint": (swap("exercise-2", "Hint", "Well"), "has no hint"),
    "no-check": (remove("check-2"), "has no check"),
    "other-check": (swap("check-2", "ch04", "ch05"), "has no check"),
    "early-check": (
        lambda content: samples.notebook(
            *content.cells[:5], content.cells[6], content.cells[5], *content.cells[7:]
        ),
        "does not stand in a cell of its own",
    ),
    "no-reason": (remove("why-2"), "has no explanation"),
    "nothing-broken": (
        swap("exercise-5", " (break-it)", ""),
        "no exercise is a break-it",
    ),
    "broken-by-tag": (
        lambda content: [
            swap("exercise-5", " (break-it)", "")(content),
            set_metadata("exercise-5", tags=["break-it"])(content),
        ],
        None,
    ),
    "export": (put("setup", ""), None),
    "exports": (swap("answer-1", "def", "#| export\ndef"), "only chapters export"),
}


@pytest.mark.parametrize("fault", SOLUTION_FAULTS)
def test_each_fault_in_solutions_is_found(root, fault):
    change, expected = SOLUTION_FAULTS[fault]
    found = findings(root, SOLUTIONS, change)
    if expected is None:
        assert found == []
    else:
        assert any(expected in finding for finding in found), found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (set_output("answer-1", printed("x")), "has been run: make derive"),
        (lambda content: content.metadata.pop("derived_from"), "is not derived"),
        (swap("title", "exercises", "questions"), "does not say “exercises”"),
        (put("exercise-1", "<div>"), "`<div>`"),
    ],
)
def test_each_fault_in_exercises_is_found(root, change, expected):
    assert any(expected in finding for finding in findings(root, EXERCISES, change))


def test_a_notebook_that_was_never_run_is_one_finding(root):
    def change(content):
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.update(execution_count=None, outputs=[])

    assert findings(root, CHAPTER, change) == [
        f"{CHAPTER}: has not been run: make run NB={CHAPTER}"
    ]


def test_code_that_changed_after_its_run_is_found(root):
    found = findings(root, CHAPTER, put("claim", "1 + 1"), keep_status=False)
    assert found == [
        f"{CHAPTER}: changed since it was run: code: make run NB={CHAPTER}"
    ]


def test_only_its_record_excuses_a_chapter_from_exercises(root):
    def without_links(content):
        last = content.cells[-1]
        last.source = last.source.partition("Exercises:")[0]

    assert len(findings(root, CHAPTER, without_links)) == 2
    record = root / "book/chapters.yml"
    text = record.read_text().replace("slug:", "exercises: false\n    slug:", 1)
    record.write_text(text)
    assert findings(root, CHAPTER, without_links) == []


def test_a_module_that_changed_after_the_run_is_found(root):
    module = root / "finetuning/helper.py"
    module.write_text("VALUE = 1\n")
    change = put("claim", "from finetuning.helper import VALUE")
    assert findings(root, CHAPTER, change) == []
    module.write_text("VALUE = 2\n")
    assert [str(finding) for finding in lint(root / CHAPTER, root)] == [
        f"{CHAPTER}: changed since it was run: modules: make run NB={CHAPTER}"
    ]


def test_a_notebook_that_was_never_measured_is_found(root):
    (root / "book/status.json").unlink()
    found = findings(root, CHAPTER, lambda content: None, keep_status=False)
    assert any("has no measured run" in finding for finding in found)


@pytest.mark.parametrize(
    "source",
    [
        "a, b = b, a",
        "a, b = b, a + b",
        "a, b = f(x)",
        "a, b = pair",
        "for a, b in pairs:\n    a",
        "x = 'a; b'  # c; d",
        "plt.plot(x);",
        "\n".join(["1"] * 19),
        "def f():\n    torch = 1\n    return torch",
        "[torch for torch in x]",
        "import torch\ntorch.ones(2)",
        "(1\n    != 1)",
    ],
)
def test_what_is_allowed_in_code(root, source):
    def change(content):
        put("module", "import torch")(content)
        set_metadata("module", tags=["remove-cell"])(content)
        put("claim", source)(content)

    assert findings(root, CHAPTER, change) == []


@pytest.mark.parametrize(
    "output",
    [
        printed("x" * 80 + "\n" + "学" * 40),
        new_output("display_data", data={"text/plain": "x" * 99, "text/html": "<p>"}),
    ],
)
def test_what_is_allowed_in_outputs(root, output):
    assert findings(root, CHAPTER, set_output("claim", output)) == []


@pytest.mark.parametrize(
    "source",
    [
        "`{note}` and `<div>` in code",
        "```python\n<div>\n![x](y.png)\n```",
        "<!-- <div> and {ref}`x` -->",
        "$a<b>c$ and $$\\begin{aligned}x\\end{aligned}$$",
        "<https://example.org>",
        "[x](https://example.org) and [y](../solutions/04-self-attention.ipynb#here)",
        "H<sub>2</sub>O<br>x<sup>2</sup>, <kbd>Esc</kbd>",
        "`In this section, we will` is what others say",
        "it costs $5 and $6",
    ],
)
def test_what_is_allowed_in_markdown(root, source):
    assert findings(root, CHAPTER, put("wrong", source)) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a notebook of format 4"),
        (
            '{"nbformat": 4, "nbformat_minor": 4, "cells": []}',
            "format 4.4; cell ids need 4.5",
        ),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
            '[{"cell_type": "markdown", "metadata": {}, "source": ""}]}',
            "cell 1: has no id",
        ),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ['
            + ", ".join(
                ['{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ""}']
                * 2
            )
            + "]}",
            "cell 'a' (2): cell 1 has the same id",
        ),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
            '[{"cell_type": "mark", "id": "a", "metadata": {}, "source": ""}]}',
            "not a valid notebook",
        ),
    ],
)
def test_what_is_no_notebook_is_said_in_one_line(tmp_path, content, expected):
    path = tmp_path / "01-x.ipynb"
    path.write_text(content)
    with pytest.raises(NotebookError) as error:
        lint(path, tmp_path)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_every_rule_is_tried():
    assert {function.__name__ for function, _ in RULES} == {
        "blank_anatomy",
        "chapter_anatomy",
        "clean_outputs",
        "comparison",
        "executed",
        "figures",
        "links",
        "machine",
        "metadata",
        "narrow_outputs",
        "one_statement_a_line",
        "one_title",
        "portable_markdown",
        "set_up",
        "short_cells",
        "size",
        "solutions_anatomy",
        "up_to_date",
        "visible_names",
        "words",
    }


def test_the_command_names_what_is_wrong_and_fails(tmp_path):
    path = tmp_path / "nothing.ipynb"
    command = [sys.executable, str(ROOT / "tools/lint.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"{path}: there is no such file.\n")


def test_the_book_keeps_the_rules():
    paths = [
        path
        for folder in EVERYWHERE
        for path in sorted((ROOT / folder).glob("*.ipynb"))
    ]
    assert paths
    assert [str(finding) for path in paths for finding in lint(path)] == []
