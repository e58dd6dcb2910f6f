"""Tables that fit the terminal: where it is too narrow, whole columns go, and no number is ever broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedkit.foreign.showing import shown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

FOLDED = 12
"""Columns of the screen that a column of names may be folded down to."""
WIDE = 10_000


@dataclass(frozen=True)
class Column:
    """A column of a `Grid`.

    Attributes:
        name: its heading.
        drop: 0 always stays; else the column with the greatest number goes first.
        right: numbers stand on the right.
        folds: whether a cell may take several lines: names may, numbers may not.
        style: rich style of its cells.
    """

    name: str
    drop: int = 0
    right: bool = True
    folds: bool = False
    style: str = ""


def name_column(name: str, drop: int = 0) -> Column:
    """A column of names: on the left, folded where it must be."""
    return Column(name, drop, right=False, folds=True)


@dataclass
class Grid:
    """A table for the terminal; rich prints it, and `str` gives it as plain text.

    Cells are texts, not markup: a name may hold brackets, and control characters, which are shown.

    Attributes:
        columns: in order.
        title: above it.
        note: under it, small.
        hint: where to find what was left out, e.g. a file; completes the line that names the columns.
    """

    columns: Sequence[Column]
    title: str = ""
    note: str = ""
    hint: str = ""
    _rows: list[tuple[list[Text], str, bool]] = field(default_factory=list)

    def add(self, *cells: str | Text, style: str = "", line_under: bool = False) -> None:
        """Add a row.

        Args:
            cells: one per column.
            style: rich style of the row.
            line_under: draw a line under it.
        """
        from rich.text import Text

        texts = [Text(shown(cell)) if isinstance(cell, str) else cell for cell in cells]
        if len(texts) != len(self.columns):
            raise ValueError(f"{len(texts)} cells for {len(self.columns)} columns")
        self._rows.append((texts, style, line_under))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, color_system=None)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip("\n")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.text import Text

        if self.title:
            yield Text(shown(self.title), style="bold")
        kept = self._fitting(console, options.max_width)
        if self._width(console, kept) <= options.max_width:
            yield self._table(kept)
        else:
            yield from self._stacked(kept)
        gone = [c.name for i, c in enumerate(self.columns) if i not in kept]
        if gone:
            hint = f" ({self.hint})" if self.hint else ""
            yield Text(f"Left out, the terminal being narrow: {', '.join(gone)}{hint}.", style="dim")
        if self.note:
            yield Text(shown(self.note, lines=True), style="dim")

    def _fitting(self, console: Console, width: int) -> list[int]:
        """Indices of the columns that fit into `width`."""
        kept = list(range(len(self.columns)))
        while self._width(console, kept) > width and any(self.columns[i].drop for i in kept):
            kept.remove(max(kept, key=lambda i: self.columns[i].drop))
        return kept

    def _width(self, console: Console, kept: Sequence[int]) -> int:
        """Columns of the screen that these columns need at least."""
        options = console.options.update(width=WIDE, max_width=WIDE)
        return console.measure(self._table(kept, narrow=True), options=options).maximum

    def _table(self, kept: Sequence[int], narrow: bool = False) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
        for i in kept:
            column = self.columns[i]
            natural = max([len(column.name), *(row[0][i].cell_len for row in self._rows)])
            table.add_column(
                Text(column.name),
                justify="right" if column.right else "left",
                no_wrap=not column.folds,
                overflow="fold",
                style=column.style,
                width=min(natural, FOLDED) if narrow and column.folds else None,
            )
        for cells, style, line_under in self._rows:
            table.add_row(*(cells[i] for i in kept), style=style, end_section=line_under)
        return table

    def _stacked(self, kept: Sequence[int]) -> Iterator[Text]:
        """For a terminal that is narrower than the columns that must stay: a line per cell."""
        from rich.text import Text

        for cells, style, _ in self._rows:
            for i in kept:
                name = f"{self.columns[i].name} " if i != kept[0] else ""
                yield Text.assemble(("  " if name else "") + name, cells[i], style=style)
