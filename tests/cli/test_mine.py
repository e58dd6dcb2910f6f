"""``embedkit mine``: the file from a real model, training on it, what is refused, and going on where it was stopped."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from sentence_transformers import SentenceTransformer

from embedkit.disk.locks import hold_file
from embedkit.inputs.parquet import MINED
from embedkit.mining.mined_file import read_about
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.cli.conftest import Done, spawn
from tests.tiny import sentences

Run = Callable[..., Done]
OPTIONS = ("--device", "cpu", "--offline")


@pytest.fixture
def files(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Queries with positives, and a corpus, beside the material."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    texts = sentences(80, seed=3, shortest=5)
    jsonl("c.jsonl", *({"_id": f"d{i}", "title": f"ba {i}", "text": text} for i, text in enumerate(texts)))
    rows = ({"id": f"q{i}", "query": texts[i][: len(texts[i]) // 2], "positive": texts[i]} for i in range(16))
    jsonl("q.jsonl", *rows)
    return work


def jsonl(name: str, *rows: Any) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))


def rows(name: str = "m.parquet") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(name).to_pylist()
    return found


FILES = ("--model", "tiny", "--queries", "q.jsonl", "--corpus", "c.jsonl")


def test_negatives_of_a_model_are_the_nearest_that_do_not_answer(embedkit: Run, files: Path) -> None:
    done = embedkit("mine", *FILES, "--depth", "20", "--keep", "4", "--out", "m.parquet", *OPTIONS)
    assert done.code == 0, done.err
    encoder = Encoder.load(Model(base="tiny"), device="cpu")
    corpus = [json.loads(line) for line in Path("c.jsonl").read_text().splitlines()]
    texts = [f"{d['title']} {d['text']}" for d in corpus]
    queries = [json.loads(line)["query"] for line in Path("q.jsonl").read_text().splitlines()]
    q, d = (encoder.encode(t, role=r, normalize=True) for t, r in ((queries, "query"), (texts, "document")))
    found = rows()
    assert [r["query"] for r in found] == queries and [r["positive"] for r in found] == texts[:16]
    for i, row in enumerate(found):
        order = [int(j) for j in np.argsort(-(q[i] @ d.T), kind="stable")[:20]]
        ranked = [(f"d{j}", rank) for rank, j in enumerate(order, 1) if j != i][:4]
        assert list(zip(row["negative_id"], row["negative_rank"], strict=True)) == ranked
        assert np.allclose(row["negative_score"], [q[i] @ d[int(n[1:])] for n, _ in ranked], atol=1e-5)
        assert np.isclose(row["positive_score"], q[i] @ d[i], atol=1e-5)
    about = read_about(Path("m.parquet"))
    assert about["model"]["name"] == "tiny" and about["model"]["fingerprint"] == encoder.fingerprint()
    assert about["counts"]["queries"] == 16 and about["filters"]["known positives"] >= 1
    assert "forecast: encoding takes less than 10 s for 96 texts" in done.out
    assert "exact search over 80 vectors of 32 dimensions" in done.out and "16 rows -> m.parquet" in done.out


def test_a_second_search_encodes_nothing(embedkit: Run, files: Path) -> None:
    command = ("mine", *FILES, "--store", "vectors", *OPTIONS)
    assert embedkit(*command, "--out", "m.parquet").code == 0
    again = embedkit(*command, "--out", "n.parquet", "--keep", "2")
    assert again.code == 0 and "forecast" not in again.out
    assert [r["negative"] for r in rows("n.parquet")] == [r["negative"][:2] for r in rows()]
    assert not Path("cache").exists(), "only the store was used"


def test_an_encoded_corpus_is_taken_and_that_of_another_model_refused(embedkit: Run, files: Path) -> None:
    from tests.tiny import tiny_bert

    tiny_bert("other", seed=1)
    jsonl("flat.jsonl", *({"_id": f"d{i}", "text": text} for i, text in enumerate(sentences(80, seed=3, shortest=5))))
    data = ("--model", "tiny", "--queries", "q.jsonl", "--corpus", "flat.jsonl", *OPTIONS)
    for model in ("tiny", "other"):
        done = embedkit("encode", model, "--texts", "flat.jsonl", "--ids", "_id", "--out", f"{model}-vectors", *OPTIONS)
        assert done.code == 0, done.err
    assert embedkit("mine", *data, "--out", "m.parquet").code == 0
    done = embedkit("mine", *data, "--corpus-vectors", "tiny-vectors", "--store", "new", "--out", "n.parquet")
    assert done.code == 0 and "for 16 texts" in done.out, done
    assert [r["negative_id"] for r in rows("n.parquet")] == [r["negative_id"] for r in rows()]
    done = embedkit("mine", *data, "--corpus-vectors", "other-vectors", "--out", "o.parquet")
    assert done.code == 3 and "other-vectors: of another model than the model" in done.err
    assert not Path("o.parquet").exists()


def test_training_reads_the_file_as_it_is(embedkit: Run, files: Path) -> None:
    assert embedkit("mine", *FILES, "--keep", "3", "--out", "m.parquet", *OPTIONS).code == 0
    overrides = ("data.sources.0.path=m.parquet", "model.base=tiny", "model.pooling=mean", "eval.suite=null")
    settings = ("model.max_length=32", "train.batch_size=4", "train.steps=3", "train.device=cpu", "train.log_every=1")
    done = embedkit("train", "retrieval/infonce", *overrides, *settings, "--out", "run", "--offline")
    assert done.code == 0, done.err
    record = json.loads(Path("run/run.json").read_text())
    assert record["data"][0]["rows"] == 16 and record["data"][0]["roles"] == ["negative", "positive", "query"]
    assert record["updates"] == 3


def test_a_file_of_another_version_is_refused_by_training(embedkit: Run, files: Path) -> None:
    assert embedkit("mine", *FILES, "--out", "m.parquet", *OPTIONS).code == 0
    table = parquet.read_table("m.parquet").replace_schema_metadata({MINED: json.dumps({"format": "0"})})
    parquet.write_table(table, "old.parquet")
    done = embedkit("train", "retrieval/infonce", "data.sources.0.path=old.parquet", "--out", "run", "--offline")
    assert done.code == 3 and "written by another version of embedkit: format 0" in done.err, done


def test_a_recipe_brings_model_sources_and_settings(embedkit: Run, files: Path) -> None:
    Path("mine.yaml").write_text(
        "model: {base: tiny, pooling: mean}\n"
        "data: {sources: [{path: q.jsonl}]}\n"
        "mining: {depth: 12, keep: 2, corpus: c.jsonl}\n"
    )
    done = embedkit("mine", "--recipe", "mine.yaml", "--keep", "3", "--out", "m.parquet", *OPTIONS)
    assert done.code == 0, done.err
    settings = read_about(Path("m.parquet"))["settings"]
    assert (settings["depth"], settings["keep"]) == (12, 3) and all(len(r["negative"]) == 3 for r in rows())


BAD = [
    (("--queries", "q.jsonl", "--corpus", "empty.jsonl"), 3, "empty.jsonl: there are no rows"),
    (("--queries", "q.jsonl", "--corpus", "gap.jsonl"), 3, "gap.jsonl:2: no text"),
    (
        ("--queries", "q.jsonl", "--corpus", "twice.jsonl"),
        3,
        "twice.jsonl:3: the id 'a' is that of an earlier document",
    ),
    (("--queries", "q.jsonl", "--corpus", "mixed.jsonl"), 3, 'mixed.jsonl:2: ids 7 and "7", a number and a text'),
    (("--queries", "none.jsonl", "--corpus", "c.jsonl"), 3, "none.jsonl:2: null where text belongs in 'positive'"),
    (("--queries", "no.jsonl", "--corpus", "c.jsonl"), 3, "no.jsonl (looked in"),
    (("--queries", "c.jsonl"), 3, "no column `positive`, and no corpus"),
    (("--beir", "no", "--split", "train"), 3, "no: no corpus.jsonl"),
    (("--queries", "q.jsonl", "--corpus", "c.jsonl", "--model", "nowhere"), 2, "--model"),
    (("--queries", "q.jsonl", "--corpus", "c.jsonl", "--keep", "9", "--depth", "8"), 2, "9 negatives of 8"),
    (("--queries", "q.jsonl", "--corpus", "c.jsonl", "--device", "gpu"), 2, "--device: there is no device 'gpu'"),
    (("--queries", "q.jsonl", "--corpus", "c.jsonl", "--max-length", "99"), 2, "--max-length: max_length 99"),
    (("--queries", "q.jsonl", "--beir", "b"), 2, "--beir and --queries both give queries"),
    (("--corpus", "c.jsonl"), 2, "nothing gives queries"),
    (("--queries", "q.jsonl", "--corpus-vectors", "v.npy"), 3, "v.npy"),
    (("--recipe", "no/such"), 2, "no/such"),
    (("--queries", "empty.jsonl", "--corpus", "c.jsonl"), 3, "empty.jsonl: there are no rows"),
    (("--queries", "q.jsonl", "--corpus", "old.parquet"), 3, "another version of embedkit: format 0"),
    (("--queries", "old.parquet", "--corpus", "c.jsonl"), 3, "another version of embedkit: format 0"),
    (
        ("--queries", "q.jsonl", "--corpus", "c.jsonl", "--filter", "scores=old.parquet,below=1"),
        3,
        "another version of embedkit: format 0",
    ),
]


@pytest.mark.parametrize(("arguments", "code", "what"), BAD, ids=[f"{i}-{b[2][:20]}" for i, b in enumerate(BAD)])
def test_errors_leave_nothing_behind(
    embedkit: Run, files: Path, arguments: tuple[str, ...], code: int, what: str
) -> None:
    Path("empty.jsonl").touch()
    jsonl("gap.jsonl", {"_id": "a", "text": "x"}, {"_id": "b"}, {"_id": "c", "text": "y"})
    jsonl("twice.jsonl", {"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}, {"_id": "a", "text": "z"})
    jsonl("mixed.jsonl", {"_id": 7, "text": "x"}, {"_id": "7", "text": "y"})
    jsonl("none.jsonl", {"query": "a", "positive": "x"}, {"query": "b", "positive": None})
    old = pa.table({"query": ["a"], "positive": ["x"], "text": ["x"], "score": [1.0]})
    parquet.write_table(old.replace_schema_metadata({MINED: json.dumps({"format": "0"})}), "old.parquet")
    model = () if "--model" in arguments else ("--model", "tiny")
    before = {p.name for p in Path().iterdir()}
    done = embedkit("mine", *model, *arguments, "--out", "m.parquet", "--offline")
    assert (done.code, what in done.err, "Traceback" in done.err) == (code, True, False), done
    assert {p.name for p in Path().iterdir()} - before <= {"cache"}


def test_bad_rows_are_left_out_where_they_may_be(embedkit: Run, files: Path) -> None:
    with Path("c.jsonl").open("a") as file:
        file.write('{"_id": "bad"}\n')
    done = embedkit("mine", *FILES, "--skip-bad-rows", "--out", "m.parquet", *OPTIONS)
    assert done.code == 0 and "1 rows left out: no text" in done.out
    assert read_about(Path("m.parquet"))["data"]["left_out"] == {"no text": 1}


def test_what_is_there_and_what_is_busy_is_left_alone(embedkit: Run, files: Path) -> None:
    Path("m.parquet").write_text("mine")
    done = embedkit("mine", *FILES, "--out", "m.parquet", *OPTIONS)
    assert done.code == 1 and "m.parquet: exists already" in done.err and Path("m.parquet").read_text() == "mine"
    with hold_file(Path("busy.parquet"), "mining"):
        done = embedkit("mine", *FILES, "--out", "busy.parquet", *OPTIONS)
    assert done.code == 1 and "has been mining here since" in done.err


def test_killed_it_goes_on_to_the_same_file(embedkit: Run, files: Path) -> None:
    jsonl("many.jsonl", *({"_id": f"d{i}", "text": text} for i, text in enumerate(sentences(18_000, shortest=9))))
    command = ("mine", "--model", "tiny", "--queries", "q.jsonl", "--corpus", "many.jsonl", *OPTIONS)
    child = spawn(*command, "--store", "cut", "--out", "a.parquet")
    while child.poll() is None and not list(Path("cut").glob("*/000001.keys")):  # the queries have 000000
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL and not Path("a.parquet").exists()
    done = embedkit(*command, "--store", "cut", "--out", "a.parquet")
    found = [int(w.replace(",", "")) for w in done.out.partition("takes ")[2].split() if w.replace(",", "").isdigit()]
    assert done.code == 0 and any(0 < n < 18_000 for n in found), done
    assert embedkit(*command, "--store", "whole", "--out", "b.parquet").code == 0
    for one, other in zip(rows("a.parquet"), rows("b.parquet"), strict=True):
        assert one["negative_id"] == other["negative_id"] and one["negative_rank"] == other["negative_rank"]
        np.testing.assert_allclose(one["negative_score"], other["negative_score"], atol=1e-6)  # search times its ways
    assert not list(Path().glob(".embedkit-*.parquet.index"))


def test_a_page_and_tuples_beside_it(embedkit: Run, files: Path) -> None:
    command = ("mine", *FILES, "--keep", "3", "--out", "m.parquet", "--audit", "look", "--export", "t.jsonl", *OPTIONS)
    done = embedkit(*command)
    assert done.code == 0, done.err
    assert "16 tuples with 3 negatives -> t.jsonl" in done.out and "audit -> look/index.html" in done.out
    line = json.loads(Path("t.jsonl").read_text().splitlines()[0])
    assert list(line.values()) == [rows()[0]["query"], rows()[0]["positive"], *rows()[0]["negative"]]
    assert "What filters took out" in Path("look/index.html").read_text()
    Path("m.parquet").unlink()
    for there in ("t.jsonl", "look/index.html"):
        assert f"{there}: exists already" in (again := embedkit(*command)).err and again.code == 1
        Path(there).unlink()
    assert embedkit(*command).code == 0 and embedkit(*command, "--overwrite").code == 0


def test_tuples_that_cannot_be_are_refused_and_the_negatives_stay(embedkit: Run, files: Path) -> None:
    command = ("mine", *FILES, "--depth", "5", "--keep", "5", "--out", "m.parquet", "--export")
    for arguments, code, what in (
        (("t.csv",), 2, "must end with .parquet or .jsonl"),
        (("./m.parquet",), 2, "is the file of negatives, too"),
    ):
        done = embedkit(*command, *arguments, *OPTIONS)
        assert (done.code, what in done.err) == (code, True) and not Path("m.parquet").exists(), done
    done = embedkit(*command, "t.parquet", "--export-negatives", "9", *OPTIONS)
    assert done.code == 3 and "no query with a positive has 9 negatives" in done.err
    assert len(rows()) == 16 and not Path("t.parquet").exists()
    jsonl("bare.jsonl", {"text": "ba de"})
    bare = ("--model", "tiny", "--queries", "bare.jsonl", "--corpus", "c.jsonl", "--export", "t.parquet")
    done = embedkit("mine", *bare, "--out", "n.parquet", *OPTIONS)
    assert done.code == 3 and "tuples have a positive, and no query has one" in done.err
    assert not Path("n.parquet").exists()


def test_filters_of_the_command_line_and_of_a_recipe(embedkit: Run, files: Path) -> None:
    help = embedkit("mine", "--help").out
    assert "near-duplicates=JACCARD: " in help and "guide=MODEL,margin=0.95" in help
    command = ("mine", *FILES, "--depth", "40", "--keep", "40", *OPTIONS)
    done = embedkit(*command, "--out", "m.parquet", "--filter", "rank=:30", "--filter", "guide=tiny,margin=0.9")
    assert done.code == 0, done.err
    about = read_about(Path("m.parquet"))
    assert about["settings"]["filters"] == ["rank=:30", "guide=tiny,margin=0.9"]
    assert (
        list(about["filters"])[2:] == ["rank window", "guide margin 0.9"] and about["filters"]["guide margin 0.9"] > 0
    )
    for row in rows():  # the guide is the model itself
        assert all(score < 0.9 * row["positive_score"] + 1e-6 for score in row["negative_score"])
    Path("r.yaml").write_text(
        "model: {base: tiny, pooling: mean}\ndata: {sources: [{path: q.jsonl}]}\n"
        "mining: {depth: 40, keep: 40, corpus: c.jsonl, filters: ['rank=:30', 'margin=0.9']}\n"
    )
    done = embedkit("mine", "--recipe", "r.yaml", "--out", "n.parquet", *OPTIONS)
    assert done.code == 0 and [r["negative_id"] for r in rows("n.parquet")] == [r["negative_id"] for r in rows()]
    done = embedkit(*command, "--out", "o.parquet", "--filter", "margins=0.9")
    assert done.code == 2 and "--filter: filters: no filter is called 'margins'" in done.err
    assert not Path("o.parquet").exists()


def test_training_on_negatives_without_positives_says_what_is_missing(embedkit: Run, files: Path) -> None:
    jsonl("bare.jsonl", {"text": "ba de"}, {"text": "fi go"})
    bare = ("--model", "tiny", "--queries", "bare.jsonl", "--corpus", "c.jsonl")
    assert embedkit("mine", *bare, "--out", "m.parquet", *OPTIONS).code == 0
    done = embedkit(
        "train", "retrieval/infonce", "data.sources.0.path=m.parquet", "train.batch_size=2", "--out", "run", "--offline"
    )
    assert done.code == 3 and "m.parquet:1: null where text belongs in 'positive'" in done.err


def test_a_teacher_scores_the_candidates_for_distillation(embedkit: Run, files: Path) -> None:
    from sentence_transformers import CrossEncoder

    from tests.mining.filters.test_cross_encoder import reranker

    folder = reranker(Path("teacher"))
    done = embedkit("mine", *FILES, "--keep", "3", "--teacher", str(folder), "--out", "m.parquet", *OPTIONS)
    assert done.code == 0, done.err
    model = CrossEncoder(str(folder), device="cpu")
    for row in rows():
        pairs = [[row["query"], text] for text in [row["positive"], *row["negative"]]]
        wanted = model.predict(pairs, activation_fn=torch.nn.Identity())
        assert np.allclose(row["teacher_score"], wanted, atol=1e-5)
    assert read_about(Path("m.parquet"))["teacher"] == "teacher/reranker"
    words = ["model.base=tiny", "data.sources.0.path=m.parquet", "negatives.per_query=2", "train.steps=2"]
    small = ["train.batch_size=8", "train.device=cpu", "eval.suite=null", "model.max_length=32"]
    trained = embedkit("train", "retrieval/distill", *words, *small, "--out", "run")
    assert trained.code == 0, trained.err
    for name in ("nowhere", "guide=nowhere", "guide="):
        missing = embedkit("mine", *FILES, "--teacher", name, "--out", "n.parquet", *OPTIONS)
        assert missing.code == 2 and "--teacher" in missing.err and not Path("n.parquet").exists()


def test_an_embedding_model_teaches_by_its_cosines(embedkit: Run, files: Path) -> None:
    guide = Path("tiny").resolve()
    teacher = ("--teacher", f"guide={guide}")
    done = embedkit("mine", *FILES, "--keep", "3", *teacher, "--out", "m.parquet", *OPTIONS)
    assert done.code == 0, done.err
    model = SentenceTransformer(str(guide), device="cpu")
    for row in rows():
        texts = model.encode([row["query"], row["positive"], *row["negative"]], normalize_embeddings=True)
        assert np.allclose(row["teacher_score"], texts[1:] @ texts[0], atol=1e-5)
    assert read_about(Path("m.parquet"))["teacher"] == "guide=tiny"
