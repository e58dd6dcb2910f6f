"""Options of InfoNCE with negatives that are mixed from others."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.contrastive import InfoNCE


class MixedNegatives(InfoNCE):
    """InfoNCE with negatives mixed from each row's own hard negatives, seen by all rows (KaLM-V2, reconstructed)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative"})

    name: Literal["mixed_negatives"] = "mixed_negatives"  # type: ignore[assignment]
    mix: Literal["pairs", "list"] = Field(
        "pairs",
        description="pairs: two hard negatives, in shares drawn from Beta(alpha, alpha). list: all of them, in shares "
        "that are the softmax of their logits.",
    )
    count: int = Field(1, ge=1, le=64, description="Mixed negatives per row; list makes one.")
    alpha: float = Field(2.0, gt=0, le=100, description="Of the Beta distribution; pairs only.")

    def columns(self, n: int, p: int, m: int) -> int:
        return super().columns(n, p, m + self.count)

    @model_validator(mode="after")
    def _mixes(self) -> MixedNegatives:
        if self.mix == "list" and self.count != 1:
            raise ValueError("mix: list makes one negative per row: leave count out")
        _no_soft_targets(self)
        return self


class MoCHi(InfoNCE):
    """InfoNCE with negatives mixed from each query's hardest ones, and from these with the query (MoCHi, 2020)."""

    name: Literal["mochi"] = "mochi"  # type: ignore[assignment]
    hardest: int = Field(32, ge=1, le=4096, description="How many of a query's most similar negatives are mixed.")
    pairs: int = Field(16, ge=0, le=4096, description="Negatives per query mixed from two of the hardest.")
    with_query: int = Field(
        16, ge=0, le=4096, description="Negatives per query mixed from one of the hardest and the query itself."
    )
    query_share: float = Field(0.5, gt=0, le=1, description="The largest share of the query in these.")

    @property
    def made(self) -> int:
        """Mixed negatives per query."""
        return self.pairs + self.with_query

    def columns(self, n: int, p: int, m: int) -> int:
        return super().columns(n, p, m) + self.made

    @model_validator(mode="after")
    def _mixes(self) -> MoCHi:
        if self.similarity != "cos":
            raise ValueError("mochi mixes unit vectors: similarity must be cos")
        if "q-d" not in self.directions:
            raise ValueError("mochi mixes the negatives of a query: directions must hold q-d")
        if not self.made:
            raise ValueError("mochi without pairs and with_query mixes nothing: use infonce")
        _no_soft_targets(self)
        return self


def _no_soft_targets(config: InfoNCE) -> None:
    if config.soft_targets != "none":
        raise ValueError("soft_targets spread over given negatives, not over mixed ones: use infonce")
