"""Whether a tokenizer is whole and fits the token table of its model."""

from __future__ import annotations

from typing import Any

from embedkit.disk.model_files import BASE, COPY_AGAIN, Find, Saved
from embedkit.errors import RecipeError

FEW = 1000
"""A tokenizer with fewer tokens is looked through: transformers makes one of special tokens where files are missing."""


def check_tokenizer(tokenizer: Any, find: Find, saved: Saved) -> None:
    """Refuse a tokenizer that knows no words, because its files are missing or empty.

    Args:
        tokenizer: as transformers loaded it.
        find: the files of the model.
        saved: what its small files say.

    Raises:
        RecipeError: with the files that were looked for.
    """
    names = {key: name for key, name in (tokenizer.vocab_files_names or {}).items() if isinstance(name, str)}
    whole = find(saved.file("tokenizer.json")) is not None
    there = [name for name in names.values() if find(saved.file(name)) is not None]
    if len(tokenizer) < FEW:
        special = {*tokenizer.all_special_tokens, *(str(t) for t in tokenizer.added_tokens_decoder.values())}
        if len(set(tokenizer.get_vocab()) - special) < 2:
            found = f"{', '.join(there)} holds no words" if there else f"there is no {' or '.join(names.values())}"
            raise RecipeError(
                f"the model has no vocabulary, and every word would be unknown: {found}",
                BASE,
                f"put the tokenizer's files beside config.json: {COPY_AGAIN}",
            )
    merges = names.get("merges_file")
    if merges is not None and not whole and there and merges not in there:
        raise RecipeError(
            f"the tokenizer lacks {merges}, and every word would fall into single letters",
            BASE,
            f"put it beside {', '.join(there)}: {COPY_AGAIN}",
        )


def check_rows(tokenizer: Any, rows: int | None) -> None:
    """Refuse a tokenizer with tokens that the token table has no row for.

    Args:
        tokenizer: the tokenizer.
        rows: of the table; None where it is not known.

    Raises:
        RecipeError: with both numbers and the first such token.
    """
    numbers = tokenizer.get_vocab()
    last = max((*tokenizer.added_tokens_decoder, len(tokenizer) - 1, *numbers.values()))
    if rows is None or last < rows:
        return
    beyond = {number: token for token, number in numbers.items() if number >= rows}
    token = beyond[min(beyond)] if beyond else tokenizer.convert_ids_to_tokens(rows)
    raise RecipeError(
        f"the tokenizer has {last + 1:,} tokens and the token table {rows:,} rows: {token!r:.80} has none",
        BASE,
        "save the model after `resize_token_embeddings(len(tokenizer))`, or take the tokenizer that belongs to it",
    )
