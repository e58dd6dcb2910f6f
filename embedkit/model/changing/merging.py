"""One model out of several of the same kind: weights averaged, linearly or on the sphere.

Averages of models that were fine-tuned from one base often lie where each of them is good (model soups, Wortsman et al.
2022, arXiv 2203.05482); with the base among them they keep more of what it could (LM-Cocktail, arXiv 2311.13534).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.model.reading.fingerprint import settings
from embedkit.model.running.encoder import Encoder

Method = Literal["linear", "slerp"]
State = Mapping[str, Tensor]
_PARALLEL = 1e-6
"""Sine of an angle below which the sphere is flat."""
_WORDS = {"max_length": "the maximal length", "default_prompt": "the default prompt", "truncate_dim": "truncation"}


def refuse_other_kinds(first: Encoder, other: Encoder, names: tuple[str, str]) -> None:
    """Refuse models whose average would be no model: other modules, pooling, prompts, tokenizers or shapes.

    Raises:
        RecipeError: names both and what differs.
    """
    a, b = settings(first.st), settings(other.st)
    differ = [_WORDS.get(key, key) for key in a.keys() | b.keys() if a.get(key) != b.get(key)]
    if first.st.similarity_fn_name != other.st.similarity_fn_name:
        differ.append("the similarity")
    if not differ:
        x, y = first.st.state_dict(), other.st.state_dict()
        shapes = sorted(n for n in x.keys() | y.keys() if n not in x or n not in y or x[n].shape != y[n].shape)
        differ = [f"the weights {listed(shapes)}"] if shapes else []
    if differ:
        what = f"{names[0]} and {names[1]} are not of one kind: {listed(sorted(differ))} differ"
        raise RecipeError(what, "merge", "merge models that were trained from one base with the same settings")


def linear(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """``sum_i w_i theta_i / sum_i w_i``, in float64; what is no floating-point number is the first one's.

    Args:
        states: of the models, the same names and shapes.
        weights: one per model, not negative, their sum above 0.
    """
    total = sum(weights)
    found = {}
    for name, tensor in states[0].items():
        if not tensor.is_floating_point():
            found[name] = tensor.clone()
            continue
        mean = torch.zeros(tensor.shape, dtype=torch.float64)
        for state, weight in zip(states, weights, strict=True):
            mean += weight / total * state[name].detach().to("cpu", torch.float64)
        found[name] = mean.to(tensor.dtype)
    return found


def slerp(first: State, second: State, share: float) -> dict[str, Tensor]:
    """Spherical interpolation of every tensor (Shoemake 1985), ``share`` of the way from the first to the second::

        theta = sin((1 - t) a) / sin(a) theta_1 + sin(t a) / sin(a) theta_2,   a = angle(theta_1, theta_2)

    Linear where the two are parallel, or one of them is 0.
    """
    found = {}
    for name, tensor in first.items():
        if not tensor.is_floating_point():
            found[name] = tensor.clone()
            continue
        x, y = (state[name].detach().to("cpu", torch.float64) for state in (first, second))
        norms = x.norm() * y.norm()
        angle = torch.arccos(((x * y).sum() / norms).clamp(-1, 1)) if norms > 0 else torch.zeros((), dtype=x.dtype)
        if torch.sin(angle) < _PARALLEL:
            mixed = (1 - share) * x + share * y
        else:
            mixed = (torch.sin((1 - share) * angle) * x + torch.sin(share * angle) * y) / torch.sin(angle)
        found[name] = mixed.to(tensor.dtype)
    return found


def merged(encoders: Sequence[Encoder], weights: Sequence[float], method: Method = "linear") -> Encoder:
    """The first encoder, with the average of all for its weights.

    Args:
        encoders: of one kind, see `refuse_other_kinds`; the first is changed and returned.
        weights: one per model.
        method: slerp takes two.

    Raises:
        RecipeError: the weights do not fit the models, or slerp gets other than two of them.
    """
    check_weights(len(encoders), weights, method)
    states: list[Any] = [encoder.st.state_dict() for encoder in encoders]
    share = weights[1] / sum(weights)
    found = slerp(states[0], states[1], share) if method == "slerp" else linear(states, weights)
    encoders[0].st.load_state_dict(found)
    return encoders[0]


def check_weights(count: int, weights: Sequence[float], method: Method) -> None:
    """Refuse weights that are no shares of so many models.

    Raises:
        RecipeError: as `merged`.
    """
    if method == "slerp" and count != 2:
        raise RecipeError(f"slerp is between two models, not {count}", "method", "use linear")
    if count < 2:
        raise RecipeError("one model is no merge", "merge", "name two or more")
    if len(weights) != count:
        raise RecipeError(f"{len(weights)} weights for {count} models", "weights", "give one for each")
    if not all(0 <= weight < float("inf") for weight in weights) or not sum(weights) > 0:
        raise RecipeError("weights are shares: none below 0, some above", "weights", "e.g. 0.7,0.3")
