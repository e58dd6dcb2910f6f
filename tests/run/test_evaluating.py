"""`evaluate` from Python: what the command line bounds is bounded there too."""

from __future__ import annotations

from typing import Any

import pytest

from embedkit.errors import RecipeError
from embedkit.foreign.limits import SEED
from embedkit.run import evaluate


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"resamples": -1}, "resamples"),
        ({"resamples": 1.5}, "resamples"),
        ({"seed": -1}, "seed"),
        ({"seed": SEED + 1}, "seed"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"batch_tokens": "64"}, "batch_tokens"),
    ],
)
def test_numbers_out_of_bounds_are_refused(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(RecipeError, match="a whole number") as caught:
        evaluate("no model is looked for", "mini", **arguments)
    assert caught.value.where == where
