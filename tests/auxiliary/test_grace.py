"""GRACE: what is written, what it earns, what the policy learns from it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from embedkit.auxiliary.grace import Grace
from embedkit.data.collate import collate
from embedkit.data.views import expand
from embedkit.errors import DataError, RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.objectives.rewards import supervised_reward, unsupervised_reward
from embedkit.recipe.plan import plan
from embedkit.recipe.planning.words import lines
from embedkit.recipe.schema import Recipe
from embedkit.train import auxiliaries
from embedkit.train.distributed import Comm
from embedkit.types import Example, RowBatch
from tests.auxiliary.models import WRITES, load, row_batch, tiny_writer
from tests.device import DEVICE
from tests.tiny import sentences
from tests.train.runs import state, trainer
from tests.train.test_resume import assert_equal

ROLLOUTS = 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_writer(tmp_path_factory.mktemp("base") / "llama", "llama")


def grace(base: Path, **options: Any) -> Grace:
    made = Grace(rollouts=ROLLOUTS, encoder=load(base, **{**WRITES, **options}), seed=3)
    made.encoder.module.train()
    return made


def triplets(encoder: Encoder, count: int = 4, without: int = 1) -> RowBatch:
    """Triplets, the last `without` of them without a negative."""
    texts = sentences(3 * count, seed=8)
    examples = [
        Example(texts[i], (texts[count + i],), (texts[2 * count + i],) if i < count - without else (), origin=str(i))
        for i in range(count)
    ]
    rows = expand(examples, unlabelled=False, views=1, per_query=1, one_positive="first", seed=0, step=2, offset=0)
    return collate(rows, encoder.tokenize, 10_000, source=0, step=2)


class ByHand:
    """The whole model of transformers on rows of tokens, one by one, nothing padded."""

    def __init__(self, base: Path, before: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval().to(DEVICE)
        self.before = before

    def embedding(self, ids: list[int]) -> Tensor:
        with torch.no_grad():
            out = self.model(torch.tensor([ids], device=DEVICE), output_hidden_states=True)
        return out.hidden_states[-1][0, self.before :].mean(0)

    def log_p(self, text: list[int], rationale: list[int]) -> Tensor:
        with torch.no_grad():
            logits = self.model(torch.tensor([text + rationale], device=DEVICE)).logits[0]
        places = torch.arange(len(text) - 1, len(text) + len(rationale) - 1)
        return logits[places].log_softmax(-1)[range(len(rationale)), rationale].sum()


@pytest.mark.parametrize("labelled", [True, False])
def test_reward_advantage_and_loss_are_those_of_the_written_tokens(base: Path, labelled: bool) -> None:
    """Every number again from token ids alone: rows one by one, through transformers' own model."""
    made = grace(base, rationale={"tokens": 3})
    batch = triplets(made.encoder) if labelled else row_batch(made.encoder, count=4)
    query, document, negative = made._write(batch)
    hand = ByHand(base, made.writer.before)
    q, d = (
        torch.stack([hand.embedding(batch.input_ids[r] + ids) for r, w in part.items() for ids in w.rationales])
        for part in (query, document)
    )
    group = torch.arange(4, device=DEVICE).repeat_interleave(ROLLOUTS)
    finished = torch.tensor([ids[-1] in made.writer.ends for w in document.values() for ids in w.rationales])
    assert finished.any() and not finished.all()
    finished = finished.to(DEVICE)
    if labelled:
        n = torch.zeros_like(d)
        for row, written in negative.items():
            assert len(written.rationales) == 1
            n[group == batch.position[row] // 3] = hand.embedding(batch.input_ids[row] + written.rationales[0])
        assert len(negative) == 3
        total = supervised_reward(q, d, n, group, finished=finished).total
    else:
        assert not negative
        total = unsupervised_reward(q, d, group, finished=finished).total
    gain = total - total.view(4, -1).mean(1).repeat_interleave(ROLLOUTS)
    pairs = [(batch.input_ids[row], ids) for row, w in document.items() for ids in w.rationales]
    count = sum(len(ids) for _, ids in pairs)
    loss = -sum(float(a * hand.log_p(*pair)) for a, pair in zip(gain, pairs, strict=True)) / count
    result = auxiliaries.run([made], batch, None, Comm(), device=DEVICE)
    assert result.loss == pytest.approx(loss, rel=2e-3, abs=1e-3)
    assert result.metrics["reward"] == pytest.approx(float(total.mean()), rel=1e-3)
    assert result.metrics["unfinished"] == pytest.approx(1 - float(finished.float().mean()))
    assert result.metrics["rationale_tokens"] == pytest.approx(count / len(pairs))


def test_a_step_along_the_gradient_makes_what_earned_more_likelier(base: Path) -> None:
    made = grace(base)
    batch = row_batch(made.encoder, count=4)
    rows = np.arange(len(batch.input_ids))
    drawn = made.draw(batch, rows)
    assert drawn is not None
    before = made(drawn, None).value
    before.backward()
    parameters = [p for p in made.encoder.module.parameters() if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    with torch.no_grad():
        for p in parameters:
            p -= 1e-3 * p.grad / norm
        after = made(drawn, None).value
    assert float(before.detach() - after) == pytest.approx(1e-3 * float(norm), rel=0.1)


def test_rationales_are_a_function_of_seed_step_and_place(base: Path) -> None:
    made = grace(base)
    batch = row_batch(made.encoder, count=4, step=1)
    state = torch.get_rng_state()
    one, again = (made._write(batch)[1] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    texts = [[w.rationales for w in written.values()] for written in (one, again)]
    assert texts[0] == texts[1] and len({tuple(ids) for group in texts[0] for ids in group}) > ROLLOUTS
    half = row_batch(made.encoder, count=4, step=1, own=slice(2, 4))
    assert [w.rationales for w in made._write(half)[1].values()] == texts[0][2:]
    made.seed = 4
    assert [w.rationales for w in made._write(batch)[1].values()] != texts[0]
    assert made.encoder.module.training


def test_a_token_is_read_once_while_a_rationale_is_written(base: Path) -> None:
    encoder = load(base, **WRITES)
    writer: Any = encoder.st[0]
    read: list[int] = []
    hook = writer.model.register_forward_pre_hook(
        lambda module, args, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    ids = torch.tensor([writer.tokenizer(sentences(1)[0])["input_ids"]], device=DEVICE)
    out, _ = writer.write(ids, torch.ones_like(ids))
    hook.remove()
    assert read == [ids.shape[1], *[1] * (out.shape[1] - ids.shape[1] - 1)] and len(read) > 1


def recipe(base: Path, **options: Any) -> Recipe:
    source = {"rows": [{"text": t} for t in sentences(24, seed=6)], "roles": {"text": "text"}}
    train = {"batch_size": 4, "steps": 2, "save_every": 1, "keep_checkpoints": 9, "learning_rate": 1e-3}
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24, **WRITES, **options.pop("model", {})},
            "data": {"sources": [source]},
            "objective": "none",
            "auxiliary": [{"name": "grace", "rollouts": 2}],
            "train": {**train, "accumulation": 2, "device": DEVICE, "tokens_per_micro_batch": 64},
            **options,
        }
    )


def test_two_updates_are_one_and_one(base: Path, tmp_path: Path) -> None:
    made = recipe(base)
    whole = trainer(made, tmp_path / "whole")
    start = {n: v.clone() for n, v in whole.trainee.state_dict().items()}
    whole.train()
    assert any((v != start[n]).any() for n, v in whole.trainee.state_dict().items())
    ends = whole.encoder.st[0].config.eos_token_id
    assert ends == [3, *range(5, 110)], "training has changed which tokens end a text"
    resumed = trainer(made, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert resumed.state.global_step == 2
    assert_equal(state(resumed), state(whole))


def test_nothing_is_learned_where_no_rationale_ends_and_that_is_said(base: Path, tmp_path: Path) -> None:
    endless = tiny_writer(tmp_path / "endless", "llama", eos_token_id=3)
    made = grace(endless)
    for step in range(2):
        result = auxiliaries.run([made], row_batch(made.encoder, count=2, step=step), None, Comm(), device=DEVICE)
        assert result.metrics["unfinished"] == 1 and result.metrics["reward"] == -1 and result.loss == 0
    assert len(made.warnings) == 1 and "raise model.rationale.tokens" in made.warnings[0]


def test_what_cannot_be_trained_is_refused(base: Path) -> None:
    with pytest.raises(RecipeError, match="this model writes nothing"):
        Grace(encoder=load(base, **{**WRITES, "rationale": {"tokens": 0}}), seed=0)
    made = grace(base)
    with pytest.raises(DataError, match="2 positives per example"):
        made.sizes(row_batch(made.encoder, count=2, views=3))
    pairs = {"data": {"sources": [{"rows": [{"query": "a", "positive": "b"}] * 8}]}}
    for options, said in [
        ({"model": {"rationale": {"tokens": 0}}}, "it writes nothing"),
        ({"model": {"bidirectional": True}}, "does not go with a rationale"),
        ({"model": {"prompts": {"query": "q: "}}}, "left out by its number of tokens"),
        ({"model": {"max_length": 126}}, "more than the 128 positions"),
        ({"objective": "infonce", **pairs}, "used with one"),
        ({"views": {"count": 3}}, "two rationales of the same text"),
        ({"data": {"sources": [{"rows": [{"query": "a"}] * 8}]}}, "the source has none"),
    ]:
        assert any(said in p.what for p in plan(recipe(base, **options)).refusals), said


def test_check_says_what_is_written(base: Path) -> None:
    planned = plan(recipe(base))
    assert not planned.refusals and [p.path for p in planned.warnings] == [("eval", "suite")]
    text = "\n".join(lines(planned))
    assert "2 rationales of each query and document" in text
    assert "32 rationales per update, together at most 192 tokens" in text
    assert "at most 6 tokens for every text" in text
    plain = {"auxiliary": [], "objective": "infonce", "model": {"rationale": {"tokens": 0}}}
    assert not plan(recipe(base, **plain)).refusals
