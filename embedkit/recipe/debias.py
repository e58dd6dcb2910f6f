"""How triplets are sampled from unlabelled sentences so that surface and length do not give the answer away."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedkit.foreign.limits import SEED
from embedkit.recipe.base import Block, Leads, invalid


class Debias(Block):
    """Triplets drawn from unlabelled text by inverse-propensity weighting, in the style of DebCSE."""

    guide: Annotated[str | None, Leads("folder")] = Field(
        None, description="Model that judges meaning, a folder or a Hub id. None: the recipe's own base model."
    )
    neighbours: int = Field(32, ge=0, le=1024, description="Candidates per sentence that are nearest in meaning.")
    lexical: int = Field(16, ge=0, le=1024, description="Candidates per sentence that share the most words.")
    random: int = Field(16, ge=1, le=1024, description="Candidates per sentence drawn at random.")
    center: bool = Field(
        True, description="Subtract the mean embedding before the cosine, so that unrelated sentences are near 0."
    )
    min_positive_similarity: float = Field(
        0.6, gt=-1, le=1, description="Cosine in meaning that a candidate needs to be a positive."
    )
    max_negative_similarity: float = Field(
        0.3, ge=-1, lt=1, description="Cosine in meaning up to which a candidate may be a negative."
    )
    sharpness: float = Field(
        5.0, ge=0, le=100, description="Preference for closer positives and farther negatives: exp(+-sharpness * cos)."
    )
    surface: Literal["overlap", "edit"] = Field(
        "overlap", description="overlap: Jaccard index of the word sets. edit: 1 - normalised edit distance in words."
    )
    bins: int = Field(12, ge=2, le=50, description="Classes of surface similarity, and of length difference.")
    strength: float = Field(
        1.0, ge=0, le=1, description="Exponent of the propensity correction; 0 samples by meaning alone."
    )
    max_weight: float = Field(50.0, gt=1, description="Bound of the propensity correction, and of its inverse.")
    negatives: int = Field(1, ge=0, le=64, description="Negatives drawn per sentence.")
    no_positive: Literal["self", "drop"] = Field(
        "self", description="A sentence without a close candidate: itself (two dropout views), or leave it out."
    )
    exact_below: int = Field(
        200_000, ge=1, description="Sentences up to which the search for candidates is exact; above, an inverted file."
    )
    seed: int = Field(
        0, ge=0, le=SEED, description="Of the draws. Not train.seed: runs of several seeds share the triplets."
    )

    @model_validator(mode="after")
    def _bands_are_apart(self) -> Debias:
        if self.max_negative_similarity >= self.min_positive_similarity:
            raise invalid(
                f"max_negative_similarity {self.max_negative_similarity:g} is not below "
                f"min_positive_similarity {self.min_positive_similarity:g}",
                "leave a gap between the two: what lies in it is neither positive nor negative",
            )
        return self

    def facts(self, base: str, rows: int | None) -> list[str]:
        """What will happen before training, a line each.

        Args:
            base: the recipe's base model.
            rows: sentences, None where unknown.
        """
        found = f"{self.neighbours} nearest in meaning, {self.lexical} in words, {self.random} random"
        many = "every sentence" if rows is None else f"{rows:,} sentences"
        search = "" if rows is None or rows <= self.exact_below else ", by approximate search"
        other = "else itself" if self.no_positive == "self" else "else the sentence is left out"
        negative = f"{self.negatives} negative(s) from cos <= {self.max_negative_similarity:g}"
        return [
            f"encode {many} once with {self.guide or base}; candidates of each: {found}{search}",
            f"positive from cos >= {self.min_positive_similarity:g}, {other}; {negative}",
            f"drawn with weight exp(+-{self.sharpness:g} cos) / propensity of (word {self.surface}, length difference)"
            f", strength {self.strength:g}",
        ]
