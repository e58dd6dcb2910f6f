"""What only a loaded model tells: whether its parts fit each other. One short text goes through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from embedkit.disk.model_files import BASE, Find, Saved
from embedkit.errors import RecipeError
from embedkit.model.checking import vocabulary
from embedkit.model.checking.boundary import reason
from embedkit.model.checking.fit import Report, in_layers, refuse_gaps, taking_part
from embedkit.model.reading import static
from embedkit.model.reading.probing import evaluating

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TRIAL = "A trial."


def check_parts(st: SentenceTransformer, find: Find, saved: Saved, reports: list[Report]) -> None:
    """Tokenizer and token table, gaps in the weights, and that the modules fit each other: one text goes through."""
    first: Any = st[0]
    if static.is_static(st):
        static.check_rows(st)
        trial(st, graph=False)
        return
    if not hasattr(first, "auto_model") or getattr(first, "tokenizer", None) is None:
        return  # no transformer on text: `configure` says so
    backbone: nn.Module = first.auto_model
    vocabulary.check_tokenizer(first.tokenizer, find, saved)
    vocabulary.check_rows(first.tokenizer, _rows(backbone))
    report = next((r for r in reports if r.model is backbone and not r.adapters), None)
    missing = report.missing if report is not None else set()
    with _trainable(backbone, missing):
        output = trial(st, graph=bool(missing))
        used = in_layers(backbone, missing) | taking_part(backbone, missing, output)
    if report is not None:
        refuse_gaps(report, used)


def trains(st: SentenceTransformer) -> bool:
    """Whether a parameter that training may change takes part in the embedding."""
    free = [name for name, parameter in st.named_parameters() if parameter.requires_grad]
    return bool(free) and bool(taking_part(st, free, trial(st, graph=True)))


def _rows(backbone: Any) -> int | None:
    try:
        return int(backbone.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):  # custom architectures need not tell
        return None


@contextmanager
def _trainable(backbone: nn.Module, names: set[str]) -> Iterator[None]:
    frozen = [p for name, p in backbone.named_parameters() if name in names and not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def trial(st: SentenceTransformer, *, graph: bool) -> torch.Tensor:
    """The embedding [1, d] of a short text, dropout off.

    Raises:
        RecipeError: a module cannot take what the one before gives, or its size is not what the model says.
    """
    features: Any = {
        name: value.to(st.device) if isinstance(value, torch.Tensor) else value
        for name, value in st.preprocess([TRIAL]).items()
    }
    flash = st.device.type == "cuda"  # its kernels take half precision only
    with evaluating(st), torch.set_grad_enabled(graph), torch.autocast(st.device.type, torch.bfloat16, enabled=flash):
        features = st[0](features)
        for module in list(st)[1:]:
            try:
                features = module(features)
            except (RuntimeError, ValueError, LookupError, TypeError) as error:
                what = f"the model's {type(module).__name__} cannot take what the module before it gives"
                cure = "correct its config.json and weights: where sizes differ, the modules are not of one model"
                raise RecipeError(f"{what}: {reason(error)}", BASE, cure) from error
    output: torch.Tensor = features["sentence_embedding"]
    told, found = st.get_embedding_dimension(), output.shape[-1]
    if (told is not None and found < told) or (getattr(st, "truncate_dim", None) is None and told not in (None, found)):
        what = f"the model gives embeddings of {found} numbers, and its {type(st[-1]).__name__} says {told}"
        raise RecipeError(what, BASE, "correct the dimension in the config.json of its modules (pooling, dense)")
    if not output.isfinite().all():
        what = "the model gives embeddings that are not finite: its weights hold NaN or infinity"
        raise RecipeError(what, BASE, "take other weights")
    return output
