"""Solved examples: which may be shown with a text, which are drawn, and the template around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.data.augment import Viewing
from embedkit.data.demonstrations import Demonstrations, Given, Support, demonstration_filter
from embedkit.data.templates import Template, read_templates
from embedkit.data.views import expand
from embedkit.errors import DataError, RecipeError
from embedkit.recipe import templates as options
from embedkit.recipe.schema import Views
from embedkit.types import Example

TEXTS = ["ba de", "fi go", "ku la", "me ni", "po ru", "sa te"]
SUPPORT = Support(TEXTS, np.array([0, 0, 0, 1, 1, 1]), ["lost_card", "refund"], "few.tsv")
SHOWN = options.Demonstrations()


def nobody(model: str | None, texts: Sequence[str]) -> np.ndarray:
    raise AssertionError("nothing is to be embedded")


def known(support: Support = SUPPORT, mask: str | None = "[MASK]") -> Given:
    return Given(mask, lambda: support, nobody)


def said(template: Template, text: str, seed: int = 0) -> str:
    return " ".join(template(text.split(), np.random.default_rng(seed), ()))


# The filter -----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), classes=st.integers(1, 4), rate=st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_the_filter_keeps_the_nearest_of_each_class(seed: int, classes: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(6 * classes) % classes
    rows = rng.normal(size=(len(labels), 3))
    most = int((len(labels) - 1) // classes * rate)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for i, kept in enumerate(demonstration_filter(rows, rows, labels, rate, classes=classes, same=True)):
        cosine = unit @ unit[i]
        assert i not in kept and list(cosine[kept]) == sorted(cosine[kept], reverse=True)
        for label in range(classes):
            own = [j for j in np.argsort(-cosine) if labels[j] == label and j != i][:most]
            assert sorted(own) == sorted(j for j in kept if labels[j] == label)


def test_a_rate_that_keeps_nobody_names_the_smallest_one() -> None:
    rows = np.eye(7)
    with pytest.raises(RecipeError) as error:
        demonstration_filter(rows, rows, [0, 0, 0, 1, 1, 2, 2], 0.4, classes=3)
    assert "0.5 or more" in error.value.cure
    assert len(demonstration_filter(rows, rows, [0, 0, 0, 1, 1, 2, 2], 0.5, classes=3)[0]) == 3


def test_the_filter_refuses_missing_classes_and_vectors_without_direction() -> None:
    with pytest.raises(DataError, match=r"1 classes have no text to show: \[1\]"):
        demonstration_filter(np.eye(2), np.eye(2), [0, 0], 1.0, classes=2)
    with pytest.raises(DataError, match="no direction"):
        demonstration_filter(np.zeros((2, 2)), np.eye(2), [0, 1], 1.0, classes=2)


# What is drawn --------------------------------------------------------------------------------------------------------


def test_one_other_text_of_every_class_is_shown_and_each_comes_up() -> None:
    shown = Demonstrations(SUPPORT)
    rng = np.random.default_rng(0)
    drawn = [shown.draw("ba de", rng) for _ in range(60)]
    assert {one[0] for one, _ in drawn} == {"fi go", "ku la"} and {two[0] for _, two in drawn} == set(TEXTS[3:])
    assert {(one[1], two[1]) for one, two in drawn} == {("lost card", "refund")}


def test_only_what_was_kept_is_shown() -> None:
    kept = [np.array([2, 5])] * 6
    assert Demonstrations(SUPPORT, None, kept).draw("ba de", np.random.default_rng(3)) == [
        ("ku la", "lost card"),
        ("sa te", "refund"),
    ]


def test_the_words_are_those_of_the_recipe() -> None:
    assert Demonstrations(SUPPORT, {"refund": "money", "lost_card": "card"}).words == ["card", "money"]
    with pytest.raises(DataError, match="no word for refund"):
        Demonstrations(SUPPORT, {"lost_card": "card"})
    with pytest.raises(DataError, match="classes that are not there: refunds"):
        Demonstrations(SUPPORT, {"lost_card": "card", "refund": "money", "refunds": "money"})


def test_a_class_with_one_text_and_an_unknown_text_are_refused() -> None:
    alone = Support(["ba", "de", "de"], np.array([0, 1, 1]), ["one", "two"], "few.tsv")
    for text, part in (("ba", "class 'one' has no text"), ("de", "class 'two' has no text"), ("fi", "not among")):
        with pytest.raises(DataError, match=part):
            Demonstrations(alone).draw(text, np.random.default_rng(0))


# Templates ------------------------------------------------------------------------------------------------------------


def test_the_text_gets_the_mask_and_the_examples_their_words_in_one_template() -> None:
    template = Template(["{text} is {label}.", "about {label}: {text}"], demonstrations=SHOWN)
    template.setup(known())
    for seed in range(20):
        found = said(template, "ba de", seed)
        if found.startswith("about"):
            assert found.startswith("about [MASK]: ba de about lost card: ") and " about refund: " in found
        else:
            assert found.startswith("ba de is [MASK]. ") and found.endswith("is refund.")


def test_what_is_put_in_is_not_filled_again() -> None:
    template = Template(["a {label} {text}", "b {text}"])
    template.setup(known())
    found = {said(template, "say {label} {text}", seed) for seed in range(20)}
    assert found == {"a [MASK] say {label} {text}", "b say {label} {text}"}


def test_draws_depend_on_seed_step_place_and_view_alone() -> None:
    """Every view draws for itself; the halves of a batch draw as the whole does."""
    texts = ["{text} one", "{text} two", "{text} three"]
    viewing = Viewing(Views.model_validate({"transforms": [[{"name": "template", "texts": texts}]] * 2}))
    viewing.setup(known())
    examples = [Example(f"w{i}") for i in range(30)]

    def rows(part: list[Example], offset: int, step: int = 4) -> list[str]:
        options = {"unlabelled": True, "views": 2, "per_query": 0, "one_positive": "sample", "seed": 1, "step": step}
        return [r.text for r in expand(part, **options, offset=offset, transforms=viewing.unlabelled).rows]

    whole = rows(examples, 0)
    assert whole == rows(examples[:12], 0) + rows(examples[12:], 12) and whole != rows(examples, 0, step=5)
    assert {text.split()[1] for text in whole} == {"one", "two", "three"} and whole[::2] != whole[1::2]


def test_the_nearest_are_embedded_by_the_frozen_model_that_is_named() -> None:
    asked: list[str | None] = []

    def vectors(model: str | None, texts: Sequence[str]) -> np.ndarray:
        asked.append(model)
        return np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 0], [1, 0.2], [0.1, 1]])[: len(texts)]

    template = Template(["{text} {label}"], demonstrations=options.Demonstrations(rate=0.5, model="frozen"))
    template.setup(Given("[MASK]", lambda: SUPPORT, vectors))
    assert {said(template, "ba de", seed) for seed in range(9)} == {"ba de [MASK] fi go lost card me ni refund"}
    assert asked == ["frozen"]


def test_a_place_for_the_label_needs_a_mask_token() -> None:
    with pytest.raises(RecipeError, match="mask token, and this tokenizer has none"):
        Template(["{text} {label}", "{text}"]).setup(known(mask=None))
    Template(["{text} a", "{text}"]).setup(known(mask=None))


def test_a_file_has_a_template_per_line(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("{text} a\n\n  b {text}\n", encoding="utf-8")
    assert read_templates(str(file)) == ["{text} a", "b {text}"] == Template(file=str(file)).texts


@pytest.mark.parametrize(
    ("content", "labelled", "part"),
    [
        ("{text} a\n\na {text}{text}\n", False, r"templates.txt:3.*2 places for the text"),
        ("{text} {label} {label}\n", False, "2 places for the label"),
        ("{text} {label}\n{text}\n", True, "no place for the label"),
        ("{text}  a\n{text} a\n", False, "there twice"),
        ("\n", False, "no templates"),
        (None, False, "no such file"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, content: str | None, labelled: bool, part: str) -> None:
    file = tmp_path / "templates.txt"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_templates(str(file), labelled=labelled)
    assert re.search(f"(?s){part}", str(error.value))
