"""The `model` block of a recipe, and `guide`: encoders, how they pool, what is changed in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedkit.foreign.limits import WIDTH
from embedkit.recipe.base import LONG_TEXTS, Block, Leads, invalid

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
Pooling = Literal["cls", "mean", "max", "lasttoken", "weightedmean", "first_last_mean"]


class Prompts(Block):
    """Text put before the input, by role; stored in the model and used at inference."""

    model_config = LONG_TEXTS

    query: str | None = Field(None, description="Before queries. None keeps the model's own prompt.")
    document: str | None = Field(None, description="Before positives and negatives. None keeps the model's own prompt.")


class Head(Block):
    """A head after pooling: Linear + Tanh as in SimCSE, initialised N(0, 0.02) with bias 0."""

    dim: int | None = Field(None, gt=0, le=WIDTH, description="Output size; the embedding size when absent.")
    activation: Literal["tanh", "identity"] = Field("tanh", description="After the linear layer.")
    keep: bool = Field(
        False,
        description="False: used in training only and dropped at test (unsup SimCSE). True: part of the model.",
    )


class Lora(Block):
    """Low-rank adapters through peft (extra: lora)."""

    r: int = Field(16, gt=0, le=WIDTH, description="Rank.")
    alpha: int = Field(32, gt=0, description="Scale; the update is multiplied by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="On the input of the adapters.")
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the modules to adapt."
    )


class SoftPrompts(Block):
    """Deep soft prompts (P-tuning v2, PromCSE): keys and values before every layer's own; all else is frozen."""

    length: int = Field(16, gt=0, le=512, description="Prompt positions per layer. They take places of the input.")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="On the prompts, per row. None takes the backbone's hidden dropout (0 if it has none).",
    )


class Demonstration(Block):
    """A text with its one-word answer, put before the input's own template."""

    model_config = LONG_TEXTS

    text: str = Field(description="Put into the template as it is.")
    word: str = Field(description="The answer.")


class Template(Block):
    """Words around every input, read at its last token (PromptEOL); stored in the model and used at inference."""

    model_config = LONG_TEXTS

    text: str = Field(
        'This sentence : "{text}" means in one word:"', description="`{text}` once, where the input goes."
    )
    demonstrations: tuple[Demonstration, ...] = Field(
        (), description='In-context examples, each followed by its word and `".`.'
    )
    clean: Literal["none", "promptEOL"] = Field(
        "none",
        description="At inference only. promptEOL: a final period where no . ? \" ' ends the input, single quotes "
        "for double ones, a final question mark becomes a period.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Template:
        if self.text.count("{text}") != 1:
            raise invalid(
                "the template needs `{text}` exactly once", 'e.g. `This sentence : "{text}" means in one word:"`'
            )
        return self


class Rationale(Block):
    """What a causal language model writes about a text before it is read as an embedding (GRACE, arXiv 2510.04506).

    The template asks for it; the embedding is pooled from everything behind the words before the text, the rationale
    included. Stored in the model and used at inference.
    """

    tokens: int = Field(
        64,
        ge=0,
        le=8192,
        description="Tokens written at most, on top of max_length. 0: none; the rest is pooled as with them.",
    )


class Question(Block):
    """What a causal language model is asked about a query and a document; the logits of its answer are the score."""

    model_config = LONG_TEXTS

    text: str = Field(
        "Query: {query}\nDocument: {document}\nDoes the document answer the query, yes or no?\nAnswer:",
        description="`{query}`, and after it `{document}`, once each. The token behind it is the answer. Of a pair "
        "that is too long the document's end is cut, and what follows it is kept.",
    )
    yes: str = Field(" yes", description="The answer of a document that is relevant: one token.")
    no: str | None = Field(
        " no",
        description="The other answer, one token: the score is the difference of their logits. null: that of yes alone "
        "(the contrastive side of arXiv 2510.14824, with objective lce).",
    )

    @model_validator(mode="after")
    def _two_places(self) -> Question:
        places = [self.text.count(part) for part in ("{query}", "{document}")]
        if places != [1, 1] or self.text.index("{query}") > self.text.index("{document}"):
            what = "the question needs `{query}` and, after it, `{document}`, once each"
            raise invalid(what, r'e.g. "Query: {query}\nDocument: {document}\nRelevant:"')
        return self


class Model(Block):
    """The encoder, dense or sparse, or the reranker."""

    kind: Literal["encoder", "reranker", "sparse"] | None = Field(
        None,
        description="reranker: a sentence-transformers CrossEncoder, which reads a query and a document together and "
        "gives a score; a base that is none gets a new head. sparse: a SparseEncoder, whose vectors are weights of the "
        "words of the vocabulary (SPLADE); a base that is none must be a masked language model. None: an encoder.",
    )
    base: Annotated[str, Leads("folder")] = Field(
        DEFAULT_MODEL,
        description="A local folder, or a Hub id. Resolved in this order: folder, Hub or its cache, the `offline` "
        "extra (all-MiniLM-L6-v2 only).",
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the Hub.")
    from_scratch: bool = Field(
        False,
        description="True: take only the configuration and the tokenizer of the base; all weights are new, drawn with "
        "train.seed (for pretraining).",
    )
    pooling: Pooling | None = Field(
        None,
        description="None keeps what a sentence-transformers model has; a plain encoder then gets `mean`, "
        "a plain causal language model `lasttoken`. With a template None is `lasttoken`, with a rationale `mean`.",
    )
    pooling_layer: int | None = Field(
        None,
        ge=0,
        description="Layer whose output is pooled, 0 for the embedding layer (TransliCo: 8). None: the last. Layers "
        "above it still run.",
    )
    normalize: bool | None = Field(
        None, description="Whether the saved model L2-normalises. None keeps the model's own setting."
    )
    max_length: int | None = Field(
        None,
        gt=2,
        description="Tokens kept per text. None keeps the model's setting. The words of a template do not count.",
    )
    prompts: Prompts = Prompts()
    template: Template | None = None
    rationale: Rationale | None = None
    question: Question | None = Field(
        None,
        description="Of a reranker on a causal language model. None: that of the base where it is a reranker, else the "
        "default.",
    )
    include_prompt_in_pooling: bool | None = Field(
        None, description="Whether prompt tokens count in pooling. None keeps the model's own setting."
    )
    head: Head | None = None
    dropout: float | None = Field(None, ge=0, lt=1, description="Overrides every dropout of the backbone.")
    freeze: tuple[str, ...] = Field(
        (),
        description="Parts that do not train: `embeddings`, `layers:0-3`, `all`, or a parameter-name prefix.",
    )
    lora: Lora | None = None
    soft_prompts: SoftPrompts | None = None
    bidirectional: bool = Field(
        False, description="Let every token of a causal language model attend to the whole text (LLM2Vec, KaLM)."
    )
    towers: Literal[1, 2] = Field(
        1,
        description="2: positives and negatives are encoded by a second copy of the model, trained on its own.",
    )
    frozen_tower: Literal["query", "document"] | None = Field(
        None, description="Of two towers, the one that stays as it is, without gradient (LiT); the other is the result."
    )
    keep_tower: Literal["first", "second", "best"] = Field(
        "best",
        description="Which of two towers becomes the result. best: by the metric of `eval.select`, where something is "
        "evaluated during training, else the first.",
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = Field(
        None,
        description="Attention implementation of transformers; None lets it choose. flash_attention_2 is for CUDA and "
        "`train.precision: bf16`; the model is then evaluated in bf16 too.",
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model. Only for code you read.")


class Guide(Block):
    """A frozen encoder whose embeddings of the same texts an objective may read (DCLR, GISTEmbed)."""

    model: Annotated[str, Leads("folder")] = Field(description="A local folder or a Hub id, resolved as model.base is.")
    revision: str | None = Field(None, description="Branch, tag or commit on the Hub.")
    pooling: Pooling | None = Field(None, description="As model.pooling.")
    max_length: int | None = Field(None, gt=2, description="Tokens kept per text. None keeps the model's setting.")
    trust_remote_code: bool = Field(False, description="As model.trust_remote_code.")
