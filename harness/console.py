"""The terminal where there is more than lines to print: tables, colours, a line that is rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from harness.plain_text import shown, shown_lines


class TerminalConsole(Console):
    """rich's console for text that others wrote: it takes no markup from a string, and a string is one line.

    Colours are given as `Text`. Whatever is rendered, nothing but rich's own styles acts on the terminal.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Every segment that is to be printed, also of a table's cells and of a live line."""
        return map(_harmless, super().render(renderable, options))

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, a string as one line."""
        super().print(*(line(each) if isinstance(each, str) else each for each in objects), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        return super().status(line(status) if isinstance(status, str) else status, **options)


PLAIN_WIDTH = 120
"""Columns of a table where it goes to a log, which has no width."""


def console_for_tables() -> TerminalConsole:
    """Of stdout, as wide as the terminal."""
    console = TerminalConsole()
    return console if console.is_terminal else TerminalConsole(width=PLAIN_WIDTH)


def line(text: str, style: str = "") -> Text:
    """One line, never markup."""
    return Text(shown(text), style=style)


def print_sentences(sentences: Iterable[tuple[str, str]]) -> None:
    """On stdout, a line each: what it is about, then the sentence."""
    console = console_for_tables()
    for about, sentence in sentences:
        console.print(Text.assemble(line(f"{about}: ", "bold"), line(sentence)), soft_wrap=True)


def cells(texts: Iterable[str]) -> list[Text]:
    """A row of a table."""
    return [line(text) for text in texts]


def _harmless(segment: Segment) -> Segment:
    if segment.control:
        return segment
    return Segment(shown_lines(segment.text), segment.style)
