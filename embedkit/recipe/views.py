"""Options of the view transforms: what is done to one view of a text before or inside the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from embedkit.recipe.base import LONG_TEXTS, Block, Leads, invalid, validate_named
from embedkit.recipe.templates import Demonstrations, fault


class TransformConfig(Block):
    """Base of all transforms' options. `level` says where it acts: on the words of the text, on what the embedding
    layer gives, or on the model's dropout rate for this view."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "text"
    name: str

    def words(self) -> str:
        """What it does, for the plan."""
        return self.name

    @property
    def has_rate(self) -> bool:
        """Whether `views.strength` acts on it."""
        return "rate" in type(self).model_fields

    def scaled(self, factor: float) -> TransformConfig:
        """The same with `rate` times `factor`; itself where it has no rate."""
        return self.model_copy(update={"rate": getattr(self, "rate") * factor}) if self.has_rate else self  # noqa: B009


def _view(value: Any, info: Any) -> Any:
    return validate_named("view", value, info)


AnyTransform = Annotated[SerializeAsAny[TransformConfig], BeforeValidator(_view)]


class DeleteWords(TransformConfig):
    """Words left out here and there: int(words * rate) of them, at least one word stays (CLEAR-style)."""

    name: Literal["delete_words"] = "delete_words"
    rate: float = Field(gt=0, lt=1, description="Share of the words, rounded down.")

    def words(self) -> str:
        return f"{self.rate:.0%} of the words left out"


class DeleteSpan(TransformConfig):
    """One run of int(words * rate) neighbouring words left out, at least one word stays (CLEAR-style)."""

    name: Literal["delete_span"] = "delete_span"
    rate: float = Field(gt=0, lt=1, description="Share of the words, rounded down.")

    def words(self) -> str:
        return f"a span of {self.rate:.0%} of the words left out"


class ReorderWords(TransformConfig):
    """Pairs of spans exchange places; spans do not overlap (CLEAR-style)."""

    name: Literal["reorder_words"] = "reorder_words"
    rate: float = Field(
        gt=0, le=1, description="Share of the words that move: int(words * rate / (2 * span)) pairs of spans."
    )
    span: int = Field(ge=1, description="Words per span.")

    def words(self) -> str:
        return f"spans of {self.span} words exchanged, {self.rate:.0%} of the words"


class SubstituteWords(TransformConfig):
    """Words exchanged for others: int(words * rate) of them (CLEAR-style; CLEAR's own source is not established)."""

    name: Literal["substitute_words"] = "substitute_words"
    rate: float = Field(gt=0, le=1, description="Share of the words, rounded down.")
    source: Literal["batch", "synonyms"] = Field(
        "batch", description="batch: words of the whole batch, as often as they occur in it. synonyms: a file."
    )
    synonyms: Annotated[str | None, Leads("file")] = Field(
        None,
        description="UTF-8 file, a word and its synonyms per line, separated by tabs. Relative to the recipe file, "
        "else to the working folder.",
    )

    @model_validator(mode="after")
    def _file_where_it_is_read(self) -> SubstituteWords:
        if self.source == "synonyms" and self.synonyms is None:
            raise invalid("substitute_words draws from a synonym file, and none is named", "add `synonyms: FILE`")
        if self.source == "batch" and self.synonyms is not None:
            raise invalid("substitute_words does not read `synonyms` with `source: batch`", "set `source: synonyms`")
        return self

    def words(self) -> str:
        origin = "words of the batch" if self.source == "batch" else f"synonyms of {self.synonyms}"
        return f"{self.rate:.0%} of the words exchanged for {origin}"


class RepeatWords(TransformConfig):
    """Words said twice: up to max(least, int(words * rate)) of them, the number drawn evenly from 0 (after ESimCSE,
    arXiv 2109.04380, which repeats sub-words)."""

    name: Literal["repeat_words"] = "repeat_words"
    rate: float = Field(gt=0, le=1, description="Largest share of the words, rounded down.")
    least: int = Field(2, ge=0, description="What short texts may have repeated at most.")

    def words(self) -> str:
        return f"up to {self.rate:.0%} of the words said twice (at most {self.least} in short texts)"


class Template(TransformConfig):
    """Words around the text: a template, drawn anew for every use (LM-SupCon, arXiv 2205.01308; PAFT, arXiv
    2502.12859). Exactly one of texts, file."""

    model_config = LONG_TEXTS

    name: Literal["template"] = "template"
    texts: tuple[str, ...] | None = Field(
        None, description="Each with {text} once, and at most one {label}, where the text itself gets the mask token."
    )
    file: Annotated[str | None, Leads("file")] = Field(
        None,
        description="UTF-8 file, a template per line. Relative to the recipe file, else to the working folder.",
    )
    demonstrations: Demonstrations | None = Field(
        None, description="Solved examples behind the text; every template then needs {label}."
    )

    @model_validator(mode="after")
    def _something_to_draw(self) -> Template:
        if (self.texts is None) == (self.file is None):
            raise invalid("template needs exactly one of texts, file", "e.g. `texts: ['{text} It was {label}.', ...]`")
        if self.texts is not None:
            wrong = fault(self.texts, labelled=self.demonstrations is not None)
            if wrong is not None:
                raise invalid(*wrong[1:])
            if len(self.texts) < 2 and self.demonstrations is None:
                what = f"{len(self.texts)} template and no demonstrations: there is nothing to draw"
                raise invalid(what, "give two templates or more, or put the one into model.prompts")
        return self

    def words(self) -> str:
        templates = f"of {self.file}" if self.texts is None else f"one of {len(self.texts)}"
        shown = "" if self.demonstrations is None else ", and a demonstration of each class"
        return f"a template ({templates}) around the text{shown}"


class FeatureCutoff(TransformConfig):
    """int(width * rate) columns of the text's embedding layer output are zeroed (ConSERT, 2021.acl-long.393)."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "encoder"
    name: Literal["feature_cutoff"] = "feature_cutoff"
    rate: float = Field(gt=0, lt=1, description="Share of the columns, rounded down; drawn for each text.")

    def words(self) -> str:
        return f"{self.rate:.0%} of the embedding columns zeroed"


class TokenCutoff(TransformConfig):
    """int(tokens * rate) token rows of the embedding layer's output are zeroed, special tokens included; the
    attention mask stays as it is (ConSERT)."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "encoder"
    name: Literal["token_cutoff"] = "token_cutoff"
    rate: float = Field(gt=0, lt=1, description="Share of the tokens, rounded down.")

    def words(self) -> str:
        return f"{self.rate:.0%} of the token embeddings zeroed"


class ElementDropout(TransformConfig):
    """int(tokens * width * rate) elements of the embedding layer's output are zeroed, without rescaling (ConSERT)."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "encoder"
    name: Literal["element_dropout"] = "element_dropout"
    rate: float = Field(gt=0, lt=1, description="Share of the elements, rounded down.")

    def words(self) -> str:
        return f"{self.rate:.0%} of the embedding elements zeroed"


class Shuffle(TransformConfig):
    """Position ids of all real tokens permuted, special tokens included (ConSERT)."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "encoder"
    name: Literal["shuffle"] = "shuffle"

    def words(self) -> str:
        return "token positions shuffled"


class Dropout(TransformConfig):
    """Every dropout of the backbone runs at this rate for this view (SupCL-Seq, arXiv 2109.07424)."""

    level: ClassVar[Literal["text", "encoder", "dropout"]] = "dropout"
    name: Literal["dropout"] = "dropout"
    rate: float = Field(ge=0, lt=1, description="0 turns dropout off for this view.")

    def words(self) -> str:
        return f"dropout {self.rate:.3g}"


class Strength(Block):
    """Views that are weaker the more of the mix is generated (ours, after AdaInf, PKU-ML/adainf): every `rate` of the
    transforms is multiplied by a number that falls on a straight line from 1, without generated rows, to `factor`, and
    stays there. AdaInf halves the strength of its views, of images, at two generated rows for each real one; that rates
    of text follow, and the line between, are not established."""

    share: float = Field(
        0.667, gt=0, le=1, description="Share of generated rows at which the rates are times `factor`."
    )
    factor: float = Field(0.5, gt=0, le=1, description="What the rates are multiplied by from that share on.")

    def at(self, share: float) -> float:
        """What the rates are multiplied by.

        Args:
            share: of the batches, those of generated rows.
        """
        return 1 - (1 - self.factor) * min(1.0, share / self.share)


class Views(Block):
    """How unlabelled text (role `text`) becomes rows."""

    count: int = Field(2, ge=1, le=16, description="Passes per text: the first is the query, the others positives.")
    transforms: tuple[tuple[AnyTransform, ...], ...] = Field(
        (),
        description="What is done to each view, one list per view; views without a list differ by dropout alone.",
    )
    pairing: Literal["same", "tension"] = Field(
        "same",
        description="same: all views are of one text. tension (Contrastive Tension): scored pairs of a text with "
        "itself (score 1) or with another text of the batch (score 0).",
    )
    negatives_per_positive: int = Field(
        7, ge=1, description="For pairing `tension`: pairs of score 0 for each pair of score 1."
    )
    strength: Strength | None = None

    @model_validator(mode="after")
    def _fits(self) -> Views:
        if len(self.transforms) > self.count:
            what = f"views.transforms has {len(self.transforms)} lists and there are {self.count} views"
            raise invalid(what, f"set views.count to {len(self.transforms)}, or remove lists")
        for transforms in self.transforms:
            if any(isinstance(t, Template) and t.demonstrations is not None for t in transforms[1:]):
                what = (
                    "demonstrations are chosen by the text as it stands in the data, and another transform comes first"
                )
                raise invalid(what, "make `template` the first of its list")
        if self.pairing == "tension" and self.count != 2:
            raise invalid(f"pairing `tension` makes pairs, and views.count is {self.count}", "set views.count to 2")
        return self


# How rows are encoded -----------------------------------------------------------------------------------------------


TOWERS = ("query", "document")
"""What the first of two towers encodes, and the second."""


@dataclass(frozen=True)
class Variant:
    """One way to encode rows; rows of different variants never share a micro-batch.

    Attributes:
        dropout: rate of the whole backbone; None is the model's own.
        tower: 0, or 1 for the second tower of `model.towers: 2`.
    """

    dropout: float | None = None
    tower: int = 0


def variant(transforms: Sequence[TransformConfig], slot: int, towers: int) -> Variant:
    """How the rows of a slot are encoded: the view's dropout rate; positives and negatives in the last tower."""
    rate = next((t.rate for t in reversed(transforms) if isinstance(t, Dropout)), None)
    return Variant(rate, towers - 1 if slot else 0)


def variants(views: Views, towers: int) -> tuple[Variant, ...]:
    """All ways in which a run may encode rows, labelled examples included; the first is the plain one."""
    slots = [variant(transforms_of(views, slot), slot, towers) for slot in range(max(2, views.count))]
    return tuple(dict.fromkeys([variant((), 0, towers), variant((), 1, towers), *slots]))


def transforms_of(views: Views, view: int) -> tuple[TransformConfig, ...]:
    """The transforms of one view; none where the recipe has no list for it."""
    return views.transforms[view] if view < len(views.transforms) else ()


def strengthened(views: Views, generated: float) -> Views:
    """The views as strong as they are beside generated rows.

    Args:
        views: the block.
        generated: share of the batches that are of generated rows.
    """
    if views.strength is None:
        return views
    factor = views.strength.at(generated)
    scaled = tuple(tuple(t.scaled(factor) for t in transforms) for transforms in views.transforms)
    return views.model_copy(update={"transforms": scaled, "strength": None})


def strength_words(strength: Strength, generated: float | None) -> str:
    """How strong the views are, for the plan; `generated` is None where it is not known yet."""
    if generated is None:
        return "rates fall with the share of generated rows, which is unknown until the data is loaded"
    return f"all rates x {strength.at(generated):.3g}: {generated:.0%} of the batches are of generated rows"


def view_words(views: Views, dropout: float | None, towers: int) -> tuple[str, ...]:
    """What happens to each view of an unlabelled text, for the plan; `dropout` and `towers` are the model block's."""
    own = "the model's dropout" if dropout is None else f"dropout {dropout:g}" if dropout else "no dropout"
    found = []
    for view in range(views.count):
        transforms = transforms_of(views, view)
        said = [t.words() for t in transforms]
        said += [] if any(isinstance(t, Dropout) for t in transforms) else [own]
        said += [f"tower {2 if view else 1}"] if towers == 2 else []
        found.append("; ".join(said))
    return tuple(found)
