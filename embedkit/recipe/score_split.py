"""What a source may say of candidates that were scored: which of them are positives, which negatives."""

from __future__ import annotations

from pydantic import Field

from embedkit.recipe.base import Block


class ScoreSplit(Block):
    """Positives and negatives of each query by the scores of its candidates (LLM-R, arXiv 2307.07164): rows have a
    positive, negatives and a score for each, and which was which does not matter."""

    positives: int = Field(3, ge=1, description="The best so many become positives.")
    negatives: int | None = Field(
        None,
        ge=1,
        description="The worst so many become negatives (16 in LLM-R's script). null: all that are no positives.",
    )
    above: float | None = Field(
        None, description="Queries whose last positive has this score or less are left out (-100 in LLM-R)."
    )

    def facts(self) -> list[str]:
        """What will happen before training, a line each."""
        rest = "all others" if self.negatives is None else f"the worst {self.negatives}"
        floor = "" if self.above is None else f"; queries without {self.positives} above {self.above:g} are left out"
        return [f"of the scored candidates the best {self.positives} become positives, {rest} negatives{floor}"]
