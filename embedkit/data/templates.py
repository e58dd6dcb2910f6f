"""Templates around a view's text, with solved examples behind it where the recipe asks for some."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedkit.data.augment_text import TextTransform
from embedkit.data.demonstrations import Demonstrations, Given, demonstration_filter
from embedkit.data.sources import LoadedSource
from embedkit.disk import paths
from embedkit.errors import DataError, RecipeError
from embedkit.inputs.lines import TextFile
from embedkit.inputs.records import BROKEN
from embedkit.inputs.texts import is_broken
from embedkit.recipe import templates as options
from embedkit.recipe.templates import LABEL, fault, filled
from embedkit.types import Example


class Template(TextTransform):
    """Put the text into one of T templates, drawn evenly at every use.

    ``{text}`` is the text and ``{label}`` the mask token, as in the prompts of masked language models. With
    demonstrations the same template follows once per class, filled with a labelled text and the word of its class
    (LM-BFF, arXiv 2012.15723; two such views of a text are those of LM-SupCon, arXiv 2205.01308)::

        T(x) = "x It was [MASK]."     view = T(x) T(x_1, word_1) ... T(x_C, word_C)

    Args:
        texts: templates. Exactly one of texts, file.
        file: one per line.
        demonstrations: what is shown behind the text.

    Raises:
        DataError: the file cannot be read, or a line is no template.
        RecipeError: fewer than two templates and nothing else to draw.
    """

    def __init__(
        self,
        texts: Sequence[str] | None = None,
        file: str | None = None,
        demonstrations: options.Demonstrations | None = None,
    ) -> None:
        self.options = demonstrations
        self.texts = (
            list(texts) if texts is not None else read_templates(str(file), labelled=demonstrations is not None)
        )
        if len(self.texts) < 2 and demonstrations is None:
            raise RecipeError("one template is nothing to draw from", str(file), "give two or more")
        self.mask: str | None = None
        self.shown: Demonstrations | None = None

    def setup(self, given: Given) -> None:
        """Take the mask token and the labelled texts.

        Raises:
            RecipeError: a template has a place for a label, and the tokenizer no mask token.
            DataError: see `embedkit.data.demonstrations`.
        """
        self.mask = given.mask
        if given.mask is None and any(LABEL in text for text in self.texts):
            what = f"{LABEL} of the text itself is the mask token, and this tokenizer has none"
            raise RecipeError(what, "views.transforms", f"use an encoder with a mask token, or leave {LABEL} out")
        if self.options is None:
            return
        assert given.support is not None and given.vectors is not None
        support, kept = given.support(), None
        if self.options.rate is not None:
            rows = given.vectors(self.options.model, support.texts)
            kept = demonstration_filter(
                rows, rows, support.labels, self.options.rate, classes=len(support.names), same=True
            )
        self.shown = Demonstrations(support, self.options.words, kept)

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        template, text = self.texts[int(rng.integers(len(self.texts)))], " ".join(words)
        parts = [filled(template, text, self.mask or "")]
        if self.shown is not None:
            parts += [filled(template, other, word) for other, word in self.shown.draw(text, rng)]
        return " ".join(parts).split()


def assigned(
    templates: int, rows: int, *, divisor: int = 1, hold: int = 1, seed: int = 42
) -> tuple[list[int], list[int]]:
    """PAFT's draw (arXiv 2502.12859): some of the templates, then one of these at every `hold`-th row.

    By ``random.Random(seed)``: ``sample`` of ``templates // divisor`` of them, then ``choice`` at rows 0, hold, ...;
    rows between keep the last one.

    Returns:
        The places of the templates that are drawn from, and that of every row's template.
    """
    draw = random.Random(seed)  # noqa: S311
    some = draw.sample(range(templates), templates // divisor)
    found: list[int] = []
    for row in range(rows):
        found.append(draw.choice(some) if row % hold == 0 else found[-1])
    return some, found


@dataclass(frozen=True)
class TemplatedRows:
    """Rows of a source with their queries in templates.

    Attributes:
        rows: the source.
        templates: what is drawn from.
        of_row: [n] which of them each row has.
    """

    rows: LoadedSource
    templates: Sequence[str]
    of_row: Sequence[int]

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`."""
        return [
            replace(example, query=filled(self.templates[self.of_row[position]], example.query, ""))
            for position, example in zip(positions, self.rows.get(positions), strict=True)
        ]


def templated_source(source: LoadedSource, block: options.Templates) -> LoadedSource:
    """A source whose queries, or bare texts, stand in templates; what else its rows hold stays.

    Raises:
        DataError: a stream, or a file of templates that cannot be used.
    """
    if source.rows is None:
        raise DataError("templates go by the place of a row, and a stream has none", source.name, "remove streaming")
    file = None if block.file is None else str(paths.file(block.file) or block.file)
    texts = list(block.texts) if block.texts is not None else read_templates(str(file), plain_text=True)
    if len(texts) < max(2, block.divisor):
        what = f"{len(texts)} templates and divisor {block.divisor}: there is nothing to draw"
        raise DataError(what, str(file), "give more templates, or a smaller divisor")
    some, of_row = assigned(len(texts), source.rows, divisor=block.divisor, hold=block.hold, seed=block.seed)
    made = {**source.made, "templates": {"given": len(texts), "drawn from": [texts[place] for place in some]}}
    return replace(source, store=TemplatedRows(source, texts, of_row), made=made)


def read_templates(file: str, *, labelled: bool = False, plain_text: bool = False) -> list[str]:
    """The templates of a UTF-8 file, one per line; blank lines are passed over.

    Args:
        file: its path.
        labelled: whether each must have a place for the label.
        plain_text: whether none may have one.

    Raises:
        DataError: it is not there, empty, not UTF-8, or a line is no template or is there twice.
    """
    if not Path(file).is_file():
        raise DataError("no such file of templates", file, "check `file`")
    found: list[str] = []
    places: list[int] = []
    for number, line in TextFile(Path(file)).numbered():
        if line is None or is_broken(line):
            raise DataError(BROKEN, f"{file}:{number}", "save the file as UTF-8")
        if line.strip():
            found.append(line.strip())
            places.append(number)
    if not found:
        raise DataError("the file has no templates", file, "give lines like {text} It was {label}.")
    wrong = fault(found, labelled=labelled, plain_text=plain_text)
    if wrong is not None:
        raise DataError(wrong[1], f"{file}:{places[wrong[0]]}", wrong[2])
    return found
