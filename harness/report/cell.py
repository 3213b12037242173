"""What stands in one place of a table: a value in words, or a dash and why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.report.format import DASH


@dataclass(frozen=True, slots=True)
class Cell:
    """`small` stands under `text`. `why` says why there is no value; then `text` is a dash, or what can be
    said all the same. `order` sorts; None goes last."""

    text: str
    small: str = ""
    why: str = ""
    order: float | str | None = None


def missing(why: str) -> Cell:
    return Cell(DASH, why=why)


def reasons(cells: Iterable[Cell]) -> tuple[str, str]:
    """Why some have a dash, and why others have no more than a lower limit; each reason once."""
    dashes, limits = dict[str, None](), dict[str, None]()
    for cell in cells:
        if cell.why:
            (dashes if cell.text == DASH else limits)[cell.why] = None
    return "; ".join(dashes), "; ".join(limits)


def footnotes(cells: Iterable[Cell]) -> dict[str, int]:
    """Each reason once, numbered from 1."""
    reasons = dict.fromkeys(cell.why for cell in cells if cell.why)
    return {why: number for number, why in enumerate(reasons, start=1)}
