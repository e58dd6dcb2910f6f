"""What is asked of a language model, what comes back, and the name under which the answer is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

FORMAT = 1
"""Part of every key: raise it when the same call would be answered differently by newer code."""

Finish = Literal["stop", "length", "refused", "too_long"]


@dataclass(frozen=True)
class Call:
    """One question.

    Attributes:
        kind: which prompt it was made from: paraphrase, fill, score, positive, negative, sentences, answers, grade.
        messages: (role, content) pairs of a chat.
        temperature: 0 takes the most likely token.
        top_p: share of the probability mass that is sampled from.
        max_tokens: the longest answer.
        one_line: the answer is a single line; a model without a chat template is stopped at its end.
        seed: of the sampling; below 2^31. A pure function of the user's seed and of what is asked.
        allowed: a model on this machine can answer nothing else; empty: anything. An endpoint knows the prompt only.
    """

    kind: str
    messages: tuple[tuple[str, str], ...]
    temperature: float
    top_p: float
    max_tokens: int
    one_line: bool
    seed: int
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        text: as the model wrote it, without its end-of-text token.
        finish: stop: it ended by itself. length: cut off at `max_tokens`. refused: a filter kept it back.
            too_long: the prompt does not fit in the model's context, nothing was asked.
        prompt_tokens, completion_tokens: as the backend counted them; None where it does not say.
    """

    text: str
    finish: Finish = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Backend(Protocol):
    """Something that answers.

    Attributes:
        identity: plain data that tells this model from any other; part of the key of every answer. Holds no secret.
        retries: requests that had to be sent again.
    """

    identity: dict[str, Any]
    retries: int

    def answer(self, calls: Sequence[Call]) -> Generator[tuple[int, Reply], None, None]:
        """Index and reply of every call, in whatever order they come; closed early, it asks no more."""


def digest(*parts: Any) -> bytes:
    """A 128-bit content hash of plain data."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def key(identity: dict[str, Any], call: Call) -> str:
    """The name of a call's answer: model, messages, sampling and seed; 32 hexadecimal digits."""
    asked = asdict(call)
    del asked["kind"]
    if not call.allowed:
        del asked["allowed"]
    return digest(FORMAT, identity, asked).hex()
