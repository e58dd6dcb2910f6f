"""Training a reranker: gradients and updates of sentence-transformers' own trainer, whole, in pieces, resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder import losses
from torch import Tensor

from embedkit.data.sources import load_source
from embedkit.model.running.reranker import Reranker
from embedkit.recipe.schema import Model, Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from embedkit.train.trainer import Trainer
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert

N, M = 8, 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("rerank") / "tiny")


def rows(grades: bool = False) -> list[dict[str, Any]]:
    texts = sentences(N * (2 + M), seed=9, longest=20)
    found = []
    for i in range(N):
        query, positive, *negatives = texts[i * (2 + M) : (i + 1) * (2 + M)]
        row: dict[str, Any] = {"query": query, "positive": positive, "negative": negatives}
        found.append({**row, "score": [2.0, float(i % 2), 0.0]} if grades else row)
    return found


def recipe(base: Path, objective: dict[str, Any], *, grades: bool = False, **train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"kind": "reranker", "base": str(base), "max_length": 32, "dropout": 0.0},
            "data": {"sources": [{"rows": rows(grades)}]},
            "negatives": {"per_query": M},
            "objective": objective,
            "train": {"batch_size": N, "steps": 3, "learning_rate": 1e-3, "device": DEVICE, "log_every": 1, **train},
        }
    )


def trainer(made: Recipe, folder: Path) -> Trainer:
    reranker = Reranker.load(made.model, device=DEVICE, seed=made.train.seed)
    return build_trainer(made, [load_source(s) for s in made.data.sources], reranker, folder, Comm())


def gradients(made: Recipe, folder: Path) -> tuple[float, dict[str, Tensor], CrossEncoder]:
    """Of the first batch, and the model that they belong to."""
    t = trainer(made, folder)
    t.trainee.train()
    result = t.engine(t.pipeline.batch(0, 0))
    t.engine.finish(list(t.trainee.parameters()))
    model = t.encoder.st
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return result.loss, found, model


OBJECTIVES = {
    "bce": ({"name": "bce", "reduction": "mean"}, False),
    "lce": ({"name": "lce", "temperature": 0.5}, False),
    "listnet": ({"name": "listnet"}, True),
    "lambda_loss": ({"name": "lambda_loss"}, True),
}


def theirs(name: str, model: CrossEncoder) -> Tensor:
    """The same loss by sentence-transformers, on the model as it is."""
    found = rows()
    queries = [row["query"] for row in found]
    documents = [[row["positive"], *row["negative"]] for row in found]
    if name == "bce":
        pairs = [[q for q in queries for _ in range(1 + M)], [text for own in documents for text in own]]
        return losses.BinaryCrossEntropyLoss(model)(pairs, torch.tensor([1.0, 0.0, 0.0] * N, device=model.device))
    if name == "lce":
        ranking = losses.MultipleNegativesRankingLoss(model, scale=2.0, activation_fn=None)
        columns = [ranking.call_model_with_columns(queries, list(c)) for c in zip(*documents, strict=True)]
        return ranking.calculate_loss(columns, N)
    labels = [torch.tensor(row["score"], device=model.device) for row in rows(True)]
    loss = losses.ListNetLoss(model) if name == "listnet" else losses.LambdaLoss(model, reduction_log="natural")
    return loss([queries, documents], labels)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_loss_and_gradients_are_those_of_sentence_transformers(name: str, base: Path, tmp_path: Path) -> None:
    objective, grades = OBJECTIVES[name]
    loss, got, model = gradients(recipe(base, objective, grades=grades), tmp_path)
    model.zero_grad()
    wanted = theirs(name, model)
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), rel=1e-4)
    wants = {n: torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for n, p in model.named_parameters()}
    scale = max(float(want.abs().max()) for want in wants.values())
    for parameter, want in wants.items():
        torch.testing.assert_close(got[parameter] / scale, want / scale, rtol=0, atol=1e-5, msg=parameter)


@pytest.mark.parametrize("no", ["kuku", None])
def test_a_language_model_that_answers_trains(no: str | None, tmp_path: Path) -> None:
    """Supervised fine-tuning on yes and no, or the contrast of yes alone: the gradient of plain autograd."""
    base = build("llama", tmp_path / "llama")
    question = {"text": "{query} bade {document} defi :", "yes": "gogo", "no": no}
    objective = {"name": "lce"} if no is None else {"name": "bce", "reduction": "sum"}
    made = recipe(base, objective)
    made = made.model_copy(update={"model": Model.model_validate(made.model.model_dump() | {"question": question})})
    loss, got, model = gradients(made, tmp_path / "run")
    model.zero_grad()
    documents = [[row["positive"], *row["negative"]] for row in rows()]
    pairs = [[row["query"], text] for row, own in zip(rows(), documents, strict=True) for text in own]
    features = {k: v.to(DEVICE) if isinstance(v, Tensor) else v for k, v in model.preprocess(pairs).items()}
    scores = model(features)["scores"].view(N, 1 + M)
    signed = torch.cat([scores[:, :1], -scores[:, 1:]], dim=1)
    rows_ = -scores.log_softmax(1)[:, 0] if no is None else -torch.nn.functional.logsigmoid(signed).sum(1)
    rows_.mean().backward()
    assert loss == pytest.approx(rows_.mean().item(), rel=1e-4)
    wants = {n: torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for n, p in model.named_parameters()}
    scale = max(float(want.abs().max()) for want in wants.values())
    for name, want in wants.items():
        torch.testing.assert_close(got[name] / scale, want / scale, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("cut", [{"graph": "reforward"}, {"tokens_per_micro_batch": 64}, {"rows_per_block": 3}])
def test_the_gradient_does_not_depend_on_how_the_work_is_cut(cut: dict[str, Any], base: Path, tmp_path: Path) -> None:
    objective = {"name": "lambda_loss"}
    loss, whole, _ = gradients(recipe(base, objective, grades=True, tokens_per_micro_batch=10_000), tmp_path)
    other, pieces, _ = gradients(recipe(base, objective, grades=True, **cut), tmp_path)
    assert other == pytest.approx(loss, rel=1e-5)
    scale = max(float(g.abs().max()) for g in whole.values())
    for name, want in whole.items():
        torch.testing.assert_close(pieces[name] / scale, want / scale, rtol=0, atol=1e-5, msg=name)


def test_three_updates_are_those_of_cross_encoder_trainer(base: Path, tmp_path: Path) -> None:
    """The same data, optimiser and schedule: the same weights. SGD, since Adam makes noise as large as gradients."""
    made = recipe(base, {"name": "bce", "reduction": "mean"}, optimizer="sgd", learning_rate=0.05)
    ours = trainer(made, tmp_path / "ours")
    start = {k: v.clone() for k, v in ours.encoder.st.state_dict().items()}
    plain = CrossEncoder(str(base), num_labels=1, device=DEVICE)
    plain.load_state_dict(start)
    plain.max_seq_length = 32
    for module in plain.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    data = [(r["query"], text, float(i == 0)) for r in rows() for i, text in enumerate([r["positive"], *r["negative"]])]
    named = {k: list(v) for k, v in zip(("a", "b", "label"), zip(*data, strict=True), strict=True)}
    arguments = CrossEncoderTrainingArguments(
        str(tmp_path / "theirs"),
        per_device_train_batch_size=len(data),
        max_steps=3,
        learning_rate=0.05,
        optim="sgd",
        report_to=[],
        save_strategy="no",
        use_cpu=DEVICE == "cpu",
        disable_tqdm=True,
        logging_strategy="no",
    )
    loss = losses.BinaryCrossEntropyLoss(plain)
    CrossEncoderTrainer(model=plain, args=arguments, train_dataset=Dataset.from_dict(named), loss=loss).train()
    ours.train()
    moved = max(float((v - start[k]).abs().max()) for k, v in plain.state_dict().items() if v.is_floating_point())
    assert moved > 1e-3
    for name, want in plain.state_dict().items():
        torch.testing.assert_close(ours.encoder.st.state_dict()[name], want, rtol=0, atol=1e-3 * moved, msg=name)


def test_a_reranker_goes_on_bit_for_bit(base: Path, tmp_path: Path) -> None:
    made = recipe(base, {"name": "lce"}, batch_size=4, steps=4, save_every=2)
    made = made.model_copy(update={"model": made.model.model_copy(update={"dropout": 0.1})})
    whole = trainer(made, tmp_path / "whole")
    whole.train()
    again = trainer(made, tmp_path / "whole")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert again.state.global_step == 4
    for name, value in whole.trainee.state_dict().items():
        assert torch.equal(value, again.trainee.state_dict()[name]), name


def test_a_batch_says_what_was_read(base: Path, tmp_path: Path) -> None:
    batch = trainer(recipe(base, {"name": "lce"}), tmp_path).pipeline.batch(0, 0)
    assert batch.paired and batch.slots == 2 + M
    assert len(batch.texts) == N * (1 + M) and all(" | " in text for text in batch.texts)
    assert set(batch.position % batch.slots) == {1, 2, 3}, "the query has no row of its own"
    assert "query_cosine" not in trainer(recipe(base, {"name": "lce"}), tmp_path).engine(replace(batch)).metrics
