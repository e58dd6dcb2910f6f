"""What the step asks of a device: a GPU goes on while the host does, and its work is timed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from embedkit.data.collate import collate
from embedkit.data.views import expand
from embedkit.errors import DataError
from embedkit.model.reading import devices
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.train import stopwatch
from embedkit.train.step import Step
from embedkit.train.stopwatch import Stopwatch
from embedkit.train.trainer import Trainer
from embedkit.types import Example
from tests.contract.parts import CASES
from tests.contract.toy import ToyEncoder, toy_batch
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert
from tests.train.runs import recipe, trainer

LOOK = (
    "auxiliary",
    "bce-",
    "contrastive_tension",
    "dclr",
    "gml",
    "head-",
    "label_anchors",
    "lambda_loss",
    "macl",
    "rank-",
    "sbcl",
    "sepclr",
    "simlap",
    "spcl",
    "st",
    "sum-single-texts",
    "w_mse",
)
"""Cases that look at values or pick rows by a mask: they refuse what they cannot use, or work on those rows alone."""


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: values that are read, and sizes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name()
        indexed = name in ("aten::index.Tensor", "aten::index_put", "aten::index_put_")
        picks = indexed and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += picks or name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
        return function(*args, **(kwargs or {}))


@contextmanager
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    whole = Tensor.tolist
    with monkeypatch.context() as patch, Waits() as found:

        def tolist(tensor: Tensor) -> Any:
            found.count += 1
            return whole(tensor)

        patch.setattr(Tensor, "tolist", tolist)
        yield found


def test_waits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(4.0)
    with waits(monkeypatch) as found:
        _ = float(x[0]), bool(x[1] > 0), x.tolist(), x[x > 1], (x > 1).nonzero()
    assert found.count == 5


@pytest.mark.parametrize("block", [None, 2])
@pytest.mark.parametrize("case", sorted(name for name in CASES if not name.startswith(LOOK)))
def test_the_batch_side_waits_once(monkeypatch: pytest.MonkeyPatch, case: str, block: int | None) -> None:
    """However many metrics, blocks of rows and terms there are."""
    parts, encoder = CASES[case], ToyEncoder()
    built = parts.build(encoder)
    batch = toy_batch(parts.batch, seed=11, own=slice(None), micro=4)
    guide = parts.guide(batch, 0)
    target: Any = None if parts.batch.target is None else lambda rows: parts.target(rows, 0)
    options: dict[str, Any] = {"guide": None if guide is None else lambda _: guide, "target": target}
    step = Step(encoder, [built.objective], **options, rows_per_block=block)
    with waits(monkeypatch) as found:
        result = step(batch)
    assert found.count == 1
    assert len(result.metrics) >= 1


def test_a_row_encoder_waits_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Padded micro-batches without changes to rows, as on a GPU: nothing comes back from the device."""
    encoder = Encoder.load(Model(base=str(tiny_bert(tmp_path)), max_length=24), device=DEVICE)
    encoder.module.packs = False
    examples = [Example(query=text) for text in sentences(12, seed=7)]
    expanded = expand(examples, unlabelled=True, views=2, per_query=0, one_positive="first", seed=0, step=0, offset=0)
    batch = collate(expanded, encoder.tokenize, 60, source=0, step=0)
    features = [encoder.features(batch, rows) for rows in batch.micro_batches]
    assert len(features) > 2 and any("attention_mask" in f for f in features)
    monkeypatch.setattr(Tensor, "cpu", lambda *args: pytest.fail("the micro-batch is read back"))
    again = [encoder.features(batch, rows) for rows in batch.micro_batches]
    assert all(torch.equal(f["input_ids"], a["input_ids"]) for f, a in zip(features, again, strict=True))


@pytest.mark.parametrize(("kind", "waits_not"), [("cpu", False), ("cuda", True), ("mps", False)])
def test_rows_are_sent(monkeypatch: pytest.MonkeyPatch, kind: str, waits_not: bool) -> None:
    """On Apple's GPU torch would read memory of the host that may be gone."""
    asked: list[bool] = []
    monkeypatch.setattr(Tensor, "to", lambda self, device, *, non_blocking: asked.append(non_blocking) or self)
    sent = devices.send(np.arange(3), torch.device(kind))
    assert sent.tolist() == [0, 1, 2] and asked == [waits_not]


class Mark:
    """An event in the queue of a device: it has happened when the work before it is done."""

    device: SimpleNamespace

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Any) -> None:
        self.at = self.device.done + self.device.queue

    def query(self) -> bool:
        return self.at <= self.device.done

    def synchronize(self) -> None:
        self.device.done, self.device.queue = self.at, self.device.done + self.device.queue - self.at

    def elapsed_time(self, end: Mark) -> float:
        assert end.query()
        return 1000 * (end.at - self.at)


def test_a_gpu_keeps_the_time_of_its_work_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(done=0.0, queue=0.0)
    monkeypatch.setattr(Mark, "device", device, raising=False)
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(stopwatch, "wait", lambda device: pytest.fail("waited for"))
    watch = Stopwatch(torch.device("cuda"))
    device.queue = 5.0  # the optimiser of the update before
    watch.start()
    device.queue += 2.0
    watch.start()  # the second batch of the update
    device.queue += 4.0
    watch.stop()
    watch.stop()
    device.queue += 7.0
    watch.start()
    assert device.done == 0.0
    device.queue += 1.0
    watch.stop()
    assert watch.take() == 7.0 and watch.take() == 0.0
    device.done, device.queue = device.done + device.queue, 0.0
    watch.start()
    watch.start()
    watch.stop()
    assert watch.take() == 0.0


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device with a queue of work, and a clock that its work moves when somebody waits for it."""
    found = SimpleNamespace(now=0.0, queue=0.0)

    def synchronize() -> None:
        found.now, found.queue = found.now + found.queue, 0.0

    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(synchronize=synchronize))
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: found.now)
    return found


def test_seconds_hold_the_work_of_the_device_and_no_other(waiting: SimpleNamespace) -> None:
    watch = Stopwatch(torch.device("mps"))
    waiting.queue = 5.0  # the optimiser of the update before
    watch.start()
    waiting.queue += 2.0
    watch.start()  # the second batch of the update
    waiting.now, waiting.queue = waiting.now + 1.0, waiting.queue + 3.0
    watch.stop()
    watch.stop()
    waiting.queue = 7.0
    assert watch.take() == 6.0 and watch.take() == 0.0
    watch.start()
    watch.stop()
    assert watch.take() == 0.0 and waiting.now == 18.0


@pytest.mark.cpu
def test_the_trainer_waits_around_every_update(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(stopwatch, "wait", asked.append)
    made = trainer(recipe(tiny_bert(tmp_path / "base"), steps=3, accumulation=2), tmp_path / "run")
    made.train()
    assert len(asked) == 2 * 3
    assert all(line["seconds"] > 0 for line in made.state.log_history if "loss" in line)


def test_seconds_are_logged(tmp_path: Path) -> None:
    made = trainer(recipe(tiny_bert(tmp_path / "base"), steps=3, accumulation=2), tmp_path / "run")
    made.train()
    assert all(0 < line["seconds"] <= line["elapsed"] for line in made.state.log_history if "loss" in line)
    assert made._working.take() == 0.0


@pytest.mark.parametrize("broken", [False, True])
def test_the_next_batch_is_made_while_a_gpu_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: bool
) -> None:
    """The run is the run without it; a batch that cannot be made fails when its turn comes."""
    base, found, made = tiny_bert(tmp_path / "base"), {}, {}
    for early in (False, True):
        monkeypatch.setattr(sys.modules[Trainer.__module__], "works_behind", lambda device, early=early: early)
        run = trainer(recipe(base, steps=5, accumulation=2, log_every=1), tmp_path / str(early))
        make, asked = run.pipeline.batch, []

        def batch(step: int, k: int, make: Any = make, run: Any = run, asked: Any = asked) -> Any:
            asked.append((step, k, run.state.global_step))
            if broken and (step, k) == (3, 0):
                raise DataError("no text", "row 7", "leave it out")
            return make(step, k)

        run.pipeline.batch = batch
        if broken:
            with pytest.raises(DataError, match="row 7"):
                run.train()
            assert run.state.global_step == 3
        else:
            run.train()
        found[early] = [h["loss"] for h in run.state.log_history if "loss" in h]
        made[early] = asked
    assert found[True] == found[False] and len(found[True]) == (3 if broken else 5)
    ahead = [(step, k) for step, k, update in made[True] if step > update]
    assert ahead == [(step, 0) for step in range(1, 4 if broken else 5)]
    assert all(step == update for step, _, update in made[False])
    assert len(made[True]) == len(made[False]) + broken
