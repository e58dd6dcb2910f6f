"""Everything that trains, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from embedkit.model.changing import lora
from embedkit.model.running.reranker import Trained
from embedkit.objectives.base import Objective
from embedkit.train.checkpoint import load_encoder, load_module, save_module
from embedkit.train.step import Step

ADAPTED = "adapted"
"""Name of the state of an encoder with adapters: its folder holds merged weights, training goes on from both."""


class Trainee(nn.Module):
    """Encoder, objectives, batch heads and auxiliaries as one module: zeroed, clipped and counted together.

    It also stands where the trainer expects the wrapped model, so that no DistributedDataParallel is put around
    the encoder: the step sums gradients itself, once per update.
    """

    def __init__(self, encoder: Trained, objectives: Sequence[Objective], step: Step) -> None:
        super().__init__()
        self.whole = encoder
        self.encoder = encoder.module
        self.objectives = nn.ModuleList(objectives)
        self.heads = nn.ModuleList(step.heads)
        self.auxiliaries = nn.ModuleList(step.auxiliaries)
        self.target = step.target or nn.Identity()

    @property
    def adapted(self) -> bool:
        return lora.has_adapters(self.whole.st)

    def save(self, folder: Path) -> None:
        """Write the encoder as a sentence-transformers folder, and into its ``embedkit/`` what that does not hold."""
        self.whole.save(folder)
        for name, module in self._beside().items():
            save_module(module, folder / "embedkit" / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            TrainingError: a part is damaged, missing, or does not fit.
        """
        if not self.adapted:
            load_encoder(self.whole.st, folder)
        for name, module in self._beside().items():
            load_module(module, folder / "embedkit" / f"{name}.safetensors")

    def _beside(self) -> dict[str, nn.Module]:
        """What trains but is no part of the model that is published, by its name in a checkpoint."""
        found: dict[str, nn.Module] = {ADAPTED: self.whole.st} if self.adapted else {}
        return found | {
            "head": self.whole.head or nn.Identity(),
            "tower": self.encoder.second or nn.Identity(),
            "objective": self.objectives,
            "heads": self.heads,
            "auxiliary": self.auxiliaries,
            "target": self.target,
        }
