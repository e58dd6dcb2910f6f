"""Keep secrets out of what is published: reports and cards are passed on, recipes may hold a pasted token."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"

_TOKENS = re.compile(
    r"\b(?:hf_|api_org_)[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(?:ghp|gho|ghs|ghu|glpat|github_pat)[_-]\w{16,}"  # GitHub, GitLab
    r"|\bsk-[\w-]{16,}"  # OpenAI and Anthropic
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS key id
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"  # JSON web token
)
_USERINFO = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_NAMED = re.compile(
    r"((?:api[_-]?key|access[_-]?key|secret|password|passwd|(?:auth|access|hub|hf)[_-]?token|\btoken)"
    r"[\"']?\s*[=:]\s*[\"']?)(?!null\b|None\b|\[redacted])([^\s\"'&,}]{6,})",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(r"(^|_)(token|password|passwd|secret|api_?key|access_?key)$", re.IGNORECASE)


def redact(value: Any) -> Any:
    """`value` with everything that looks like a credential replaced, in strings at any depth of dicts and lists.

    Known token shapes, ``user:password@`` in addresses, and values named token, password, secret or api key.
    """
    if isinstance(value, str):
        text = _TOKENS.sub(HIDDEN, value)
        text = _USERINFO.sub(HIDDEN, text)
        return _NAMED.sub(rf"\1{HIDDEN}", text)
    if isinstance(value, dict):
        return {k: HIDDEN if _secret(k, v) else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(v) for v in value]
    return value


def _secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, str) and bool(value) and bool(_SECRET_KEY.search(key))
