"""What is made of a labelled source before training: scored pairs (SetFit), or pairs with texts of the labels (EFL)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedkit.foreign.limits import SEED
from embedkit.recipe.base import LONG_TEXTS, Block, Leads, invalid

SLOT = "{label}"


class Pairs(Block):
    """Pairs of the labelled texts of a source: score 1 for two of one class, 0 for two of different ones (SetFit, arXiv
    2209.11055)."""

    sampling: Literal["oversampling", "undersampling", "unique"] = Field(
        "oversampling",
        description="Of the pairs of both kinds. oversampling: the shorter list is repeated to the length of the "
        "longer. undersampling: the longer is cut. unique: every pair once.",
    )
    iterations: int | None = Field(
        None, ge=1, description="This many pairs of each kind per text instead, repeated where there are fewer."
    )
    max_pairs: int | None = Field(
        None, ge=2, description="Half of this many of each kind are kept before `sampling`, in random order. None: all."
    )
    multilabel: bool = Field(
        False, description="A label is a list of classes; two texts that share one are a pair of score 1."
    )
    self_pairs: Literal["beside", "only", "none"] = Field(
        "beside",
        description="A text with itself as a pair of score 1, two dropout passes. beside: as in SetFit, refused where "
        "there would be no other. only: there may be no other. none: left out.",
    )
    seed: int = Field(
        42, ge=0, le=SEED, description="Of the order of the pairs; 42 is fixed in SetFit. Not train.seed."
    )

    def facts(self) -> list[str]:
        """What will happen before training, a line each."""
        kinds = "texts that share a class" if self.multilabel else "texts of one class"
        many = f"{self.iterations} of each kind per text" if self.iterations else self.sampling
        most = "" if self.max_pairs is None else f", at most {self.max_pairs // 2:,} different ones of each kind"
        with_itself = "" if self.self_pairs == "none" else ", each text with itself among them"
        return [f"pairs of score 1 of {kinds}{with_itself}, of score 0 of others: {many}{most}"]


class LabelTexts(Block):
    """A text for every class: the positive of the texts of that class and a negative of all others (EFL, arXiv
    2104.14690). Exactly one of texts, file, template."""

    model_config = LONG_TEXTS

    texts: dict[str, str] | None = Field(None, description="label: text, written here.")
    file: Annotated[str | None, Leads("file")] = Field(
        None,
        description="A JSONL, CSV, TSV or Parquet file with the columns label and text. Relative to the recipe file, "
        "else to the working folder.",
    )
    template: str | None = Field(
        None, description="A text with {label} in it, for labels that are words; `_` in a label becomes a space."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> LabelTexts:
        given = [key for key in ("texts", "file", "template") if getattr(self, key) is not None]
        if len(given) != 1:
            what = f"label_texts needs exactly one of texts, file, template; got {', '.join(given) or 'none'}"
            raise invalid(what, 'keep one, e.g. `template: "It is about {label}."`')
        if self.template is not None and SLOT not in self.template:
            raise invalid(f"the template has no place for the label: {SLOT} is missing", f"write {SLOT} where it goes")
        return self

    def facts(self) -> list[str]:
        """What will happen before training, a line each."""
        origin = f"of {self.file}" if self.file else f"like {self.template!r}" if self.template else "of the recipe"
        return [f"label texts {origin}: that of the own class is the positive, those of others are negatives"]
