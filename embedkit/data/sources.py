"""Data sources (see `load_source`)."""

from __future__ import annotations

from embedkit.data.text import text_id

__all__ = ["text_id"]
