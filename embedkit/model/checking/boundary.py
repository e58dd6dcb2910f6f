"""Where errors of the libraries that read models become embedkit's own, with their cause in them.

transformers, tokenizers, safetensors and torch raise almost anything for a damaged file (tokenizers a bare
`Exception`), so everything is caught here and nowhere else. The cause stays in the message and in the chain.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager

from embedkit.disk.model_files import BASE, READ_FIRST, TRUST, Find
from embedkit.errors import EmbedkitError, RecipeError, VersionError
from embedkit.model.checking.weights import more_than_tensors
from embedkit.model.reading.resolve import Origin

PICKLED = ("pytorch_model.bin", "adapter_model.bin")
UNSAFE = "hold more than tensors, and reading the rest could run code: not loaded"
_REASON = 400


@contextmanager
def reading(what: str, origin: Origin, find: Find | None = None) -> Iterator[None]:
    """Reading a model. Every error names it.

    Args:
        what: what is read, for messages: "the model".
        origin: from where.
        find: its files, to look closer at after a failure.

    Raises:
        RecipeError: for whatever goes wrong, about ``model.base`` or ``model.trust_remote_code``.
        VersionError: a package is missing, or too old.
    """
    try:
        yield
    except RecipeError as error:
        if str(origin.target) in error.what:
            raise
        raise RecipeError(f"{what} from {origin}: {error.what}", error.where, error.cure) from error
    except EmbedkitError:
        raise
    except ImportError as error:
        if _names_no_class(error):
            raise _explained(f"{what} from {origin}", error, find) from error
        told = f"{what} from {origin} needs what is not installed, or too old: {reason(error)}"
        raise VersionError(told, BASE, "install it; the tested versions are in docs/start.md") from error
    except Exception as error:
        raise _explained(f"{what} from {origin}", error, find) from error


def reason(error: BaseException) -> str:
    """An error of a library in one line: its kind and the beginning of what it says."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = " ".join(text.split())
    name = "" if type(error) in (Exception, OSError, ValueError, RuntimeError) else f"{type(error).__name__}: "
    return name + (text if len(text) <= _REASON else text[: _REASON - 3] + "...") if text else type(error).__name__


def is_unsafe(error: BaseException) -> bool:
    """Whether torch refused a pickle because of what is in it."""
    return isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error)


def _names_no_class(error: ImportError) -> bool:
    """Whether sentence-transformers lacks a class that a modules.json names; else a package is missing."""
    lacks = (error.name or "").startswith("sentence_transformers.")
    return lacks or "does not define" in str(error)


def _explained(what: str, error: Exception, find: Find | None) -> RecipeError:
    if is_unsafe(error):
        found = [path for path in map(find, PICKLED) if path is not None] if find else []
        asked = more_than_tensors(tuple(found))
        names = f" ({asked[0].name} asks for {', '.join(asked[1][:3])})" if asked else ""
        return RecipeError(
            f"the weights of {what} {UNSAFE}{names}",
            BASE,
            "take a model in safetensors, or convert it where its origin is trusted",
        )
    if "trust_remote_code" in str(error):
        return RecipeError(
            f"{what} does not load: {_without_advice(error)}",
            TRUST,
            READ_FIRST,
        )
    return RecipeError(
        f"{what} does not load: {reason(error)}",
        BASE,
        "check that the folder is complete, that its architecture is known to the installed transformers, "
        "and that model.attention is available here",
    )


def _without_advice(error: Exception) -> str:
    """The facts of a refusal to run code, without how to allow it in a library's terms."""
    return reason(error).partition(" Please pass the argument")[0].partition("You can avoid this prompt")[0].strip()
