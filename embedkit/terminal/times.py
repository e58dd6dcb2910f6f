"""Seconds in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``0.4 s``, ``48 s``, ``9 min 12 s``, ``3 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """A time that is not known better than to a tenth: ``about 40 s``, ``about 4 min``, ``about 2 h 20 min``."""
    if seconds < 10:
        return "less than 10 s"
    if seconds < 57.5:
        return f"about {5 * round(seconds / 5)} s"
    minutes = seconds / 60
    if minutes < 3:
        halves = round(2 * minutes) / 2
        return f"about {halves:g} min"
    if minutes < 59.5:
        return f"about {round(minutes)} min"
    if minutes < 600:
        tens = round(minutes / 10)
        return f"about {tens // 6} h" + (f" {tens % 6 * 10} min" if tens % 6 else "")
    hours = round(minutes / 60)
    return f"about {hours} h" if hours < 72 else f"about {round(hours / 24)} days"
