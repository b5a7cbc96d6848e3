"""How the recipe cuts a table, and how it writes folders."""

import errno
from collections import Counter

import pytest

from finetuning.data import near_duplicate_groups
from finetuning.recipes import files
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.splitting import three_parts
from finetuning.recipes.workplace import Workplace


def labels_of(counts: dict[str, int]) -> list[str]:
    return [label for label, count in counts.items() for _ in range(count)]


def test_each_class_has_its_share_in_each_part():
    labels = labels_of({"a": 100, "b": 50, "c": 10})
    parts = three_parts(range(160), labels, test=0.2, validation=0.25, seed=0)
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(160))
    for part, shares in (
        (parts.test, (20, 10, 2)),
        (parts.validation, (20, 10, 2)),
        (parts.train, (60, 30, 6)),
    ):
        assert Counter(labels[row] for row in part) == dict(
            zip("abc", shares, strict=True)
        )


def test_another_seed_another_cut_and_the_same_seed_the_same():
    labels = labels_of({"a": 60, "b": 60})
    cuts = [
        three_parts(range(120), labels, test=0.2, validation=0.2, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert cuts[0] == cuts[1]
    assert cuts[0] != cuts[2]
    # The same on every machine and with every version of every library.
    assert cuts[0].test[:5] == [34, 83, 15, 30, 79]


def test_near_duplicates_are_on_one_side():
    stories = [f"the {word} of the town was sold for money" for word in "abcdefghij"]
    texts = [f"{story} on day {day}" for story in stories for day in range(6)]
    texts = [f"{number} {text}" for number, text in enumerate(texts)]
    groups = [number // 6 for number in range(60)]
    labels = ["x" if group % 2 else "y" for group in groups]
    parts = three_parts(groups, labels, test=0.2, validation=0.3, seed=0)
    sides = [{groups[row] for row in part} for part in vars(parts).values()]
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])
    assert len(set(near_duplicate_groups(texts))) < 60


def test_a_disk_that_is_full_leaves_no_folder(tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(RecipeError, match="is full: make room and go on with --resume"),
        files.whole_folder(tmp_path / "checkpoint") as part,
    ):
        full(part)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.part"]
    files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("old", "new"):
        with files.whole_folder(tmp_path / "kept") as part:
            files.write_text(part / "file", content)
    assert (tmp_path / "kept" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_an_output_that_exists_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    for resume in (False, True):
        with pytest.raises(RecipeError, match="exists: give another --output"):
            Workplace(tmp_path / "out").refuse(resume)


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="is a file, so no folder fits below it"):
        Workplace(tmp_path / "file" / "out").refuse(False)


def test_a_stopped_run_is_not_begun_anew_by_mistake(tmp_path):
    first = Workplace(tmp_path / "out")
    assert first.open({"seed": 0}) is False
    first.close()
    with pytest.raises(RecipeError, match="was stopped: go on with --resume, or"):
        Workplace(tmp_path / "out").refuse(resume=False)
    again = Workplace(tmp_path / "out")
    again.refuse(resume=True)
    assert again.open({"seed": 0}) is True
    again.close()


def test_a_run_with_other_settings_is_refused(tmp_path):
    first = Workplace(tmp_path / "out")
    first.open({"seed": 0, "epochs": 2})
    first.close()
    with pytest.raises(RecipeError, match=r"\(epochs was 2 and is 3\)"):
        Workplace(tmp_path / "out").open({"seed": 0, "epochs": 3})


def test_two_processes_do_not_share_an_output(tmp_path):
    first = Workplace(tmp_path / "out")
    first.open({})
    with pytest.raises(RecipeError, match="another process is at work in"):
        Workplace(tmp_path / "out").open({})
    first.close()


def test_the_output_appears_whole_and_alone(tmp_path):
    place = Workplace(tmp_path / "out")
    place.open({})
    place.stage("first", lambda folder: files.write_text(folder / "file", "made"))
    place.finish(lambda folder: files.write_text(folder / "metrics.json", "{}"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]
    assert place.is_finished()
