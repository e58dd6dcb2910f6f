"""Tiny masked language models with the tiny tokenizer, and encoders loaded from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedkit.data.collate import collate
from embedkit.data.views import expand
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.types import Example, RowBatch
from tests.device import DEVICE
from tests.model.architectures import DISTILBERT, MODERNBERT, SIZE, TOKENS, build
from tests.tiny import sentences, tiny_bert

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertForMaskedLM", {**SIZE, "max_position_embeddings": 64}),
    "roberta": ("RobertaConfig", "RobertaForMaskedLM", {**SIZE, "max_position_embeddings": 66}),
    "distilbert": ("DistilBertConfig", "DistilBertForMaskedLM", DISTILBERT),
    "electra": ("ElectraConfig", "ElectraForMaskedLM", {**SIZE, "embedding_size": 32, "max_position_embeddings": 64}),
    "mpnet": ("MPNetConfig", "MPNetForMaskedLM", {**SIZE, "max_position_embeddings": 66}),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM", {**SIZE, **MODERNBERT}),
}


def tiny_masked_lm(path: Path, family: str = "bert", *, seed: int = 0, spread: float = 0.2, **config: Any) -> Path:
    """Save a tiny masked language model of a family and return its folder."""
    import transformers

    tiny_bert(path)
    settings, model, options = FAMILIES[family]
    made = getattr(transformers, settings)(**TOKENS, **{"initializer_range": spread, **options, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        getattr(transformers, model)(made).save_pretrained(path)
    return path


WRITES: dict[str, Any] = {
    "pooling": "mean",
    "template": {"text": "bade {text} fi :"},
    "rationale": {"tokens": 6},
}
"""Options of a `tiny_writer`."""


def tiny_writer(path: Path, family: str = "opt", **config: Any) -> Path:
    """A tiny language model with a tied head; a third of its tokens end a text, so that its rationales are short.

    OPT normalises in the weights' own precision, LLaMA always in float32.
    """
    made = {"tie_word_embeddings": True, "eos_token_id": [3, *range(5, 110)]}
    more = {"dropout": 0.0, "init_std": 0.2} if family == "opt" else {"initializer_range": 0.2}
    return build(family, path, **{**made, **more, **config})


def load(base: Path, **options: Any) -> Encoder:
    return Encoder.load(Model.model_validate({"base": str(base), "max_length": 24, **options}), device=DEVICE)


def row_batch(
    encoder: Encoder,
    *,
    count: int = 6,
    step: int = 0,
    views: int = 2,
    size: int | None = None,
    own: slice = slice(None),
    original: bool = True,
) -> RowBatch:
    """A batch of unlabelled texts.

    Args:
        encoder: tokenises.
        count: texts in the global batch.
        step: of the batch; other texts for other steps.
        views: rows per text.
        size: rows per micro-batch, None for all.
        own: which texts are this process's.
        original: whether `originals` differ from the texts (their first half is what the encoder sees).
    """
    texts = sentences(count, seed=40 + step)
    offset = range(count)[own].start
    examples = [Example(query=text, origin=f"text[{i}]") for i, text in enumerate(texts)][own]
    expanded = expand(
        examples, unlabelled=True, views=views, per_query=0, one_positive="first", seed=0, step=step, offset=offset
    )
    batch = collate(expanded, encoder.tokenize, 100_000, source=0, step=step)
    order = np.argsort([-len(ids) for ids in batch.input_ids], kind="stable")
    each = size or len(order)
    batch.micro_batches = [order[k : k + each] for k in range(0, len(order), each)]
    if original:
        batch.originals = [f"{text} ba de" for text in batch.texts]
    return batch
