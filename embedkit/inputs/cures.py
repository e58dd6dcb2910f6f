"""What a person can do about a file, in the words of the place that named it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cures:
    """Advice that depends on who names the file.

    Attributes:
        decode: what to do where the file has another encoding; ``{0}`` stands for its name.
        skip: how bad rows are left out; empty where they cannot be.
    """

    decode: str = "save it as UTF-8, e.g. `iconv -f {0} -t utf-8 FILE > NEW`"
    skip: str = ""

    @classmethod
    def of_source(cls, index: int | None = None) -> Cures:
        """Those of a source of a recipe.

        Args:
            index: its place in `data.sources`, where that is known.
        """
        decode, skip = ("", "") if index is None else (f" ({_key(index, 'encoding')}={{0}})", _key(index, "on_bad_row"))
        return cls(
            f"set `encoding: {{0}}` in this source{decode}",
            "set `on_bad_row: skip` in this source" + (f" ({skip}=skip)" if skip else ""),
        )

    def encoding(self, name: str) -> str:
        """The cure for a file in encoding `name`."""
        return self.decode.format(name)


def _key(index: int, key: str) -> str:
    return f"data.sources.{index}.{key}"


PLAIN = Cures()
"""For files that no recipe's source names: they are UTF-8, and all their rows count."""
