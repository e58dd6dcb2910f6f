"""State between steps: written after the update, the same however the work is cut, resumed bit for bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.objectives.base import set_up
from embedkit.objectives.companions import Pools, Queue, Table
from embedkit.recipe.plan import plan
from embedkit.recipe.planning.words import lines
from embedkit.recipe.schema import Recipe
from embedkit.train import checkpoint
from embedkit.train.distributed import Comm
from embedkit.train.step import Step
from embedkit.train.target import Target
from tests.contract.toy import ToyEncoder, toy_batch
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, batch
from tests.objectives.helpers import build
from tests.tiny import tiny_bert
from tests.train.runs import recipe, state, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def remembering(base: Path, **train: Any) -> Recipe:
    """Queues, a table, prototypes and the copy of the encoder; one queue still grows at the checkpoint of update 4."""
    plain = recipe(base, **train).model_dump(exclude_unset=True)
    queue = {"objective": {"name": "moco", "queue": 70, "momentum": 0.9}}
    table = {"objective": {"name": "sogclr", "rho": 0.3, "temperature": 0.2}}
    clusters = {"objective": {"name": "swav", "prototypes": 4, "queue": 30}}
    near = {"memory": 30, "clusters": 3, "neighbours": 2, "every": 2}
    copied = {"objective": {"name": "beclr", "momentum": 0.9, "hidden": 8, **near}}
    plain["objective"] = {"name": "sum", "terms": [queue, table, clusters, copied]}
    return Recipe.model_validate(plain)


def test_resumed_in_the_middle_is_bit_exact(base: Path, tmp_path: Path) -> None:
    whole = trainer(remembering(base), tmp_path / "whole")
    whole.train()
    resumed = trainer(remembering(base), tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    want, got = state(whole), state(resumed)
    assert want.keys() == got.keys()
    assert [n for n in want if not torch.equal(want[n], got[n])] == []
    lengths = {n: len(v) for n, v in want.items() if n.endswith(("memory.key", "state.text"))}
    assert min(lengths.values()) > 0 and len(lengths) == 2


def test_the_copy_follows_by_its_formula(base: Path, tmp_path: Path) -> None:
    t = trainer(remembering(base, steps=2, save_every=2), tmp_path)
    mine, theirs = t.engine.target.module, t.encoder.module
    name = next(n for n, _ in theirs.named_parameters() if n.endswith("layer.1.output.dense.weight"))
    wanted, follow = [theirs.get_parameter(name).detach().clone()], t.engine.target.follow

    def watched() -> None:
        wanted.append(0.9 * wanted[-1] + 0.1 * theirs.get_parameter(name).detach())
        follow()

    t.engine.target.follow = watched
    t.train()
    assert len(wanted) == 3 and not torch.equal(wanted[0], wanted[-1])
    torch.testing.assert_close(mine.get_parameter(name), wanted[-1])
    assert not mine.st.training and mine.training


def toy_step(objective: Any, target: bool = False, **options: Any) -> tuple[ToyEncoder, Step]:
    encoder = ToyEncoder()
    encoder.module = _Embeds(encoder)
    return encoder, Step(encoder, [objective], target=Target(encoder, 0.5) if target else None, **options)


class _Embeds(torch.nn.Module):
    """The toy encoder as a module, as `Encoder.module` is."""

    def __init__(self, encoder: ToyEncoder) -> None:
        super().__init__()
        self.token, self.hidden, self.out, self.dropout = encoder.token, encoder.hidden, encoder.out, encoder.dropout

    def forward(self, features: dict[str, Any]) -> torch.Tensor:
        return ToyEncoder.embed(self, features)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        *(o.MoCo(queue=30, momentum=None), o.SogCLR(rho=0.3), o.SPCL(pool=3)),
        *(o.SwAV(prototypes=4, queue=30), o.GML(pool=3), o.SBCL(every=5, smallest=2)),
    ],
    ids=lambda c: c.name,
)
def test_batches_of_an_update_are_remembered_in_order(config: o.ObjectiveConfig, keep: bool) -> None:
    """After the optimiser step and not before, with the embeddings that the loss was computed on."""
    template = batch(p=0 if config.name == "spcl" else 1, label=CLASSES)
    objective = build(config)
    set_up(objective, template.query.shape[1], seed=0)
    objective.double()
    encoder, step = toy_step(objective, keep_graph=lambda b: keep, rows_per_block=5)
    wanted = copy.deepcopy(objective)
    before = {n: v.clone() for n, v in objective.state_dict().items()}
    seen = []
    for seed in (3, 4):
        shown = toy_batch(template, seed=seed, own=slice(None), micro=4)
        step(shown, 0.5)
        everything = toy_batch(template, seed=seed, own=slice(None), micro=None)
        rows = everything.micro_batches[0]
        out = encoder.embed(encoder.features(everything, rows)).detach()
        values = out.new_zeros(len(rows), out.shape[1])
        values[torch.from_numpy(everything.position[rows])] = out
        values = values.view(len(template), -1, out.shape[1])
        seen.append(_with(template, values, seed))
    assert all(torch.equal(v, before[n]) for n, v in objective.state_dict().items())
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)  # the optimiser: what is remembered is from before it
        step.remember()
        for e in seen:
            wanted.remember(e)
    got = objective.state_dict()
    assert any(not torch.equal(v, before[n]) for n, v in got.items())
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-12)
    step.remember()  # nothing is pending
    assert all(torch.equal(v, got[n]) for n, v in objective.state_dict().items())


def _with(template: Any, values: torch.Tensor, seed: int) -> Any:
    return replace(template, query=values[:, 0], positive=values[:, 1:], step=seed)


def test_a_loss_alone_is_not_remembered() -> None:
    objective = build(o.MoCo(momentum=None)).double()
    _, step = toy_step(objective)
    step.loss(toy_batch(batch(), seed=1, own=slice(None), micro=None))
    step.remember()
    assert len(objective.memory) == 0


def test_plain_objectives_have_no_hook(base: Path, tmp_path: Path) -> None:
    names = [type(c).__name__ for c in trainer(recipe(base), tmp_path).callback_handler.callbacks]
    assert "AfterUpdate" not in names
    assert "AfterUpdate" in [type(c).__name__ for c in trainer(remembering(base), tmp_path).callback_handler.callbacks]


def test_two_processes_would_remember_the_same() -> None:
    """The pool is the global batch on every process: no part of it is left out of what is written."""
    objective = build(o.MoCo(momentum=None)).double()
    _, step = toy_step(objective, comm=Comm())
    step(toy_batch(batch(), seed=1, own=slice(None), micro=None))
    step.remember()
    assert len(objective.memory) == len(batch())


def test_the_queue_keeps_the_newest() -> None:
    queue = Queue(3)
    for start in (0, 2, 4):
        ids = torch.arange(start, start + 2)
        queue.push(torch.eye(6)[ids], ids, ids + 10)
    assert queue.text.tolist() == [3, 4, 5] and queue.asked.tolist() == [13, 14, 15]
    assert torch.equal(queue.key, torch.eye(6)[3:])


def test_the_table_finds_what_was_put() -> None:
    table = Table()
    default = torch.tensor([9.0])
    values, met = table.find(torch.tensor([4]), default)
    assert values.tolist() == [[9.0]] and not met.any()
    table.put(torch.tensor([5, 2, 5]), torch.tensor([[1.0], [2.0], [3.0]]))
    table.put(torch.tensor([-7, 2]), torch.tensor([[4.0], [8.0]]))
    values, met = table.find(torch.tensor([2, 5, -7, 6]), default)
    assert values.flatten().tolist() == [8.0, 2.0, 4.0, 9.0] and met.tolist() == [True, True, True, False]
    assert table.text.tolist() == [-7, 2, 5]


def test_pools_keep_the_newest_of_each_class_and_draw_by_the_step() -> None:
    pools = Pools(2)
    pools.push(torch.arange(5.0)[:, None], torch.tensor([0, 1, 0, 0, 1]))
    assert pools.label.tolist() == [1, 0, 0, 1] and pools.vector.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    means, classes = pools.prototypes(2, seed=0)
    assert classes.tolist() == [0, 1] and means.flatten().tolist() == [2.5, 2.5]
    one = [pools.prototypes(1, seed=s)[0].flatten().tolist() for s in range(20)]
    assert one == [pools.prototypes(1, seed=s)[0].flatten().tolist() for s in range(20)]
    assert {a for a, _ in one} == {2.0, 3.0} and {b for _, b in one} == {1.0, 4.0}


def test_a_grown_state_goes_through_a_checkpoint(tmp_path: Path) -> None:
    grown, fresh = build(o.MoCo(momentum=None)), build(o.MoCo(momentum=None))
    grown.remember(batch())
    checkpoint.save_module(grown, tmp_path / "objective.safetensors")
    checkpoint.load_module(fresh, tmp_path / "objective.safetensors")
    assert fresh.memory.key.dtype == torch.float64 and len(fresh.memory) == len(batch())
    assert all(torch.equal(v, grown.state_dict()[n]) for n, v in fresh.state_dict().items())


def test_check_says_what_it_takes(base: Path) -> None:
    text = "\n".join(lines(plan(remembering(base))))
    assert "between steps" in text and "copy of the encoder" in text and "20 B per text" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {"name": "matryoshka", "dims": [8], "objective": {"name": "moco"}}}, "shows it several"),
        (
            {
                "objective": {
                    "name": "sum",
                    "terms": [{"objective": {"name": "moco", "momentum": m}} for m in (0.5, 0.9)],
                }
            },
            "0.5 and 0.9",
        ),
        ({"objective": {"name": "moco"}, "heads": [{"name": "mlp"}]}, "without batch heads"),
    ],
)
def test_refusals(base: Path, change: dict[str, Any], message: str) -> None:
    plain = recipe(base).model_dump(exclude_unset=True)
    refused = plan(Recipe.model_validate({**plain, **change})).refusals
    assert any(message in str(problem) for problem in refused), refused


def test_each_process_alone_is_refused(base: Path) -> None:
    plain = recipe(base).model_dump(exclude_unset=True)
    alone = {**plain, "objective": {"name": "moco"}, "negatives": {"across_processes": False}}
    assert any("every process" in str(p) for p in plan(Recipe.model_validate(alone), processes=2).refusals)
