"""`mine`: the whole way with given vectors and a callable, what is refused, and going on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from embedkit.data.sources import load_source
from embedkit.errors import DataError, EmbedkitError, RecipeError, WriteError
from embedkit.mining.mined_file import read_about
from embedkit.recipe.schema import Source
from embedkit.run.mining_data import Data
from embedkit.run.mining_job import Result, mine
from embedkit.run.mining_vectors import Given
from embedkit.vectors import folder as folders
from tests.mining.worlds import World

QUIET: dict[str, Any] = {"say": lambda line: None, "progress": False, "device": "cpu"}


def texts(count: int = 30, queries: int = 6) -> Data:
    """Files in the working folder."""
    with Path("c.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"d{i}", "text": f"document {i}"}) + "\n" for i in range(count))
    with Path("q.jsonl").open("w") as file:
        rows = [{"id": i, "query": f"query {i}", "positive": f"document {2 * i}"} for i in range(queries)]
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return Data(queries="q.jsonl", corpus="c.jsonl")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return texts()


def mined(data: Data, model: Any = None, search: dict[str, Any] | None = None, **options: Any) -> Result:
    files = {"queries": data.queries, "corpus": data.corpus, "skip_bad_rows": data.skip}
    return mine(model, out="m.parquet", **{**files, **QUIET, **options, **(search or {})})


def naive(depth: int, keep: int) -> list[tuple[list[str], list[int]]]:
    world = World()
    q, d = world([f"query {i}" for i in range(6)]), world([f"document {i}" for i in range(30)])
    found = []
    for i, scores in enumerate(q @ d.T):
        order = np.argsort(-scores, kind="stable")[:depth]
        ranked = [(f"d{row}", rank) for rank, row in enumerate(order, 1) if row != 2 * i][:keep]
        found.append(([name for name, _ in ranked], [rank for _, rank in ranked]))
    return found


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table("m.parquet").to_pylist()
    return found


def test_a_callable_finds_what_a_naive_search_finds(data: Data) -> None:
    lines: list[str] = []
    result = mined(data, World(), search={"depth": 10, "keep": 4}, say=lines.append)
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(10, 4)
    q, d = World()([f"query {i}" for i in range(6)]), World()([f"document {2 * i}" for i in range(6)])
    assert np.allclose([r["positive_score"] for r in rows()], (q * d).sum(axis=1), atol=1e-6)
    about = read_about(result.path)
    assert about == {"format": "1", **result.about}
    assert about["settings"]["depth"] == 10 and about["counts"]["negatives"] == 24 and about["index"]["kind"] == "exact"
    assert list(about["filters"]) == ["known positives", "same text"]
    assert lines[0] == "6 queries with 6 positives, 30 documents"
    assert lines[1] == "exact search over 30 vectors of 8 dimensions" and lines[-1] == "6 rows -> m.parquet"


@pytest.mark.parametrize("with_ids", [True, False])
def test_given_vectors_find_the_same(data: Data, with_ids: bool) -> None:
    order = np.random.default_rng(0).permutation(30) if with_ids else np.arange(30)
    np.save("d.npy", World()([f"document {i}" for i in order]))
    np.save("q.npy", World()([f"query {i}" for i in range(6)]))
    Path("d.ids").write_text("".join(f"d{i}\n" for i in order))
    ids = Path("d.ids") if with_ids else None
    mined(data, given=Given(Path("q.npy"), Path("d.npy"), document_ids=ids), search={"depth": 10, "keep": 4})
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(10, 4)


def test_given_vectors_are_scaled_where_that_is_asked(data: Data) -> None:
    lengths = np.random.default_rng(0).uniform(0.1, 9, (30, 1)).astype(np.float32)
    np.save("d.npy", World()([f"document {i}" for i in range(30)]) * lengths)
    np.save("q.npy", World()([f"query {i}" for i in range(6)]))
    given = Given(Path("q.npy"), Path("d.npy"), normalize=True)
    mined(data, given=given, search={"depth": 10, "keep": 4})
    assert [r["negative_id"] for r in rows()] == [names for names, _ in naive(10, 4)]
    mined(data, given=replace(given, normalize=False), search={"depth": 10, "keep": 4}, overwrite=True)
    assert [r["negative_id"] for r in rows()] != [names for names, _ in naive(10, 4)]


def test_vectors_without_ids_are_refused_where_rows_and_texts_differ(data: Data) -> None:
    """A positive that the corpus lacks is added, a query that repeats is one: counts may agree by accident."""
    np.save("q.npy", World()([f"query {i}" for i in range(6)]))
    np.save("d.npy", World()([f"document {i}" for i in range(30)]))
    with Path("c.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "bad", "text": ""}) + "\n")
    with pytest.raises(DataError, match="not every row is one of the texts"):
        mined(replace(data, skip=True), given=Given(Path("q.npy"), Path("d.npy")))
    assert not Path("m.parquet").exists()


def encoded(folder: str, count: int, what: str, fingerprint: str) -> Path:
    """A folder as `embedkit encode` leaves it."""
    path = Path(folder)
    path.mkdir()
    np.save(path / folders.names(1)[0], World()([f"{what} {i}" for i in range(count)]))
    record = {"fingerprint": fingerprint, "ids": None, "files": folders.names(1), "whole": True, "dim": 8}
    folders.write_record(path, record)
    return path


def test_vectors_of_two_models_are_refused(data: Data) -> None:
    given = Given(encoded("q", 6, "query", "a"), encoded("d", 30, "document", "b"))
    with pytest.raises(DataError, match=r"^d: of another model than q"):
        mined(data, given=given)
    mined(data, given=replace(given, documents=encoded("e", 30, "document", "a")), search={"depth": 10, "keep": 4})
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(10, 4)


@pytest.mark.parametrize(
    ("queries", "documents", "what"),
    [
        ((6, 8), (30, 7), "queries have 8 dimensions .*documents 7"),
        ((6, 8), (29, 8), "29 vectors for 30 texts"),
        ((5, 8), (30, 8), "5 vectors for 6 texts"),
        ((6,), (30, 8), "are no vectors"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    data: Data, queries: tuple[int, ...], documents: tuple[int, ...], what: str
) -> None:
    np.save("q.npy", np.ones(queries, np.float32))
    np.save("d.npy", np.ones(documents, np.float32))
    with pytest.raises(DataError, match=what):
        mined(data, given=Given(Path("q.npy"), Path("d.npy")))
    assert not Path("m.parquet").exists()


def test_a_vector_that_is_not_finite_is_refused(data: Data) -> None:
    vectors = World()([f"document {i}" for i in range(30)])
    vectors[17, 3] = np.nan
    np.save("d.npy", vectors)
    np.save("q.npy", World()([f"query {i}" for i in range(6)]))
    with pytest.raises(DataError, match="17"):
        mined(data, given=Given(Path("q.npy"), Path("d.npy")))


def test_ids_without_vectors_and_vectors_without_a_model_are_refused(data: Data) -> None:
    np.save("d.npy", World()([f"document {i}" for i in range(30)]))
    with pytest.raises(RecipeError, match="nothing gives vectors"):
        mined(data, given=Given(documents=Path("d.npy")))
    with pytest.raises(RecipeError, match="--query-ids: ids of no vectors"):
        mined(data, World(), given=Given(query_ids=Path("x")))


def test_a_callable_for_one_side_and_a_file_for_the_other(data: Data) -> None:
    np.save("d.npy", World()([f"document {i}" for i in range(30)]))
    world = World()
    mined(data, world, given=Given(documents=Path("d.npy")), search={"depth": 10, "keep": 4})
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(10, 4)
    assert not [text for text in world.asked if text.startswith("document")]


def test_depth_beyond_the_corpus_is_a_note(data: Data) -> None:
    lines: list[str] = []
    mined(data, World(), search={"depth": 100, "keep": 50}, say=lines.append)
    assert lines[1] == "depth 100 is more than the corpus has: all 30 documents are retrieved"
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(30, 30)


def test_unlabelled_queries_have_null_positives(data: Data) -> None:
    Path("u.jsonl").write_text('{"text": "query 0"}\n')
    lines: list[str] = []
    mined(replace(data, queries="u.jsonl"), World(), search={"depth": 5, "keep": 5}, say=lines.append)
    (row,) = rows()
    assert row["positive"] is row["positive_id"] is row["positive_score"] is None and len(row["negative"]) == 5
    assert lines[0] == "1 queries with no positives (unlabelled), 30 documents"


@pytest.mark.parametrize(
    ("search", "where", "what"),
    [
        ({"keep": 200}, "mine", "200 negatives of 100 retrieved documents"),
        ({"depth": 0}, "--depth", "must be >= 1"),
        ({"recall": 1.5}, "--recall", "must be <= 1"),
        ({"ram_gb": -1.0}, "--ram", "must be > 0"),
        ({"index": "tree"}, "--index", "expected one of auto, exact"),
        ({"choose": "worst"}, "--choose", "expected one of best"),
    ],
)
def test_settings_that_cannot_be_are_refused(data: Data, search: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(RecipeError, match=what) as caught:
        mined(data, World(), search=search)
    assert caught.value.where == where and caught.value.cure


def test_a_recall_that_is_not_reached_writes_nothing(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedkit.vectors.index import build

    monkeypatch.setattr(build, "recall_of", lambda found, truth: 0.5)
    with pytest.raises(DataError, match=r"reaches a recall@50 of 0\.500"):
        mined(data, World(), search={"index": "hnsw", "recall": 0.99})
    assert sorted(p.name for p in Path().iterdir()) == ["c.jsonl", "cache", "q.jsonl"]


def test_a_recipe_gives_settings_and_options_go_before_them(data: Data) -> None:
    Path("r.yaml").write_text(
        "data: {sources: [{path: q.jsonl}]}\nmining: {depth: 9, keep: 3, choose: even, corpus: c.jsonl}\n"
    )
    result = mine(World(), out="m.parquet", recipe="r.yaml", keep=2, **QUIET)
    settings = result.about["settings"]
    assert (settings["depth"], settings["keep"], settings["choose"]) == (9, 2, "even")
    assert result.about["counts"]["documents"] == 30 and all(len(r["negative"]) == 2 for r in rows())


def test_what_is_there_is_not_replaced_unasked(data: Data) -> None:
    Path("m.parquet").write_text("mine")
    world = World()
    with pytest.raises(EmbedkitError, match="exists already"):
        mined(data, world)
    assert Path("m.parquet").read_text() == "mine" and not world.asked
    mined(data, world, overwrite=True)
    assert len(rows()) == 6
    with pytest.raises(RecipeError, match=r"must end with \.parquet"):
        mine(world, out="m.jsonl", queries=data.queries, corpus=data.corpus, **QUIET)


class Stops(World):
    """A model that fails after some texts, as one does whose process is killed."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.asked) >= self.after:
            raise WriteError("the disk is full", "somewhere")
        return super().__call__(texts)


def test_stopped_it_goes_on_with_what_was_encoded(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedkit.run import mining_vectors
    from embedkit.vectors import encoding
    from embedkit.vectors.given import given_embedder

    monkeypatch.setattr(encoding.encode_into, "__kwdefaults__", {**encoding.encode_into.__kwdefaults__, "call": 8})
    monkeypatch.setattr(mining_vectors, "given_embedder", lambda call: given_embedder(call, name="one", dim=8))
    with pytest.raises(WriteError):
        mined(data, first := Stops(16))
    assert sorted(p.name for p in Path().iterdir()) == ["c.jsonl", "cache", "q.jsonl"]
    mined(data, second := World(), search={"depth": 10, "keep": 4})
    assert len(first.asked) + len(second.asked) == 36 and not set(first.asked) & set(second.asked)
    assert [(r["negative_id"], r["negative_rank"]) for r in rows()] == naive(10, 4)


def test_named_filters_are_applied_and_counted(data: Data) -> None:
    result = mined(data, World(), search={"depth": 30, "keep": 30, "filters": ["rank=3:", "margin=0.9"]})
    assert list(result.about["filters"]) == ["known positives", "same text", "rank window", "relative margin"]
    q, d = World()([f"query {i}" for i in range(6)]), World()([f"document {i}" for i in range(30)])
    for i, row in enumerate(rows()):
        order = np.argsort(-(q[i] @ d.T), kind="stable")
        p = q[i] @ d[2 * i]
        wanted = [
            int(j) for rank, j in enumerate(order, 1) if rank >= 3 and j != 2 * i and q[i] @ d[j] < p - abs(p) * 0.1
        ]
        assert row["negative_id"] == [f"d{j}" for j in wanted]
    assert result.about["counts"]["negatives"] == 180 - sum(result.about["filters"].values())


@pytest.mark.parametrize("text", ["margin=0.95", "absolute-margin=0.1", "scores=s.jsonl,margin=0.9"])
def test_a_margin_without_any_positive_is_refused(data: Data, text: str) -> None:
    Path("u.jsonl").write_text('{"text": "query 0"}\n')
    world = World()
    with pytest.raises(DataError, match="compares with a query's positive, and no query has one") as caught:
        mined(replace(data, queries="u.jsonl"), world, search={"filters": [text]})
    assert caught.value.where == "--filter" and not world.asked
    mined(replace(data, queries="u.jsonl"), world, search={"filters": ["rank=2:9"]})


def test_a_filter_is_wrong_where_it_was_written(data: Data) -> None:
    for text, what in (
        ("margins=1", "no filter is called"),
        ("rank=9:1", "ends that rise"),
        ("margin", "nothing is given"),
    ):
        with pytest.raises(RecipeError, match=f"^--filter: .*{what}"):
            mined(data, World(), search={"filters": [text]})
    Path("r.yaml").write_text("data: {sources: [{path: q.jsonl}]}\nmining: {filters: [margins=1]}\n")
    with pytest.raises(RecipeError, match=r"mining\.filters.*no filter is called"):
        mine(World(), out="m.parquet", recipe="r.yaml", **QUIET)


def test_what_a_file_of_scores_decides(data: Data) -> None:
    pairs = [(i, f"d{j}", 0.9 if j % 3 else 0.1) for i in range(6) for j in range(30)]
    keys = ("query_id", "document_id", "score")
    Path("s.jsonl").write_text(
        "".join(json.dumps(dict(zip(keys, (str(i), *p), strict=True))) + "\n" for i, *p in pairs)
    )
    mined(data, World(), search={"depth": 30, "keep": 30, "filters": ["scores=s.jsonl,below=0.5"]})
    for i, row in enumerate(rows()):
        assert {int(name[1:]) for name in row["negative_id"]} == set(range(0, 30, 3)) - {2 * i}


def test_a_recipe_finds_the_files_of_its_filters_beside_itself(data: Data) -> None:
    folder = Path("elsewhere").absolute()
    folder.mkdir()
    pairs = [{"query_id": f"q{i}", "document_id": f"d{j}", "score": j % 3} for i in range(6) for j in range(30)]
    (folder / "s.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "r.yaml").write_text(
        "data: {sources: [{path: q.jsonl}]}\n"
        "mining: {depth: 30, keep: 30, corpus: c.jsonl, filters: ['scores=s.jsonl,below=0.5']}\n"
    )
    result = mine(World(), out="m.parquet", recipe=folder / "r.yaml", **QUIET)
    for i, row in enumerate(rows()):
        assert {int(name[1:]) for name in row["negative_id"]} == set(range(0, 30, 3)) - {2 * i}
    assert result.about["settings"]["filters"] == ["scores=s.jsonl,below=0.5"], "as written"
    with pytest.raises(DataError, match="pairs have no score"):  # one that is given is of the working folder
        Path("s.jsonl").write_text('{"query_id": "q0", "document_id": "d1", "score": 0}\n')
        mine(World(), out="n.parquet", recipe=folder / "r.yaml", filters=["scores=s.jsonl,below=0.5"], **QUIET)
    with pytest.raises(DataError, match=r"^none.jsonl \(looked in ") as caught:
        mine(World(), out="n.parquet", recipe=folder / "r.yaml", filters=["scores=none.jsonl,below=0.5"], **QUIET)
    assert str(Path.cwd()) in caught.value.where


def test_every_fifth_of_those_that_pass(data: Data) -> None:
    """UniME-V2's: the 1st, 6th, 11th ... of the filtered list, then the 2nd, 7th ..."""
    mined(data, World(), search={"depth": 12, "keep": 4, "choose": "stride", "filters": ["rank=2:"]})
    q, d = World()([f"query {i}" for i in range(6)]), World()([f"document {i}" for i in range(30)])
    for i, row in enumerate(rows()):
        passed = [r for r, j in enumerate(np.argsort(-(q[i] @ d.T), kind="stable")[:12], 1) if r > 1 and j != 2 * i]
        cycles = [*passed[0::5], *passed[1::5], *passed[2::5]]
        assert row["negative_rank"] == sorted(cycles[:4])


def test_a_labelled_list_trains_with_its_weights(data: Data, tmp_path: Path) -> None:
    """All known positives are excluded, and each pair has the weight that its grade made, also when it is read."""
    lists = [[(2 * i, 3), (2 * i + 1, 1)] for i in range(6)]
    with Path("clicks.jsonl").open("w") as file:
        for i, graded in enumerate(lists):
            docs, grades = [f"document {j}" for j, _ in graded], [grade for _, grade in graded]
            file.write(json.dumps({"query": f"query {i}", "docs": docs, "clicks": grades}) + "\n")
    Path("r.yaml").write_text(
        "data:\n  sources:\n    - path: clicks.jsonl\n      roles: {query: query, positive: docs, grade: clicks}\n"
        "      grades: {function: gain}\nmining: {depth: 30, keep: 30, corpus: c.jsonl}\n"
    )
    lines: list[str] = []
    mine(World(), out="m.parquet", recipe="r.yaml", **{**QUIET, "say": lines.append})
    assert any(line.startswith("weight of every positive") for line in lines)
    found = rows()
    assert [(r["positive_id"], r["weight"]) for r in found] == [
        (f"d{j}", 2.0**g - 1) for graded in lists for j, g in graded
    ]
    for i, (first, second) in enumerate(zip(found[::2], found[1::2], strict=True)):
        others = {f"d{j}" for j in range(30)} - {f"d{2 * i}", f"d{2 * i + 1}"}
        assert set(first["negative_id"]) == set(second["negative_id"]) == others
    source = load_source(Source(path="m.parquet", roles={"weight": "weight"}))
    assert [e.weights for e in source.get(range(4))] == [(7.0,), (1.0,), (7.0,), (1.0,)]


def test_a_key_that_is_none_is_refused(data: Data) -> None:
    with pytest.raises(RecipeError, match="unknown key") as caught:
        mined(data, World(), search={"depths": 3})
    assert "did you mean `depth`?" in caught.value.cure


def test_a_full_disk_in_the_middle_of_a_shard_loses_nothing(data: Data) -> None:
    """The vectors before it stay, nothing is half-written, and the same call goes on when there is room."""
    import resource

    texts(3000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(WriteError):
            mined(data, World(), store="vectors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = [p.name for p in Path("vectors").rglob("*") if p.is_file() and not p.name.startswith(".")]
    assert sorted(left) == ["000000.keys", "000000.npy", "space.json"], "the queries are whole, the documents absent"
    assert not [p for p in Path().rglob(".embedkit*") if p.suffix == ".part"] and not Path("m.parquet").exists()
    mined(data, World(), store="vectors")
    assert len(rows()) == 6


def test_a_corpus_of_one_document_that_is_the_positive(data: Data) -> None:
    Path("c.jsonl").write_text('{"_id": "d", "text": "document 0"}\n')
    Path("q.jsonl").write_text('{"query": "query 0", "positive": "document 0"}\n')
    lines: list[str] = []
    result = mined(data, World(), say=lines.append)
    assert [(r["positive_id"], r["negative"]) for r in rows()] == [("d", [])]
    assert result.about["counts"]["without"] == 1 and "0 negatives, 1 of 1 queries have none" in lines[-2]
    assert [e.negatives for e in load_source(Source(path="m.parquet")).get(range(1))] == [()]


def test_a_model_that_gives_no_numbers_loses_nothing_else(data: Data) -> None:
    class Broken(World):
        def __call__(self, texts: Sequence[str]) -> np.ndarray:
            found = super().__call__(texts)
            found[[text == "document 9" for text in texts]] = np.nan
            return found

    with pytest.raises(EmbedkitError, match="1 of 30 vectors are not finite, first of 'document 9'") as caught:
        mined(data, Broken(), store="vectors")
    assert caught.value.where == "text 9" and not Path("m.parquet").exists()


@pytest.mark.parametrize("limit", [300, 1500])
def test_a_full_disk_while_the_file_is_written(data: Data, limit: int) -> None:
    import resource

    mined(data, World(), store="vectors", overwrite=True)
    whole = rows()
    Path("m.parquet").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(WriteError):
            mined(data, World(), store="vectors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not Path("m.parquet").exists() and not list(Path().rglob("*.part"))
    mined(data, World(), store="vectors")
    assert rows() == whole
