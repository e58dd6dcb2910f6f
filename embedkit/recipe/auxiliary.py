"""Options of the auxiliary losses: losses on the encoder's side of the step, over tokens rather than examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from embedkit.recipe.base import Block, Leads, validate_named


class AuxiliaryConfig(Block):
    """Base of all auxiliary losses' options."""

    name: str
    weight: float = Field(1.0, gt=0, description="Factor of this loss beside the objective's.")

    def words(self) -> str:
        """What it does in a step, for the plan."""
        return f"{self.name}, weight {self.weight:g}"


def _auxiliary(value: Any, info: Any) -> Any:
    return validate_named("auxiliary", value, info)


AnyAuxiliary = Annotated[SerializeAsAny[AuxiliaryConfig], BeforeValidator(_auxiliary)]


class MaskedLM(AuxiliaryConfig):
    """Masked language modelling on masked copies of the rows (SimCSE's auxiliary; alone: pretraining)."""

    name: Literal["mlm"] = "mlm"
    weight: float = Field(0.1, gt=0, description="Factor of the loss; 0.1 in SimCSE.")
    rate: float = Field(
        0.15, gt=0, lt=1, description="Probability that a token is chosen: 80 % become [MASK], 10 % a random token."
    )
    views: Literal["all", "first"] = Field(
        "all", description="all: every row is masked. first: only queries (the first view)."
    )
    mask_inputs: bool = Field(
        False, description="True: the objective sees the same masked rows instead of the plain ones (TransliCo)."
    )

    def words(self) -> str:
        rows = "every row" if self.views == "all" else "the queries"
        return f"{super().words()}: a pass of its own over {rows}, {self.rate:.0%} of the tokens masked"


class MaskedNextToken(AuxiliaryConfig):
    """Masked next-token prediction: a causal model made bidirectional tells masked tokens from the state before them
    (LLM2Vec, arXiv 2404.05961)."""

    name: Literal["mntp"] = "mntp"
    rate: float = Field(
        0.2, gt=0, lt=1, description="Probability that a token is chosen: 80 % become the mask, 10 % a random token."
    )
    views: Literal["all", "first"] = Field(
        "all", description="all: every row is masked. first: only queries (the first view)."
    )
    mask: str | None = Field(
        "_", description="Text of the one token that stands for a mask; null: the tokenizer's mask token."
    )

    def words(self) -> str:
        rows = "every row" if self.views == "all" else "the queries"
        return f"{super().words()}: a pass of its own over {rows}, {self.rate:.0%} of the tokens masked"


class Grace(AuxiliaryConfig):
    """Policy gradient on what the model writes about a text before it is embedded (GRACE, arXiv 2510.04506); needs
    `model.rationale`, and objective none."""

    name: Literal["grace"] = "grace"
    rollouts: int = Field(8, ge=2, le=256, description="Rationales drawn for each query and for each document.")
    temperature: float = Field(0.1, gt=0, description="Divides the cosines of the reward.")
    clustering_weight: float = Field(
        0.2, ge=0, description="Of the mean cosine to the other rationales of the same document."
    )
    cross_group_weight: float = Field(
        0.2, ge=0, description="Of the cosines to other examples, which lower the reward."
    )

    def words(self) -> str:
        many = f"{self.rollouts} rationales of each query and document, 1 of a negative"
        return f"{super().words()}: {many}; those of documents are read again with gradient"


class ReplacedTokens(AuxiliaryConfig):
    """Conditional replaced-token detection with a frozen generator (DiffCSE)."""

    name: Literal["replaced_tokens"] = "replaced_tokens"
    weight: float = Field(0.005, gt=0, description="Factor of the loss; 0.005 in DiffCSE.")
    generator: Annotated[str, Leads("folder")] = Field(
        "distilbert/distilbert-base-uncased",
        description="Masked language model with the encoder's vocabulary: a folder or a Hub id. It never trains.",
    )
    rate: float = Field(0.3, gt=0, lt=1, description="Probability that a token is masked for the generator.")
    generator_mode: Literal["argmax", "sample"] = Field(
        "argmax",
        description="argmax: its most probable token (DiffCSE's code). sample: a draw (DiffCSE's abstract).",
    )
    only_masked: bool = Field(
        True, description="False: every token but the first may change, special tokens too (DiffCSE's code)."
    )
    ignore_padding: bool = Field(
        True, description="False: padding up to the batch's longest row counts as original (DiffCSE's code)."
    )
    generator_train_mode: bool = Field(False, description="True: dropout on in the generator (DiffCSE's code).")

    def words(self) -> str:
        readers = f"the frozen generator {self.generator} and a trained copy of the encoder"
        return f"{super().words()}: every row also passes through {readers}"


class Denoising(AuxiliaryConfig):
    """A decoder rebuilds the undamaged text from the embedding (TSDAE); needs a view that damages the text."""

    name: Literal["tsdae"] = "tsdae"
    tie: bool = Field(True, description="The decoder shares the encoder's weights where their names agree.")

    def words(self) -> str:
        return f"{super().words()}: a decoder writes every text again, with a softmax over the vocabulary per token"
