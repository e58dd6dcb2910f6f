"""Secrets kept out of what is shown and stored: reports are passed on, recipes and addresses may hold a pasted token.

What is known of a secret is its shape (tokens of known services, private keys), its place (an address, a header) or the
name it stands under. A word of 40 hexadecimal digits alone may be a digest as well as a key, and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

HIDDEN = "[redacted]"
"""Stands for a secret in what is shown."""
PLACEHOLDER = "[redacted:take-it-from-the-environment]"
"""Stands for a secret in what is stored and may be used again: a recipe."""

Hide = Callable[[str], str]
Match = re.Match[str]


class _Rule:
    """A pattern whose group `secret` is hidden where `holds` says so.

    Args:
        kind: what is hidden, in words.
        marks: one of these words stands in every text that the pattern could fit, in lower case; most texts are done
            with after a look for them.
        pattern: compiled when a text first bears a mark.
        holds: looks closer at a match.
        flags: of the pattern.
    """

    def __init__(
        self, kind: str, marks: str, pattern: str, holds: Callable[[Match], bool] | None = None, flags: int = 0
    ) -> None:
        self.kind, self.marks, self.holds = kind, tuple(marks.split()), holds or (lambda match: True)
        self._pattern, self._flags = pattern, flags

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self._pattern, self._flags)


# Names ------------------------------------------------------------------------------------------------------------

_ALWAYS = {
    *("password", "passwd", "passphrase", "passcode", "passwort", "pwd", "secret", "credential", "bearer", "cookie"),
    *("apikey", "accesskey", "secretkey", "privatekey", "accountkey", "authtoken", "accesstoken", "authorization"),
}
_SECRET_KEYS = {
    *("access", "account", "api", "auth", "authentication", "client", "deploy", "encryption", "license", "master"),
    *("private", "secret", "service", "session", "shared", "signing", "ssh", "storage", "subscription"),
}
"""What stands before `key` where it is a secret one."""
_SECRET_TOKENS = {"access", "api", "auth", "authentication", "bearer", "hf", "hub", "oauth", "refresh", "session"}
"""What stands before `tokens` where they are no counts."""
_TEXT_TOKENS = {
    *("additional", "audio", "begin", "bos", "boi", "bot", "by", "cls", "completion", "decoder", "document", "each"),
    *("encoder", "end", "eoi", "eos", "eot", "first", "forced", "image", "input", "last", "mask", "max", "merge"),
    *("min", "new", "next", "num", "output", "pad", "padding", "per", "prefix", "prompt", "query", "sep", "separator"),
    *("special", "start", "stop", "suffix", "the", "unk", "unused", "video", "vocab", "word"),
}
"""What stands before `token` where a piece of text is meant."""
_IN_ADDRESS = {"key", "sig", "signature", "sas", "pass", "auth", "hmac"}
"""Last words of parameters of an address that hold a secret, beside those with a secret's name."""
_SIGNERS = {"x-amz-credential", "x-goog-credential", "awsaccesskeyid", "googleaccessid"}
"""Parameters of signed addresses of S3 and Google Cloud Storage that belong to the signature."""
_NO_SECRET = re.compile(
    r"null|none|true|false|~|\*+|\.+|<[^>]*>|\[[^\]]*\]|\$\{?\w+\}?|\$\{\{.*\}\}|env:\w+|os\.environ\S*", re.IGNORECASE
)
"""Values that are no secret under any name: nothing, a special token, a reference to the environment."""


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def names_a_secret(name: str) -> bool:
    """Whether what stands under `name` is a secret: ``password``, ``HF_TOKEN``, ``x-api-key``, ``clientSecret``."""
    words = ["", *_words(name)]
    before, last = words[-2:] if len(words) > 1 else ("", "")
    if last == "tokens":
        return before in _SECRET_TOKENS
    last = last if last == "cookies" else last.removesuffix("s")
    if last == "token":
        return before not in _TEXT_TOKENS
    if last == "auth":
        return before in ("", "basic", "http", "proxy")
    return last in _ALWAYS or (last == "key" and before in _SECRET_KEYS) or words[-3:] == ["access", "key", "id"]


def _named(match: Match) -> bool:
    return names_a_secret(match["name"]) and not _NO_SECRET.fullmatch(match["secret"])


def _worded(match: Match) -> bool:
    """A password may be several words where it fills its line."""
    return _named(match) and _words(match["name"])[-1].startswith(("passw", "passp", "pwd"))


def _parameter(match: Match) -> bool:
    from urllib.parse import unquote

    name = unquote(match["name"])
    return names_a_secret(name) or name.lower() in _SIGNERS or not _IN_ADDRESS.isdisjoint(_words(name)[-1:])


def _basic(match: Match) -> bool:
    """``Basic`` is also a word: what follows must be base64 of ``user:password``."""
    import base64

    text = match["secret"]
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False


# Patterns ---------------------------------------------------------------------------------------------------------

_ESCAPED = r"(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\[nrt])"
_EDGE = rf"(?:(?<![A-Za-z0-9\\])|{_ESCAPED})"
"""Where a token begins, also behind an escape such as ``\\n``."""
_TELLING = ("pass", "pwd", "secret", "token", "key", "auth", "credential", "bearer", "cookie")
"""One of these stands in every name of a secret."""
_NAME = (
    rf"(?:(?<![\w.\\-])|{_ESCAPED})-{{0,2}}"
    rf"(?i:(?=[\w.-]{{0,60}}?(?:{'|'.join(_TELLING)})))(?P<name>[A-Za-z_][\w.-]{{0,63}})"
)
_NEW = r"(?!\[redacted)"
"""What is hidden already stays as it is."""
_QUOTED = rf"(?P<quote>\\*[\"'])(?P<secret>{_NEW}(?:\\.|[^\\\n]){{1,1000}}?)(?P=quote)"
_ANY_NAME = " ".join(_TELLING)
_PEM = r"-----(?:BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_NO_WORDS = r"(?=[\w-]{0,80}?(?:[A-Za-z0-9]{20}|(?=[a-z]{0,40}[A-Z0-9])[A-Za-z0-9]{12}))[\w-]{16,400}"
"""At least 16 characters that are no words joined by dashes."""

_SHAPES = (
    (
        "a Hugging Face token",
        "hf_ api_org_",
        r"hf_(?:[A-Za-z0-9]{20,}|(?=[a-z]{0,16}[A-Z0-9])[A-Za-z0-9]{16,})|api_org_[A-Za-z0-9]{16,}",
    ),
    ("a GitHub token", "gho_ ghp_ ghr_ ghs_ ghu_ github_pat_", r"gh[oprsu]_\w{16,}|github_pat_\w{16,}"),
    ("a GitLab token", "gl", r"gl(?:agent|cbt|dt|ft|pat|ptt|rt|soat)-[\w-]{16,}"),
    ("a key of OpenAI or Anthropic", "sk-", rf"sk-{_NO_WORDS}"),
    ("a key of Google", "aiza ya29. gocspx-", r"AIza[\w-]{30,}|ya29\.[\w-]{16,}|GOCSPX-[\w-]{16,}"),
    ("a Slack token", "xox xapp-", r"xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"),
    ("an AWS key id", "akia asia abia acca", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (
        "a key of a payment service",
        "_live_ _test_ whsec_ shp",
        r"[prs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[\w+/=]{16,}|shp(?:at|ca|pa|ss)_\w{16,}",
    ),
    ("a key of a mail service", "sg.", r"SG\.[\w-]{16,200}\.[\w-]{16,}"),
    (
        "a token of a package index",
        "pypi- npm_ dckr_pat_",
        r"pypi-[\w-]{40,}|npm_[A-Za-z0-9]{30,}|dckr_pat_[\w-]{16,}",
    ),
    (
        "a key of a model service",
        "gsk_ pcsk_ jina_ r8_ csk_ xai- nvapi- pplx-",
        r"(?:gsk|pcsk|jina|r8|csk)_(?=\w{0,80}\d)\w{24,}|(?:xai|nvapi|pplx)-(?=[\w-]{0,80}\d)[\w-]{30,}",
    ),
    (
        "a token of a cloud service",
        "dop_v1_ dapi lin_api_ ntn_ hvs.",
        r"dop_v1_\w{30,}|dapi[0-9a-f]{32}|lin_api_\w{16,}|ntn_\w{30,}|hvs\.[\w-]{20,}",
    ),
    ("a Telegram token", ":aa", r"\d{8,10}:AA[\w-]{32,}"),
    ("a JSON web token", "eyj", r"eyJ[\w-]{8,2000}\.[\w-]{8,}(?:\.[\w-]*){0,3}"),
)
"""Kind, marks and shape of tokens that show whose they are."""

_PLACES = (
    _Rule(
        "a private key", "-----begin", rf"(?P<secret>{_PEM}(?:.{{0,8000}}?{_PEM}|[A-Za-z0-9+/=\s\\]*))", flags=re.DOTALL
    ),
    _Rule(
        "the key of a webhook",
        "hooks.slack.com discord",
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks)/"
        rf"(?P<secret>{_NEW}[\w/-]+)",
    ),
    _Rule(  # a password may hold what should have been escaped; up to the last @, rather too much than too little
        "a password in an address",
        r":// :\/\/",
        rf":\\?/\\?/(?P<secret>{_NEW}[^\s/:@?#\"'<>]{{1,200}}:(?!\d+[/?#])[^\s\"'<>]{{1,300}})(?=@)",
    ),
    _Rule("a password in an address", r":// :\/\/", rf":\\?/\\?/(?P<secret>{_NEW}[^\s/?#\"'<>\\]{{1,1000}})(?=@)"),
    _Rule(
        "a key in an address",
        "=",
        rf"[?&#;](?:amp;)?(?P<name>[\w.%~$\[\]-]{{1,64}})=(?P<secret>{_NEW}[^&?#\s\"'<>\\;]{{1,4000}})",
        _parameter,
    ),
    _Rule(
        "a header with a key",
        "authorization",
        r"authorization\\*[\"']?\s*[:=]\s*\\*[\"']?(?:bearer|basic|token|digest|apikey|negotiate|aws4-hmac-sha256)\s+"
        rf"(?P<secret>{_NEW}[^\"'\\\r\n]+)",
        flags=re.IGNORECASE,
    ),
    _Rule(
        "a header with a key",
        "bearer",
        rf"\bbearer\s+(?P<secret>{_NEW}(?=\S{{0,200}}\d|\S{{20}})[A-Za-z0-9._~+/=-]{{6,}})",
        flags=re.IGNORECASE,
    ),
    _Rule("a header with a key", "basic", r"\bbasic\s+(?P<secret>[A-Za-z0-9+/]{8,}={0,2})", _basic, re.IGNORECASE),
    _Rule("the value of a secret", _ANY_NAME, rf"{_NAME}\\*[\"']?\s*[=:]\s*{_QUOTED}", _named),
    _Rule(
        "the value of a secret",
        _ANY_NAME,
        rf"{_NAME}\s*[=:]\s*{_NEW}[\[{{](?P<secret>{_NEW}[^\]}}\n]{{1,2000}})",
        _named,
    ),
    _Rule(
        "the value of a secret", _ANY_NAME, rf"{_NAME}\s*=\s*(?P<secret>{_NEW}[^\s\"'&,;)}}\]\[{{]{{4,2000}})", _named
    ),
    _Rule(
        "a password",
        "passw passp pwd",
        rf"^[ \t#-]{{0,80}}{_NAME}\s*:[ \t]+(?P<secret>{_NEW}[^\s\"'\[{{][^\n]*)$",
        _worded,
        re.MULTILINE,
    ),
    _Rule(  # "the secret: always be kind" is no value, "secret: always-be-kind" at the end of a line is one
        "the value of a secret",
        _ANY_NAME,
        rf"{_NAME}\s*:\s+(?P<secret>{_NEW}(?=[^\s,;]{{0,200}}\d|\S{{1,200}}\s*(?:$|[,}}\]\n]))[^\s\"',;}}\]\[{{]{{6,}})",
        _named,
        re.MULTILINE,
    ),
    _Rule(
        "the value of a secret", "--", rf"(?<![\w-])--(?P<name>[A-Za-z][\w-]*)\s+(?P<secret>{_NEW}[^\s-]\S+)", _named
    ),
)
_RULES = (
    _PLACES[0],
    *(_Rule(kind, marks, f"{_EDGE}(?P<secret>{shape})") for kind, marks, shape in _SHAPES),
    *_PLACES[1:],
)


# What others call -------------------------------------------------------------------------------------------------


def redact(value: Any, hidden: str = HIDDEN) -> Any:
    """`value` with everything that looks like a credential replaced, in strings at any depth of dicts and lists.

    Tokens of known services, private keys, passwords and signatures in addresses, headers, and what stands under a
    secret's name, whole lists and mappings included; of numbers under such a name those of six digits and more.

    Args:
        value: text, or plain data; tuples come back as lists.
        hidden: what to write instead.
    """
    return _walk(value, lambda secret: hidden)


def secrets(value: Any) -> list[str]:
    """What `redact` hides, each once."""
    found: dict[str, None] = {}

    def collect(secret: str) -> str:
        found[secret] = None
        return HIDDEN

    _walk(value, collect)
    return list(found)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Key path and kind (``a Hugging Face token``) of everything in plain data that `redact` would hide."""
    if isinstance(value, str):
        for rule in _fitting(value):
            if any(True for _ in _matches(rule, value)):
                yield path, rule.kind
                return
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            if _hidden_whole(key, inside):
                yield (*path, key), "the value of a secret"
            else:
                yield from places(inside, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, inside in enumerate(value):
            yield from places(inside, (*path, index))


def _walk(value: Any, hide: Hide) -> Any:
    if isinstance(value, str):
        return _text(value, hide)
    if isinstance(value, Mapping):
        return {
            _walk(key, hide): _whole(inside, hide) if _hidden_whole(key, inside) else _walk(inside, hide)
            for key, inside in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_walk(inside, hide) for inside in value]
    return value


def _text(text: str, hide: Hide) -> str:
    for rule in _fitting(text):
        parts, done = [], 0
        for match in _matches(rule, text):
            parts += [text[done : match.start("secret")], hide(match["secret"])]
            done = match.end("secret")
        text = "".join([*parts, text[done:]]) if parts else text
    return text


def _matches(rule: _Rule, text: str) -> Iterator[Match]:
    """Where a rule holds. What it matches without holding may have a secret inside: ``note="password=..."``."""
    place = 0
    while match := rule.pattern.search(text, place):
        if rule.holds(match):
            yield match
            place = match.end("secret")
        else:
            place = match.end("name") if "name" in rule.pattern.groupindex else match.end()


def _fitting(text: str) -> list[_Rule]:
    """The rules that could hold for a text."""
    lower = text.lower()
    return [rule for rule in _RULES if any(mark in lower for mark in rule.marks)]


def _hidden_whole(key: Any, value: Any) -> bool:
    return isinstance(key, str) and names_a_secret(key) and any(map(_is_secret, _leaves(value)))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (Mapping, list, tuple)):
        for inside in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(inside)
    else:
        yield value


def _is_secret(leaf: Any) -> bool:
    """Whether a value under a secret's name is one."""
    if isinstance(leaf, str):
        return bool(leaf.strip()) and not leaf.startswith("[redacted") and not _NO_SECRET.fullmatch(leaf)
    return isinstance(leaf, int) and not isinstance(leaf, bool) and abs(leaf) >= 100_000


def _whole(value: Any, hide: Hide) -> Any:
    """Every value under a secret's name hidden, each in its place."""
    if isinstance(value, Mapping):
        return {key: _whole(inside, hide) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(inside, hide) for inside in value]
    return hide(str(value)) if _is_secret(value) else value
