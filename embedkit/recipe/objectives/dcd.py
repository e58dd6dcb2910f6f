"""Options of dynamic contrastive distillation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.candidates import CandidateConfig


class DCD(CandidateConfig):
    """A teacher's scores, and hard labels where the teacher is unsure (dynamic contrastive distillation, 2023)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})

    name: Literal["dcd"] = "dcd"
    alpha: float = Field(0.2, ge=0, le=1, description="Share of the squared error against the teacher's scores.")
    weights: Literal["both", "hard"] = Field(
        "both",
        description="Rows weigh by the teacher's entropy in both terms, or in the hard labels' only, as the released "
        "code computes it.",
    )
