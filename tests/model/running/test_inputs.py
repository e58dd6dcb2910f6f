"""What `Encoder.encode` takes for texts: any iterable in its order; what is no text is refused by its position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from embedkit.errors import DataError, RecipeError
from embedkit.model.running import inference
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.tiny import tiny_bert

TEXTS = ["bade fi", "go", "kula meni po", "zu sate"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(Model(base=str(tiny_bert(tmp_path_factory.mktemp("tiny"), positions=32))), device=DEVICE)


class Column:
    """As a column of a table with labels of its own: `column[i]` is the row that is labelled i, not row i."""

    ndim = 1

    def __init__(self, texts: list[Any], labels: list[int]) -> None:
        self.texts, self.labels = texts, labels

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.texts)

    def __getitem__(self, label: int) -> Any:
        return self.texts[self.labels.index(label)]


@pytest.mark.parametrize(
    "given",
    [
        lambda: tuple(TEXTS),
        lambda: iter(TEXTS),
        lambda: (text for text in TEXTS),
        lambda: np.array(TEXTS),
        lambda: np.array(TEXTS, dtype=object),
        lambda: dict.fromkeys(TEXTS).keys(),
        lambda: Column(TEXTS, [2, 0, 1, 3]),
        lambda: Column(TEXTS, [10, 11, 12, 13]),
    ],
    ids=["tuple", "iterator", "generator", "array", "objects", "keys", "other labels", "labels from 10"],
)
def test_rows_in_the_order_of_iteration(encoder: Encoder, given: Callable[[], Any]) -> None:
    np.testing.assert_array_equal(encoder.encode(given()), encoder.encode(TEXTS))


def test_a_column_of_pandas(encoder: Encoder) -> None:
    pandas = pytest.importorskip("pandas")
    for index in ([2, 0, 1, 3], [10, 11, 12, 13], ["a", "a", "b", "c"]):
        np.testing.assert_array_equal(encoder.encode(pandas.Series(TEXTS, index=index)), encoder.encode(TEXTS))
    with pytest.raises(DataError, match="DataFrame"):
        encoder.encode(pandas.DataFrame({"text": TEXTS}))


def test_a_text_alone_is_one_row(encoder: Encoder) -> None:
    found = encoder.encode(TEXTS[0])
    assert found.shape == (1, 32)
    np.testing.assert_allclose(found, encoder.encode(TEXTS)[:1], atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a", None], ("texts, position 1", "NoneType")),
        (["a", "b", 5], ("texts, position 2", "int: 5")),
        (["a", float("nan")], ("texts, position 1", "float: nan")),
        ([b"a"], ("texts, position 0", "bytes")),
        ([["a", "b"]], ("texts, position 0", "list")),
        (["a", "half \ud83d of it"], ("texts, position 1", "lone surrogate", "ud83d")),
        ("\udc00", ("texts, position 0", "lone surrogate")),
        (Column(["a", None], [7, 8]), ("texts, position 1", "NoneType")),
        (None, ("found NoneType",)),
        (5, ("found int",)),
        (b"abc", ("found bytes",)),
        ({"a": "b"}, ("found dict",)),
        ({"a", "b"}, ("found set",)),
        (np.array([["a", "b"]]), ("found ndarray",)),
        (np.array("a"), ("found ndarray",)),
    ],
    ids=lambda value: None if isinstance(value, tuple) else type(value).__name__,
)
def test_what_is_no_text_is_refused_with_its_position(
    encoder: Encoder, given: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "encode", lambda *args, **kwargs: pytest.fail("something was encoded"))
    with pytest.raises(DataError) as caught:
        encoder.encode(given)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_length": 0}, "max_length: a whole number of at least 3 is expected, found 0"),
        ({"max_length": -1}, "found -1"),
        ({"max_length": 2.5}, "found 2.5"),
        ({"max_length": "5"}, "found '5'"),
        ({"max_length": True}, "found True"),
        ({"batch_tokens": 0}, "batch_tokens: a whole number of at least 1 is expected, found 0"),
        ({"batch_tokens": None}, "found None"),
        ({"role": "passage"}, "role: there is no role 'passage'"),
    ],
)
def test_arguments_out_of_bounds_are_refused(encoder: Encoder, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        encoder.encode(TEXTS, **arguments)


def test_numbers_of_numpy_are_numbers(encoder: Encoder) -> None:
    found = encoder.encode(TEXTS, max_length=np.int64(3))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, encoder.encode(TEXTS, max_length=3))


def test_whole_characters_beyond_the_basic_plane_are_texts(encoder: Encoder) -> None:
    assert encoder.encode(["\U0001f600 go", "\ue000"]).shape == (2, 32)


def test_no_more_tokens_than_positions(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder.longest == 32
    assert encoder.encode(["go " * 100], max_length=32).shape == (1, 32)
    monkeypatch.setattr(inference, "encode", lambda *args, **kwargs: pytest.fail("something was encoded"))
    with pytest.raises(RecipeError, match="max_length 33 is more than the 32") as caught:
        encoder.encode(["go"], max_length=33)
    assert caught.value.cure == "at most 32"
