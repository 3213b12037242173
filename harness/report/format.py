"""Numbers as a reader wants them: three significant digits, a unit, and a dash for what was not observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import floor, log10

from harness.schema.result import Interval

DASH = "–"


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, never an exponent, thousands apart: 0.0123, 4.56, 12,300."""
    if value == 0:
        return "0"
    magnitude = floor(log10(abs(value)))
    if magnitude >= digits:
        return f"{value:,.0f}"
    rounded = round(value, digits - 1 - magnitude)
    return f"{rounded:,.{max(digits - 1 - floor(log10(abs(rounded))), 0)}f}"


def ms(seconds: float) -> str:
    """Seconds in, milliseconds out, without the unit."""
    return number(seconds * 1e3)


def percent(share: float) -> str:
    return f"{number(share * 100)}%"


def memory(size_bytes: float) -> str:
    return f"{number(size_bytes / 2**30)} GiB" if size_bytes >= 2**30 else f"{number(size_bytes / 2**20)} MiB"


def span(interval: Interval | None, words: Callable[[float], str]) -> str:
    """An interval as "low–high", empty without one."""
    return f"{words(interval[0])}–{words(interval[1])}" if interval else ""


def setting(value: str | int | float | bool) -> str:
    """A value as a scenario would have it: 50, not 50.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def when(iso: str) -> str:
    """An ISO 8601 time as "2026-03-02 09:29 UTC"; what isn't one stays as it is."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return iso


def count(many: int, of: str) -> str:
    """ "1 point", "12 points"."""
    return f"{many:,} {of}" if many == 1 else f"{many:,} {of}s"


def axes(sizes: Mapping[str, int]) -> str:
    """Sizes of a request's dynamic axes: "128 tokens", "224×320 height×width", or "fixed size"."""
    if not sizes:
        return "fixed size"
    return f"{'×'.join(str(s) for s in sizes.values())} {'×'.join(sizes)}"
