"""Where things that can be made again are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(what: str) -> Path:
    """``$XDG_CACHE_HOME/embedkit/WHAT``, in ``~/.cache`` if that is unset."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "embedkit" / what
