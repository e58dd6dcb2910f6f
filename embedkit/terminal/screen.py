"""A screen on which nothing foreign acts: colours and movements are ours alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from embedkit.foreign.showing import visible


class Screen(Console):
    """A console of rich that shows what would act on a terminal as visible escapes, in texts, tables and bars alike.

    Texts are cleaned before they are measured, so that tables stay whole, and once more where a style is put onto them.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text, lines=True), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text, lines=True), segment.style)
