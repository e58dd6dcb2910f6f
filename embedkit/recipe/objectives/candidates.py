"""Options of the objectives on the scores of a row's own candidates: pointwise, pairwise and listwise."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity


class CandidateConfig(ObjectiveConfig):
    """What they share: a reranker's scores, or an encoder's similarities, divided by a temperature."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative"})
    takes_pairs: ClassVar[bool] = True
    name: str
    similarity: Similarity = Field("cos", description="Of an encoder's embeddings; a reranker's score has no need.")
    temperature: float = Field(
        1.0, gt=0, le=10, description="Divides the scores. 1 suits a reranker, about 0.05 an encoder's cosines."
    )


class BCE(CandidateConfig):
    """Binary cross-entropy of every pair on its own (for a yes/no head: SFT on the answer)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive"})
    name: Literal["bce"] = "bce"
    reduction: Literal["sum", "mean"] = Field(
        description="Over a query's candidates. It has no default, because sum is as many times the mean, and so the "
        "learning rate, as a query has candidates."
    )
    positive_weight: float = Field(1.0, gt=0, description="Factor of what a positive costs, where negatives are many.")
    bias: float = Field(0.0, description="Taken from the score before the temperature divides it; for cosines.")


class LCE(CandidateConfig):
    """Cross-entropy of the positive against the row's own negatives (localized contrastive estimation)."""

    name: Literal["lce"] = "lce"


class ListNet(CandidateConfig):
    """Cross-entropy of the softmax of the grades and the softmax of the scores (top-one ListNet)."""

    name: Literal["listnet"] = "listnet"
    target_temperature: float = Field(1.0, gt=0, description="Divides the grades.")


class RankNet(CandidateConfig):
    """Logistic loss of every pair of candidates of different grade (RankNet)."""

    name: Literal["ranknet"] = "ranknet"
    top: int | None = Field(
        None, gt=0, description="Only pairs with a candidate among the first `top` of the model's own order."
    )


class LambdaLoss(RankNet):
    """RankNet's pairs, each weighted by what exchanging them would change in nDCG (LambdaLoss)."""

    name: Literal["lambda_loss"] = "lambda_loss"  # type: ignore[assignment]
    weights: Literal["ndcg2++", "ndcg2", "lambdarank"] = Field(
        "ndcg2++",
        description="lambdarank: gains times the change of discounts at the two places. ndcg2: times that "
        "at their distance. ndcg2++: lambdarank + mu ndcg2.",
    )
    mu: float = Field(10.0, ge=0, description="See weights.")


class MarginRanking(CandidateConfig):
    """Margins that grow with the distance in rank, and the reference above all (SimCLS)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["margin_ranking"] = "margin_ranking"
    margin: float = Field(0.01, ge=0, description="Times the distance in rank.")
    reference: Literal["above", "candidate"] = Field(
        "above",
        description="above: the positive is a reference that stays above all negatives, which are ranked by their "
        "scores. candidate: it is ranked by its score like the others.",
    )
    reference_margin: float = Field(0.0, ge=0, description="By how much the reference stays above.")
    reference_weight: float = Field(1.0, ge=0, description="Factor of the reference's term.")


class ScoreMSE(CandidateConfig):
    """Squared error of every candidate's score against a teacher's."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    name: Literal["score_mse"] = "score_mse"
