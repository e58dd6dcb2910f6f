"""What a run measures: its suites, each read once, before, during and after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from embedkit.errors import about
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model, Recipe
from embedkit.recipe.suite import Suite
from embedkit.types import RunRecord, Scores

if TYPE_CHECKING:
    from embedkit.auxiliary.base import Auxiliary
    from embedkit.evaluation.forecast import Forecast
    from embedkit.evaluation.mteb.running import Results
    from embedkit.evaluation.tasks import TaskData
    from embedkit.evaluation.two_stage import FirstStage, TwoStage
    from embedkit.model.running.encoder import Encoder
    from embedkit.model.running.reranker import Trained
    from embedkit.model.running.towers import Pair

GEOMETRY = ("alignment", "tolerance", "uniformity", "mean_cosine", "hubness", "rankme", "effective_rank")
"""What of `embedkit.evaluation.geometry` is followed during training."""


class Measuring:
    """The `eval` block at work.

    Args:
        recipe: the recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.config, self.seed = recipe.eval, recipe.train.seed
        self.keep_tower, self.device = recipe.model.keep_tower, recipe.train.device
        self._first: FirstStage | None = None
        self._read: dict[str, tuple[Suite, list[TaskData]]] = {}
        self._texts: list[str] | None = None

    def score(
        self,
        encoder: Trained | Pair,
        reference: str | Suite,
        name: str,
        resamples: int,
        progress: bool,
        results: Results | None = None,
    ) -> Scores:
        """Scores of the encoder on a suite.

        Args:
            encoder: the encoder as it is now.
            reference: the suite as the recipe names it.
            name: what reports call the model.
            resamples: of the bootstrap; 0 leaves intervals out.
            progress: show bars.
            results: where those of mteb tasks are kept; None: nowhere.
        """
        from embedkit.evaluation import suite as suites

        suite, data = self.data(reference)
        selects = self.config.during is None or reference is self.config.during
        return suites.evaluate_suite(
            self._measured(encoder),
            suite,
            resamples=resamples,
            batch_tokens=self.config.batch_tokens,
            model_name=name,
            select=self.config.select if selects else "average",
            progress=progress,
            data=data,
            insight=True,
            results=results,
        )

    def _measured(self, encoder: Trained | Pair) -> Encoder | Pair | TwoStage:
        """What tasks measure: an encoder as it is, a reranker behind the first stage of the recipe."""
        from embedkit.evaluation.two_stage import TwoStage
        from embedkit.model.running.reranker import Reranker

        return TwoStage(encoder, self._first_stage()) if isinstance(encoder, Reranker) else encoder

    def _first_stage(self) -> FirstStage | None:
        """That of the recipe, loaded once: what it finds is the same before, during and after training."""
        config = self.config.first_stage
        if self._first is None and config is not None:
            from embedkit.evaluation.kept import kept_of
            from embedkit.evaluation.two_stage import FirstStage
            from embedkit.model.running.encoder import Encoder

            with about("eval.first_stage.model", "model.base"):
                encoder = Encoder.load(made(Model, base=config.model), device=self.device)
            self._first = FirstStage(encoder, config.depth, config.weight, kept_of(encoder))
        return self._first

    def foresee(self, encoder: Trained, reference: str | Suite, resamples: int) -> Forecast:
        """How long one evaluation on a suite will take, measured on a few of its batches."""
        from embedkit.evaluation.forecast import forecast

        suite, data = self.data(reference)
        measured = self._measured(encoder)
        return forecast(measured, suite, data, batch_tokens=self.config.batch_tokens, resamples=resamples)

    def data(self, reference: str | Suite) -> tuple[Suite, list[TaskData]]:
        """A suite and what its files hold, read once: what is measured later is what was there at the start.

        Raises:
            DataError: a file is missing or wrong.
        """
        from embedkit.evaluation import suite as suites

        key = str(reference)
        if key not in self._read:
            suite = suites.load_suite(reference, self.config.data)
            self._read[key] = suite, suites.load_data(suite)
        return self._read[key]

    def check(self, encoder: Trained) -> None:
        """Find every suite, and refuse what the encoder cannot be measured on, before anything is trained.

        Raises:
            RecipeError: no such suite, or a task that keeps more tokens than the model has room for.
            DataError: files are missing.
        """
        from embedkit.evaluation import suite as suites

        measured = self._measured(encoder)
        for reference in (self.config.suite, self.config.during):
            if reference is not None:
                suite = suites.load_suite(reference, self.config.data)
                suites.check_lengths(measured, suite)
                suites.check_tasks(measured, suite)
                suites.check_there(measured, *self.data(reference), None)

    def masked_lm(
        self, auxiliaries: Sequence[Auxiliary], record: RunRecord, step: int, say: Callable[[Any], None]
    ) -> None:
        """Add loss, perplexity and accuracy on the texts of `eval.masked_lm` to the record, where the recipe has it.

        Args:
            auxiliaries: of the run; the one that is a masked language model answers.
            record: gets an evaluation.
            step: updates done.
            say: receives a line.
        """
        from embedkit.auxiliary.mlm import MaskedLM
        from embedkit.data.sources import load_source
        from embedkit.inputs.cures import PLAIN
        from embedkit.recipe.schema import Source

        if self.config.masked_lm is None:
            return
        if self._texts is None:
            texts = Source(path="", roles={"text": "text"}).model_copy(update={"path": self.config.masked_lm})
            source = load_source(texts, seed=self.seed, cures=PLAIN)
            for line in source.remarks:
                say(f"{source.name}: {line}")
            self._texts = [example.query for example in source.get(range(source.rows or 0))]
        model = next(a for a in auxiliaries if isinstance(a, MaskedLM))
        found = model.held_out(self._texts, batch_tokens=self.config.batch_tokens)
        record.evaluations.append({"step": step, **{f"eval_{name}": value for name, value in found.items()}})
        say(
            f"masked-LM loss on {self.config.masked_lm} after {step} updates: {found['mlm_loss']:.4f} nats a token "
            f"(perplexity {found['mlm_perplexity']:.4g}, {found['mlm_tokens']:,.0f} masked tokens)"
        )

    def during(self, encoder: Trained, step: int) -> dict[str, float]:
        """Metrics of an evaluation during training: ``average``, every ``TASK/METRIC``, and the geometry of each task.

        Of two towers, those of the one that would be kept.
        """
        from embedkit.model.running.reranker import Reranker

        if isinstance(encoder, Reranker):
            return self._metrics(encoder, step)
        found = self._towers(encoder)
        return max((self._metrics(tower, step) for _, tower in found), key=lambda m: m[self.config.select])

    def kept_tower(self, encoder: Encoder) -> tuple[Encoder | Pair, str]:
        """The tower of `encoder` that becomes the result, and a sentence that says which and why."""
        from embedkit.model.running.towers import Pair

        found = self._towers(encoder)
        if len(found) == 1:
            name, tower = found[0]
            beside = ": the other one is frozen, and measured with it" if isinstance(tower, Pair) else ""
            return tower, f"the {name} of two towers is kept{beside}"
        scores = [self._metrics(tower, 0)[self.config.select] for _, tower in found]
        name, tower = found[scores.index(max(scores))]
        measured = ", ".join(f"{n} {score:.2f}" for (n, _), score in zip(found, scores, strict=True))
        return tower, f"the {name} of two towers is kept ({self.config.select}: {measured})"

    def _towers(self, encoder: Encoder) -> list[tuple[str, Encoder | Pair]]:
        from embedkit.model.running.towers import candidates

        return candidates(encoder, self.keep_tower, evaluated=self.config.every is not None)

    def _metrics(self, encoder: Trained | Pair, step: int) -> dict[str, float]:
        reference = self.config.during or self.config.suite
        assert reference is not None, "the plan refuses eval.every without a suite"
        scores = self.score(encoder, reference, f"step {step}", resamples=0, progress=False)
        metrics = {f"{t.task}/{name}": value for t in scores.tasks for name, value in t.metrics.items()}
        for task in scores.tasks:
            shape = task.details.get("geometry", {})
            metrics |= {f"{task.task}/{name}": shape[name] for name in GEOMETRY if shape.get(name) is not None}
        return {"average": scores.average, **metrics}
