"""Options of the weighting pieces: composable, each a factor on rows or a term on logits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from embedkit.recipe.base import Block, validate_named


class WeightingConfig(Block):
    """Base of all weighting options."""

    name: str


class Focal(WeightingConfig):
    """Row weight (1 - p)^gamma with p the softmax probability of the positive (Lin et al. 2017; KaLM)."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(0.5, ge=0, le=10, description="0 changes nothing; larger looks only at hard rows.")
    detach: bool = Field(True, description="Take the weight as a constant. False lets gradient flow through it.")
    normalize: Literal["count", "weight"] = Field(
        "count", description="count: mean over rows (KaLM). weight: divide by the sum of weights."
    )

    @model_validator(mode="after")
    def _constant_divisor(self) -> Focal:
        if self.normalize == "weight" and not self.detach:
            raise ValueError("focal with normalize: weight needs detach: true, the divisor is a constant")
        return self


class Hardness(WeightingConfig):
    """Adds alpha * stop_gradient(cosine) to the logits of negatives (EmbeddingGemma; Lan et al. 2025)."""

    name: Literal["hardness"] = "hardness"
    alpha: float = Field(5.0, ge=0, le=100, description="Strength; 0 changes nothing.")
    on: Literal["own", "in_batch", "all"] = Field(
        "own",
        description="own: only the row's explicit negatives (EmbeddingGemma). in_batch: all but those (Lan et al., "
        "alpha 9). all: every negative.",
    )


class Dynamic(WeightingConfig):
    """Row weight by where the row's loss lies between the least and the largest of the batch (Sow et al. 2025)."""

    name: Literal["dynamic"] = "dynamic"
    strategy: Literal["linupper", "uniform", "quadratic", "extremes"] = Field(
        "linupper",
        description="With h from -delta (least loss) to delta: linupper min(h + delta, delta), uniform h, quadratic "
        "1 - h^2 / delta^2, extremes |h|. The weight is e^(that / r).",
    )
    r: float = Field(1.0, gt=0, le=1e6, description="Large: all rows alike. The paper lowers it in training.")
    delta: float = Field(1.0, gt=0, le=100, description="Half the range that losses are mapped to.")


def _weighting(value: Any, info: Any) -> Any:
    return validate_named("weighting", value, info)


AnyWeighting = Annotated[SerializeAsAny[WeightingConfig], BeforeValidator(_weighting)]
