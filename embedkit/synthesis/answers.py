"""From an answer to the text or the number in it; what cannot be used has a reason, which is counted."""

from __future__ import annotations

import re

from embedkit.synthesis.calls import Reply

MASK = "<mask>"

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("\u2018", "\u2019"), ("«", "»"), ("`", "`"))
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+")
_NUMBER = re.compile(r"(?:score\s*[:=]\s*)?(0(?:\.\d+)?|\.\d+|1(?:\.0+)?)\.?", re.IGNORECASE)
_YES_NO = re.compile(r"[\s*_\"'`]*(yes|no)(?![\w'-])\s*(?:[^\w\s]|$)", re.IGNORECASE)
_CANNOT = r"(?: can't| cannot| can not|(?:'m| am) (?:unable|not able)| won't| will not|(?:'m| am) not comfortable)"
_DO = (
    r"(?:assist|help (?:you|with)|provide|generate|create|fulfil\w*|comply|complete|produce|rewrite|paraphrase"
    r"|answer (?:that|this)|do (?:that|this))"
)
_REFUSAL = re.compile(
    rf"^(?:(?:i'm|i am) (?:very |so )?sorry|sorry|i apologi[sz]e|unfortunately)\b.{{0,20}}?\bi{_CANNOT}\b"
    rf"|^i{_CANNOT} (?:to )?{_DO}\b"
    r"|^as an? (?:ai\b|artificial intelligence|(?:large )?language model)",
    re.IGNORECASE,
)


class BadAnswer(Exception):
    """An answer that cannot be used; the message is the reason."""


def is_refusal(text: str) -> bool:
    """Whether a text is a model's polite way to say no. English phrases only."""
    return bool(_REFUSAL.search(text.strip().replace("\u2019", "'")))


def sentence(reply: Reply, source: str = "") -> str:
    """The one sentence in a reply, without the quotation marks around it.

    Args:
        reply: the answer.
        source: the text it was made from; if that itself reads like a refusal, so may the answer.

    Raises:
        BadAnswer: refusal, cut off, prompt too long, empty, several lines.
    """
    text = _plain(reply)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise BadAnswer("empty")
    if is_refusal(lines[0]) and not is_refusal(source):
        raise BadAnswer("refusal")
    if len(lines) > 1:
        raise BadAnswer("several lines")
    return _tidy(lines[0])


def sentences(reply: Reply, most: int) -> list[str]:
    """Up to `most` sentences, one per line, without numbers, bullets and quotation marks.

    Of an answer that was cut off the last line is left out. Lines of one word, and lines that end with a colon (an
    introduction), are no sentences.

    Raises:
        BadAnswer: refusal, prompt too long, or no sentence in it.
    """
    cut = reply.finish == "length"
    text = _plain(Reply(reply.text, "stop") if cut else reply)
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and is_refusal(lines[0]):
        raise BadAnswer("refusal")
    found = [_tidy(_LIST_MARK.sub("", line).strip()) for line in (lines[:-1] if cut else lines)]
    found = [line for line in found if " " in line and not line.endswith(":")]
    if not found:
        raise BadAnswer("cut off" if cut else "no sentence")
    return found[:most]


def score(reply: Reply) -> float:
    """The number of a reply that is nothing but a number from 0 to 1 (``0.7``, ``1``, ``.5.``, ``Score: 0.7``).

    Raises:
        BadAnswer: refusal, cut off, prompt too long, or anything else.
    """
    text = _plain(reply).strip()
    if is_refusal(text):
        raise BadAnswer("refusal")
    found = _NUMBER.fullmatch(text)
    if not found:
        raise BadAnswer("not a number from 0 to 1")
    return float(found[1])


def yes(reply: Reply) -> bool:
    """Whether a reply says yes.

    Its first word is yes or no, with the end or a mark behind it (``No.``, ``Yes, for ...``). What follows may be
    cut off.

    Raises:
        BadAnswer: refusal, prompt too long, or anything else.
    """
    text = _plain(Reply(reply.text, "stop") if reply.finish == "length" else reply)
    if is_refusal(text):
        raise BadAnswer("refusal")
    found = _YES_NO.match(text)
    if not found:
        raise BadAnswer("neither yes nor no")
    return found[1].casefold() == "yes"


def _plain(reply: Reply) -> str:
    reasons = {"refused": "refusal", "length": "cut off", "too_long": "prompt too long"}
    if reply.finish in reasons:
        raise BadAnswer(reasons[reply.finish])
    return _THOUGHT.sub("", reply.text)


def _tidy(line: str) -> str:
    """One line with single spaces, without a pair of quotation marks around the whole."""
    line = " ".join(line.split())
    for start, end in _QUOTES:
        if len(line) > 2 and line.startswith(start) and line.endswith(end) and start not in line[1:-1]:
            return line[1:-1].strip()
    return line
