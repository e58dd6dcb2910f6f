"""``embedkit check --sample``: lengths, truncation, duplicates and bad rows of the first rows of every source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from embedkit.cli.console import say
from embedkit.data.sources import LoadedSource, load_source
from embedkit.data.text import text_id
from embedkit.disk.model_files import Find, Saved, prompt_for
from embedkit.errors import DataError
from embedkit.foreign.quoting import listed
from embedkit.inputs.cures import Cures
from embedkit.recipe.planning.contents import Contents
from embedkit.terminal.tables import Column, Grid, name_column

if TYPE_CHECKING:
    from embedkit.recipe.load import Loaded
    from embedkit.recipe.schema import Prompts
    from embedkit.types import Example

QUANTILES = (0.5, 0.9, 0.99, 1.0)
_COLUMNS = [
    name_column("role"),
    Column("texts"),
    *(
        Column("median" if q == 0.5 else "longest" if q == 1 else f"{q:.0%}", {0.9: 2, 0.99: 1}.get(q, 0))
        for q in QUANTILES
    ),
    Column("truncated"),
    Column("duplicates"),
]


@dataclass(frozen=True)
class Sampled:
    """What the first rows tell the plan.

    Attributes:
        tokens: mean tokens per text after truncation, over the texts of a step; None without any text.
        contents: what the rows of each source hold.
    """

    tokens: float | None
    contents: list[Contents | None]


class Sampler:
    """Reads the first rows of every source of a recipe and tells what is in them.

    Args:
        loaded: the recipe.
        count: rows per source.
    """

    def __init__(self, loaded: Loaded, count: int) -> None:
        from embedkit.model.checking.folder import files_of, look_over
        from embedkit.model.checking.vocabulary import check_rows
        from embedkit.model.reading.loading import load_tokenizer
        from embedkit.model.reading.resolve import resolve

        self.loaded, self.count, model = loaded, count, loaded.recipe.model
        origin = resolve(model.base, model.revision)
        find = files_of(origin)
        saved = look_over(find, trust=model.trust_remote_code, weights=origin.kind != "hub")
        self.tokenizer = load_tokenizer(origin, trust=model.trust_remote_code)
        check_rows(self.tokenizer, saved.config.get("vocab_size"))
        self.max_length = model.max_length or _own_limit(find, self.tokenizer)
        self.prompts = {role: _prompt(model.prompts, saved, role) for role in ("query", "document")}

    def run(self) -> Sampled:
        """Print one table per source.

        Raises:
            DataError: bad rows in a source that does not skip them.
        """
        kept: list[int] = []
        contents = []
        for index, source in enumerate(self.loaded.recipe.data.sources):
            limit = min(self.count, source.limit or self.count)
            part = source.model_copy(update={"limit": limit, "streaming": source.hub is not None})
            stops, cures = source.on_bad_row == "error", Cures.of_source(index)
            try:
                found = load_source(part.model_copy(update={"on_bad_row": "skip"}), cures=cures)
            except DataError:
                load_source(part, cures=cures)  # which may say it better: all rows are bad
                raise
            kept += self._show(found, _examples(found, limit), stops)
            contents.append(found.contents())
            if found.skipped and stops:
                load_source(part, cures=cures)
        return Sampled(sum(kept) / len(kept) if kept else None, contents)

    def _show(self, found: LoadedSource, examples: Sequence[Example], stops: bool) -> list[int]:
        table = Grid(_COLUMNS, f"{found.name}: first {len(examples):,} rows, tokens")
        kept: list[int] = []
        for role, texts in _by_role(examples, found.roles):
            lengths = self._lengths(texts, "query" if role in ("query", "text") else "document")
            cut = [min(n, self.max_length or n) for n in lengths]
            kept += cut
            table.add(
                role,
                f"{len(texts):,}",
                *(str(_quantile(lengths, q)) for q in QUANTILES),
                _share(sum(n > m for n, m in zip(lengths, cut, strict=True)), len(lengths)),
                _share(len(texts) - len({text_id(t) for t in texts}), len(texts)),
            )
        say(table)
        for line in _remarks(found, examples, self.max_length, stops):
            say("  " + line)
        return kept

    def _lengths(self, texts: Sequence[str], role: str) -> list[int]:
        prompt = self.prompts[role]
        ids = self.tokenizer([prompt + text for text in texts], truncation=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]


def _examples(found: LoadedSource, limit: int) -> list[Example]:
    """All rows, or those of a stream until it starts anew."""
    if found.rows is not None:
        return found.get(range(found.rows))
    seen: dict[str, Example] = {}
    for position in range(limit):
        (example,) = found.get([position])
        if seen.setdefault(example.origin, example) is not example:
            break
    return list(seen.values())


def _by_role(examples: Sequence[Example], roles: frozenset[str]) -> Iterator[tuple[str, list[str]]]:
    yield "text" if "text" in roles else "query", [e.query for e in examples]
    for role, texts in (
        ("positive", [t for e in examples for t in e.positives]),
        ("negative", [t for e in examples for t in e.negatives]),
    ):
        if texts:
            yield role, texts


def _remarks(found: LoadedSource, examples: Sequence[Example], limit: int | None, stops: bool) -> Iterator[str]:
    """What a reader should know; `stops`: bad rows end the run instead of being left out."""
    yield f"max_length {limit} tokens" if limit else "the model sets no maximum length"
    for reason, count in found.skipped.items():
        rows = f"{count} bad {'row' if count == 1 else 'rows'}"
        yield f"{rows}, at which the run would stop: {reason}" if stops else f"{rows} left out: {reason}"
    yield from found.remarks
    same = sum(text_id(e.query) in {text_id(t) for t in e.positives} for e in examples)
    if same:
        yield f"{same} rows whose positive is the query itself"
    clash = sum(bool({text_id(t) for t in e.negatives} & {*map(text_id, e.positives), *e.known}) for e in examples)
    if clash:
        yield f"{clash} rows with a negative that is known to be a positive of the query"
    several = sum(len({*map(text_id, e.positives), *e.known}) > 1 for e in examples if e.positives)
    if several:
        yield f"{several} rows whose query has several positives; they are never each other's negatives"
    values = [s for e in examples for s in e.scores]
    if values:
        yield f"scores from {min(values):g} to {max(values):g}, mean {sum(values) / len(values):.3g}"
    if found.unused:
        yield f"columns without a role: {listed(found.unused)}"


def _own_limit(find: Find, tokenizer: Any) -> int | None:
    from embedkit.recipe.planning.facts import encoder_size

    size = encoder_size(find)
    known = [n for n in (size.max_length if size else None, tokenizer.model_max_length) if n and n < 10**6]
    return min(known) if known else None


def _prompt(given: Prompts, saved: Saved, role: Literal["query", "document"]) -> str:
    """The recipe's prompt of a role, else the one that training would find in the model."""
    own: str | None = getattr(given, role)
    return prompt_for(saved.prompts, role) if own is None else own


def _quantile(values: Sequence[int], q: float) -> int:
    """The smallest value that at least a share `q` of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1)]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
