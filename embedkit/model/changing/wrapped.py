"""A loaded transformer as an object of another class, which adds to it."""

from __future__ import annotations

from typing import TypeVar

from sentence_transformers.base.modules import Transformer

T = TypeVar("T")


def as_class(kind: type[T], transformer: Transformer) -> T:
    """The same transformer, whose parts are shared, as a `kind` that still lacks what its constructor adds."""
    made = object.__new__(kind)
    made.__dict__ = {**transformer.__dict__, "_modules": dict(transformer._modules)}
    return made
