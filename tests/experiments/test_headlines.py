"""Chapter 17's experiments: parts that are apart, rates that are the best, adapters
that are those of the kept runs.
"""

import itertools

import pytest

from finetuning.data.corpora import near_duplicate_groups
from finetuning.experiments import docstring_lines, headlines, key_points, results
from finetuning.tuning import CARD, SHIPPED, card, loss_figures, recipe

LINES = [headlines, docstring_lines]


@pytest.mark.parametrize("experiment", LINES)
def test_parts_are_apart(experiment):
    parts = [experiment.training(), experiment.validation(), experiment.test()]
    assert len(parts[0]) == experiment.TRAINING
    assert len(parts[1]) >= 55
    assert len(parts[2]) == experiment.TEST
    pairs = [pair for part in parts for pair in part]
    assert len({pair.name for pair in pairs}) == len(pairs)
    groups = near_duplicate_groups([pair.whole for pair in pairs])
    ends = [0, len(parts[0]), len(parts[0]) + len(parts[1]), len(pairs)]
    own = [set(groups[a:b]) for a, b in itertools.pairwise(ends)]
    assert not own[0] & own[1]
    assert not (own[0] | own[1]) & own[2]


def test_at_least_300_articles_are_written_about():
    assert headlines.TEST >= 300
    assert headlines.TEST % headlines.EACH == 0


@pytest.mark.parametrize("experiment", LINES)
def test_every_training_pair_is_seen_once(experiment):
    settings = experiment.SETTINGS
    assert settings.steps * settings.batch_size == len(experiment.chats())


@pytest.mark.parametrize("experiment", LINES)
def test_the_rate_of_the_recipe_is_the_best_of_four(experiment):
    kept = results(experiment.NAME)
    tuned = kept.select(part="tune")
    assert len(tuned) == len(experiment.RATES) * len(experiment.SEEDS) == 12
    for run in tuned:
        assert len(run["losses"]) == experiment.SETTINGS.steps
    assert headlines.best_rate(kept) == experiment.SETTINGS.learning_rate
    assert recipe(experiment.NAME) is experiment.RECIPE


@pytest.mark.parametrize("experiment", LINES)
def test_every_system_wrote_a_line_about_every_text(experiment):
    kept = results(experiment.NAME)
    for system in headlines.SYSTEMS:
        assert len(headlines.lines_of(kept, **system)) == experiment.TEST


def test_the_shipped_adapter_is_that_of_the_kept_run():
    kept = results(docstring_lines.NAME)
    folder = SHIPPED / docstring_lines.NAME
    best = kept.one(part="tune", rate=docstring_lines.SETTINGS.learning_rate, seed=0)
    assert (
        headlines.digest(folder) == best["adapter"] == kept.one(part="ship")["adapter"]
    )
    text = (folder / CARD).read_text(encoding="utf-8")
    assert text == card(docstring_lines.RECIPE, loss_figures(best["losses"]))


def test_no_adapter_of_the_news_is_shipped():
    assert not (SHIPPED / headlines.NAME).exists()


def test_nothing_of_the_articles_is_kept():
    kept = str([run.result for run in results(headlines.NAME)])
    assert not any(pair.text in kept for pair in headlines.test())


def test_points_are_of_the_sentences_that_there_are():
    kept = results("key_points")
    for part, count in key_points.PARTS.items():
        articles = key_points.articles(part)
        chosen = kept.one(by="MiniLM", part=part)["chosen"]
        assert set(chosen) == set(map(str, key_points.NOVELTIES))
        for places in chosen.values():
            assert len(places) == len(articles) == count
            for (_, own), found in zip(articles, places, strict=True):
                assert found == sorted(set(found))
                assert len(found) == min(key_points.COUNT, len(own))
                assert max(found) < len(own)


def test_of_written_points_measures_are_kept_and_no_text_but_the_first():
    kept = results("key_points").select(by="SmolLM2")
    assert len(kept) == 4
    for run in kept:
        for name in ("recall", "made_up", "words", "points", "counted"):
            assert len(run[name]) == key_points.EACH
        assert all(0 <= share <= 1 for share in run["recall"])
        headline, _ = key_points.articles("test")[run["from"]]
        first = key_points.recall(run["first"], headline)
        assert run["recall"][0] == pytest.approx(first, abs=1e-3)


def test_points_are_cut_before_their_words_are_counted():
    long = " ".join(["word"] * key_points.POINT_WORDS)
    assert key_points.recall([f"{long} bridge"], "Bridge word") == 0.5
    assert key_points.recall(["a", "b", "c", "bridge"], "Bridge") == 0.0
    assert key_points.recall([], "Bridge") == 0.0


def test_points_come_without_the_numbers_of_a_list():
    written = (
        "Here are the points:\n\n1. Cracks. A ferry\nruns.\n2) 9 cars\n- It is shut"
    )
    assert key_points.points_of(written) == [
        "Cracks.",
        "A ferry",
        "runs.",
        "9 cars",
        "It is shut",
    ]
    assert key_points.points_of("1. It broke. 2. It is shut. 3. In 2004. 4 came.") == [
        "It broke.",
        "It is shut.",
        "In 2004.",
        "4 came.",
    ]
    assert key_points.points_of("") == []


def test_a_word_that_the_limit_may_have_cut_is_left_out():
    def tokenizer(text):
        return {"input_ids": text.split()}

    assert headlines.whole_words(tokenizer, "a bridge clo", 3) == "a bridge"
    assert headlines.whole_words(tokenizer, "a bridge closed", 4) == "a bridge closed"
    assert headlines.whole_words(tokenizer, "bridge", 1) == ""


def test_shuffled_sentences_are_the_same_ones():
    for _, own in key_points.articles("train")[:20]:
        assert sorted(key_points.shuffled(own)) == sorted(own)
        assert sum(len(each.split()) for each in own) <= key_points.ARTICLE_WORDS
