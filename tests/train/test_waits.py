"""What the step asks of a device: a GPU goes on while the host does, and its work is timed."""

from __future__ import annotations

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
from embedkit.model.reading import devices
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.train import stopwatch
from embedkit.train.step import Step
from embedkit.train.stopwatch import Stopwatch
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


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device with a queue of work, and a clock that its work moves when somebody waits for it."""
    found = SimpleNamespace(now=0.0, queue=0.0)

    def synchronize() -> None:
        found.now, found.queue = found.now + found.queue, 0.0

    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(synchronize=synchronize))
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: found.now)
    return found


def test_seconds_hold_the_work_of_the_device_and_no_other(gpu: SimpleNamespace) -> None:
    watch = Stopwatch(torch.device("cuda"))
    gpu.queue = 5.0  # the optimiser of the update before
    watch.start()
    gpu.queue += 2.0
    watch.start()  # the second batch of the update
    gpu.now, gpu.queue = gpu.now + 1.0, gpu.queue + 3.0
    watch.stop()
    watch.stop()
    gpu.queue = 7.0
    assert watch.take() == 6.0 and watch.take() == 0.0
    watch.start()
    watch.stop()
    assert watch.take() == 0.0 and gpu.now == 18.0


def test_the_trainer_waits_around_every_update(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(stopwatch, "wait", asked.append)
    made = trainer(recipe(tiny_bert(tmp_path / "base"), steps=3, accumulation=2), tmp_path / "run")
    made.train()
    assert len(asked) == 2 * 3
    assert all(line["seconds"] > 0 for line in made.state.log_history if "loss" in line)
