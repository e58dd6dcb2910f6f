"""Two towers of which one is frozen (LiT): its weights and vectors stay bit for bit, and it costs no backward pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.towers import Pair, candidates
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Model, Recipe
from embedkit.run import train
from embedkit.train.distributed import Comm
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.space import Embedder
from embedkit.vectors.store import VectorStore
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert
from tests.train.runs import state, trainer

Load = Callable[..., Encoder]
TEXTS = sentences(16, seed=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def recipe(base: Path, frozen: str, **changes: Any) -> Recipe:
    """Pairs, dropout on, an update that moves weights visibly."""
    texts = sentences(48, seed=1)
    rows = [{"query": a, "positive": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    block = {"base": str(base), "max_length": 24, "towers": 2, "frozen_tower": frozen, **changes.pop("model", {})}
    options = {"batch_size": 8, "steps": 6, "save_every": 3, "learning_rate": 1e-3, "log_every": 1, "device": DEVICE}
    return Recipe.model_validate(
        {
            "model": block,
            "data": {"sources": [{"rows": rows}]},
            "train": options | {"keep_checkpoints": 3} | changes.pop("train", {}),
            **changes,
        }
    )


@pytest.mark.parametrize("graph", ["keep", "reforward"])
@pytest.mark.parametrize("frozen", ["query", "document"])
def test_training_leaves_the_frozen_tower_bit_for_bit_and_moves_the_other(
    base: Path, tmp_path: Path, frozen: str, graph: str
) -> None:
    run = trainer(recipe(base, frozen, train={"graph": graph, "weight_decay": 0.1}), tmp_path, Comm())
    locked, free = (run.encoder.tower(i) for i in ((0, 1) if frozen == "query" else (1, 0)))
    before = {n: v.clone() for n, v in locked.st.state_dict().items()}
    run.train()
    after, moved = locked.st.state_dict(), free.st.state_dict()
    assert all(torch.equal(after[n], v) for n, v in before.items())
    assert any(not torch.equal(moved[n], v) for n, v in before.items())
    assert all(p.grad is None for p in locked.st.parameters())
    assert run.optimizer is not None
    trained = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert trained.isdisjoint(map(id, locked.st.parameters()))


@pytest.mark.parametrize("frozen", ["query", "document"])
def test_a_resumed_run_is_the_same_run(base: Path, tmp_path: Path, frozen: str) -> None:
    asked = recipe(base, frozen)
    whole = trainer(asked, tmp_path / "whole", Comm())
    whole.train()
    want = state(whole)
    resumed = trainer(asked, tmp_path / "again", Comm())
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    got = state(resumed)
    assert got.keys() == want.keys() and all(torch.equal(got[n], want[n]) for n in want)


@pytest.mark.parametrize("frozen", ["query", "document"])
def test_documents_need_not_be_encoded_again(base: Path, tmp_path: Path, frozen: str) -> None:
    """Vectors of the base made before training are found again: the same space, the same bytes, nothing encoded."""
    run = trainer(recipe(base, frozen), tmp_path / "run", Comm())
    store = VectorStore(tmp_path / "store")
    alone = Encoder.load(Model(base=str(base), max_length=24), device=DEVICE)
    before = vectors_of(TEXTS, Embedder.of(alone, role=frozen), store)[:]
    space = Embedder.of(alone, role=frozen).space
    run.train()
    pair = candidates(run.encoder, "best", evaluated=True)[0][1]
    assert isinstance(pair, Pair)
    after = Embedder.of(pair.of(frozen), role=frozen)
    assert after.space == space and after.space.digest == space.digest
    assert np.array_equal(after.encode(TEXTS), alone.encode(TEXTS, role=frozen))

    def never(texts: Any) -> np.ndarray:
        raise AssertionError("encoded again")

    assert np.array_equal(vectors_of(TEXTS, Embedder(after.space, never), store)[:], before)
    other = "document" if frozen == "query" else "query"
    assert Embedder.of(pair.of(other), role=other).space != space


def test_the_frozen_tower_runs_without_dropout_and_the_other_with_it(load: Load) -> None:
    encoder = load(towers=2, frozen_tower="document", dropout=0.5)
    encoder.module.train()
    modes = {m.training for m in encoder.tower(1).module.modules()}
    assert modes == {False} and encoder.module.training and encoder.st.training
    encoder.module.eval()
    encoder.module.train()
    assert not encoder.tower(1).st.training
    first = load(towers=2, frozen_tower="query", dropout=0.5)
    first.module.train()
    assert {m.training for m in first.st.modules()} == {False}
    assert all(m.training for m in first.tower(1).module.modules())


def test_frozen_rows_are_encoded_once_and_the_others_twice(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(recipe(base, "document", train={"graph": "reforward", "steps": 1}), tmp_path, Comm())
    seen: list[tuple[bool, bool]] = []
    embed = run.encoder.embed

    def watched(features: dict[str, Any]) -> torch.Tensor:
        tower = bool(features["tower"])
        out = embed(features)
        seen.append((tower, out.requires_grad))
        return out

    monkeypatch.setattr(run.encoder, "embed", watched)
    run.train()
    frozen = [grad for tower, grad in seen if tower]
    free = [grad for tower, grad in seen if not tower]
    assert frozen and not any(frozen)
    assert free.count(True) == free.count(False) > 0


def test_a_run_measures_queries_and_documents_each_in_its_tower(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    texts = sentences(40, seed=3)
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": f"q{i}", "text": texts[i]}) for i in range(8)))
    corpus = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts[8:])]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    qrels = [f"q{i}\td{(7 * i) % 32}\t1" for i in range(8)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]))
    suite = {"name": "dev", "tasks": [{"type": "retrieval", "name": "dev", "folder": str(folder)}]}
    asked = recipe(base, "document", eval={"suite": suite, "every": 2, "resamples": 100, "keep": "last"})
    record = train(asked, tmp_path / "run", say=lambda line: None, progress=False)
    assert any("the first of two towers is kept: the other one is frozen" in w for w in record.warnings)
    trained = Encoder.load(Model(base=str(tmp_path / "run" / "model")), device=DEVICE)
    frozen = Encoder.load(Model(base=str(tmp_path / "run" / "frozen")), device=DEVICE)
    alone = Encoder.load(Model(base=str(base), max_length=24), device=DEVICE)
    assert frozen.fingerprint() == alone.fingerprint() != trained.fingerprint()
    assert record.scores_after is not None and record.scores_before is not None
    assert record.scores_after["fingerprint"] not in (trained.fingerprint(), frozen.fingerprint())
    both = SentenceTransformer(modules=[Router.for_query_document(list(trained.st), list(frozen.st))])
    assert np.allclose(both.encode_query(texts[:2]), trained.encode(texts[:2], role="query"), atol=1e-6)
    assert np.allclose(both.encode_document(texts[:2]), alone.encode(texts[:2], role="document"), atol=1e-6)
    found = _reciprocal_ranks(trained, frozen, texts)
    task = record.scores_after["tasks"][0]
    metric = "mrr@10"
    assert task["metrics"][metric] == pytest.approx(100 * float(np.mean(found)), abs=1e-6)
    assert record.evaluations[-1][f"eval_dev/{metric}"] == pytest.approx(task["metrics"][metric], abs=1e-6)


def _reciprocal_ranks(queries: Encoder, documents: Encoder, texts: list[str]) -> np.ndarray:
    q, d = queries.encode(texts[:8], role="query"), documents.encode(texts[8:], role="document")
    scores = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (d / np.linalg.norm(d, axis=1, keepdims=True)).T
    ranks = [1 + int((scores[i] > scores[i, (7 * i) % 32]).sum()) for i in range(8)]
    return np.array([1 / r if r <= 10 else 0.0 for r in ranks])


def test_a_checkpoint_holds_both(base: Path, tmp_path: Path) -> None:
    run = trainer(recipe(base, "query"), tmp_path, Comm())
    run.train()
    last = tmp_path / "checkpoint-6"
    tower = load_file(last / "embedkit" / "tower.safetensors")
    st = run.encoder.tower(1).st.state_dict()
    assert all(torch.equal(tower[f"st.{n}"], v.cpu()) for n, v in st.items())
    saved = load_file(last / "model.safetensors")
    original = load_file(base / "model.safetensors")
    assert saved and all(torch.equal(v, original[n]) for n, v in saved.items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"towers": 1}}, "share their weights"),
        ({"model": {"keep_tower": "second"}}, "the frozen one"),
        ({"model": {"head": {"keep": False}}}, "head is new in both"),
        ({"model": {"head": {"keep": True}}}, "head is new in both"),
        ({"model": {"soft_prompts": {"length": 2}}}, "soft_prompts is new"),
        ({"model": {"from_scratch": True}}, "random weights"),
    ],
)
def test_what_would_leave_the_frozen_space_is_refused(base: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        plan(recipe(base, "document", **changes)).refuse()


def test_auxiliary_losses_need_a_first_tower_that_trains(base: Path) -> None:
    auxiliary = {"auxiliary": [{"name": "mlm", "weight": 0.1}]}
    with pytest.raises(RecipeError, match="auxiliary losses train the first tower"):
        plan(recipe(base, "query", **auxiliary)).refuse()
    plan(recipe(base, "document", **auxiliary)).refuse()


def test_the_pair_knows_no_third_role(load: Load) -> None:
    pair = Pair(load(towers=2, frozen_tower="document"))
    with pytest.raises(RecipeError, match="no role"):
        pair.encode(["a"], role="passage")
    assert pair.role == "query" and pair.dim == pair.frozen.dim and pair.prompt("document") == ""
