from __future__ import annotations

import dataclasses
import json

import pytest

from embedkit.data import pydocs
from embedkit.data.corpus import bare
from embedkit.data.pydocs import load_pydocs
from embedkit.data.sources import load_source, text_id
from embedkit.errors import DataError
from embedkit.recipe.pydocs import PydocsSource
from embedkit.recipe.schema import Source

LONG = " ".join(f"word{i}" for i in range(40))
TRAIN = [
    ("Compute the mean of many numbers.", "The arithmetic mean is the sum divided by the count."),
    ("Compute the mean of many numbers", "Another body for the same summary, with other words."),
    ("Compute the mean of many numbers.", "The arithmetic mean is the sum divided by the count."),  # duplicate
    ("Draw a line between two points.", "A line has a colour and a width in points."),
    ("Draw a curve between two points.", "A line has a colour and a width in points."),  # shared by two: kept
    ("First of three with boilerplate.", "This text stands below many functions of the package."),
    ("Second of three with boilerplate.", "This text stands below many functions of the package."),
    ("Third of three with boilerplate.", "This text stands below many functions of the package."),
    ("Too short.", "This one has a rest that is long enough."),
    ("A summary that is long enough.", "Rest short."),
    ("Deprecated since version two of this.", "Use the other function in the other module."),
    ("Held out summary in both packages.", "This rest occurs only in the training package."),
    ("This one copies a held out rest.", "Fit a forest of many small trees."),
    ("This one copies a long held out rest.", f"{LONG} and some words of its own at the end here"),
    ("This one is cut at the limit of words.", " ".join(f"term{i}" for i in range(60))),
    *(("Fit the model to given data.", f"Body number {i} of a phrase that nine of them share.") for i in range(9)),
]
TEST = [
    ("Held out summary in both packages.", "The first document of the test package."),
    ("Grow a forest of trees on data.", "Fit a forest of many small trees."),
    ("Grow a wood of trees on data.", "Fit a forest of many small trees."),
    ("A long one in the test package.", f"{LONG} and then something else"),
    ("One query with two different documents.", "The first of its two documents is this."),
    ("One query with two different documents.", "The second of its two documents is this."),
]
DEV = [
    ("A query that only dev has.", "A document that only dev has."),
    ("A copy of the test package in dev.", "Fit a forest of many small trees."),
]


def write(folder, name, pairs):
    (folder / name).mkdir()
    lines = ['raise RuntimeError("this package must not be imported")']
    for i, (summary, rest) in enumerate(pairs):
        lines.append(f'def f{i}():\n    """{summary}\n\n    {rest}\n    """')
    (folder / name / "__init__.py").write_text("\n".join(lines))


@pytest.fixture
def block(tmp_path, monkeypatch):
    packages = tmp_path / "site"
    packages.mkdir()
    for name, pairs in (("fake_train", TRAIN), ("fake_test", TEST), ("fake_dev", DEV)):
        write(packages, name, pairs)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return PydocsSource(
        packages=("fake_train", "not_installed"), holdout=("fake_test",), dev=("fake_dev",), max_words=50
    )


@pytest.fixture
def corpus(block):
    return load_pydocs(block)


def by_query(corpus):
    return {e.query: e for e in corpus.train}


def test_one_summary_with_several_rests_is_one_query_with_several_positives(corpus):
    example = by_query(corpus)["Compute the mean of many numbers."]
    assert example.positives == (TRAIN[0][1], TRAIN[1][1])
    assert example.known == tuple(text_id(p) for p in example.positives)
    assert example.origin == "fake_train.f0"
    assert corpus.info["dropped"]["train"]["duplicate"] == 1


def test_shared_rests_and_phrases_are_dropped(corpus):
    queries = by_query(corpus)
    assert not [
        q for q in queries if q.endswith("boilerplate.") or q.startswith(("Fit the", "Deprecated", "Too short"))
    ]
    assert "A summary that is long enough." not in queries
    assert queries["Draw a line between two points."].positives == queries["Draw a curve between two points."].positives
    assert corpus.info["dropped"]["train"] == {
        "boilerplate": 1,
        "duplicate": 1,
        "rest shared by 3 or more": 3,
        "summary with more than 8 rests": 9,
        "text of a held-out package": 3,
        "too short": 2,
    }


def test_nothing_held_out_is_trained_on(corpus):
    queries = by_query(corpus)
    assert not {"Held out summary in both packages.", "This one copies a held out rest."} & set(queries)
    assert "This one copies a long held out rest." not in queries
    held_out = {bare(text) for d in (corpus.test, corpus.dev) for text in [*d.queries.values(), *d.corpus.values()]}
    assert not held_out & {bare(text) for e in corpus.train for text in (e.query, *e.positives)}
    assert list(corpus.dev.queries.values()) == ["A query that only dev has."]


def test_documents_are_cut(corpus):
    assert by_query(corpus)["This one is cut at the limit of words."].positives[0].split()[-1] == "term49"


def test_the_held_out_packages_make_a_retrieval_task(corpus):
    data = corpus.test
    assert data.qrels["fake_test.f1"] == data.qrels["fake_test.f2"] == {"fake_test.f1": 1}
    assert data.qrels["fake_test.f4"] == {"fake_test.f4": 1, "fake_test.f5": 1}
    assert (len(data.queries), len(data.corpus)) == (5, 5)
    assert data.corpus["fake_test.f5"] == TEST[5][1]
    assert set(data.queries) == set(data.qrels)


def test_info_counts_what_is_there(corpus):
    info = corpus.info
    assert info["missing"] == ["not_installed"]
    assert {name: p["split"] for name, p in info["packages"].items()} == {
        "fake_train": "train",
        "fake_test": "test",
        "fake_dev": "dev",
    }
    assert info["packages"]["fake_train"]["docstrings"] == len(TRAIN)
    assert (
        info["pairs"]["train"] == sum(len(e.positives) for e in corpus.train) == info["packages"]["fake_train"]["pairs"]
    )
    assert info["queries"] == {"train": len(corpus.train), "test": 5, "dev": 1}


def test_the_cache_is_used_and_rebuilt_when_it_is_damaged(block, corpus, tmp_path, monkeypatch):
    file = next((tmp_path / "cache" / "embedkit" / "pydocs").glob("*/corpus.json"))
    whole = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pydocs, "_build", lambda *a: pytest.fail("harvested again"))
        assert load_pydocs(block) == corpus
    changed = whole.replace(b"colour", b"color")
    for damaged in (whole[: len(whole) // 2], b"", b"[]", changed):
        file.write_bytes(damaged)
        assert load_pydocs(block) == corpus
        assert file.read_bytes() == whole
    assert [p.name for p in file.parent.iterdir()] == ["corpus.json"]


def test_options_have_their_own_cache_entry(block, corpus, tmp_path):
    longer = load_pydocs(block.model_copy(update={"max_words": 60}))
    assert longer.info["digest"] != corpus.info["digest"]
    assert len(list((tmp_path / "cache" / "embedkit" / "pydocs").iterdir())) == 2


def test_harvesting_again_gives_the_same_corpus(block, corpus, tmp_path):
    again = load_pydocs(block, tmp_path / "elsewhere")
    assert json.dumps(dataclasses.asdict(again)) == json.dumps(dataclasses.asdict(corpus))


def test_a_cache_that_cannot_be_written_warns(block, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="pydocs is not cached"):
        made = load_pydocs(block, tmp_path / "file")
    assert made.train


def test_no_package_to_train_on(block):
    with pytest.raises(DataError, match="no package to train on is installed \\(looked for not_installed"):
        load_pydocs(block.model_copy(update={"packages": ("not_installed",)}))


def test_as_a_source(block, corpus):
    loaded = load_source(Source(pydocs=block))
    assert loaded.get(range(loaded.rows)) == [
        dataclasses.replace(e, known=tuple(sorted(e.known))) for e in corpus.train
    ]
    assert (loaded.name, loaded.digest) == ("pydocs", corpus.info["digest"])
    assert load_source(Source(pydocs=block, limit=2)).rows == 2
