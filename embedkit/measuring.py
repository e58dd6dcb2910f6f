"""What a run measures: its suites, each read once, before, during and after training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite
from embedkit.types import Scores

if TYPE_CHECKING:
    from embedkit.model.encoder import Encoder


class Measuring:
    """The `eval` block at work.

    Args:
        recipe: the recipe.
        base: folder that its paths start from; the working folder is tried next.
    """

    def __init__(self, recipe: Recipe, base: Path) -> None:
        self.config, self.seed, self.base = recipe.eval, recipe.train.seed, base
        self._read: dict[str, tuple[Suite, Any]] = {}

    @property
    def data_folder(self) -> Path | None:
        """`eval.data` as an absolute path."""
        if self.config.data is None:
            return None
        wanted = Path(self.config.data).expanduser()
        return (self.base / wanted if (self.base / wanted).is_dir() else wanted).resolve()

    def score(self, encoder: Encoder, reference: str | Suite, name: str, resamples: int, progress: bool) -> Scores:
        """Scores of the encoder on a suite.

        Args:
            encoder: the encoder as it is now.
            reference: the suite as the recipe names it.
            name: what reports call the model.
            resamples: of the bootstrap; 0 leaves intervals out.
            progress: show bars.
        """
        from embedkit.evaluation import suite as suites

        key = str(reference)
        if key not in self._read:
            suite = suites.load_suite(reference, self.base, self.data_folder)
            self._read[key] = suite, suites.load_data(suite)
        suite, data = self._read[key]
        selects = self.config.during is None or reference is self.config.during
        return suites.evaluate_suite(
            encoder,
            suite,
            resamples=resamples,
            seed=self.seed,
            batch_tokens=self.config.batch_tokens,
            model_name=name,
            select=self.config.select if selects else "average",
            progress=progress,
            data=data,
        )

    def during(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Metrics of an evaluation during training: ``average`` and every ``TASK/METRIC``."""
        reference = self.config.during or self.config.suite
        assert reference is not None, "the plan refuses eval.every without a suite"
        scores = self.score(encoder, reference, f"step {step}", resamples=0, progress=False)
        metrics = {f"{t.task}/{name}": value for t in scores.tasks for name, value in t.metrics.items()}
        return {"average": scores.average, **metrics}
