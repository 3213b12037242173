"""The text that Prometheus reads, as a Triton's `/metrics` gives it.

Source: Prometheus, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_LINE = 16 * 1024
"""The most characters of a line. Triton's have some hundreds."""

# What a part has taken it doesn't give back (*+, ++): a line is then read in a time that grows as it does.
_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:[ \t]*+\{(.*)\})?[ \t]++(\S++)(?:[ \t]++-?[0-9]++)?[ \t]*+"
)
_LABEL = re.compile(r'[ \t]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]++|\\.)*+)"[ \t]*+(?:,|$)')
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|Inf|NaN)", re.I)
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """The samples, in the text's order. A line that isn't one is left out, as comments are."""
    for line in io.StringIO(text, newline="\n"):
        if len(line) > LONGEST_LINE:
            continue
        found = _SAMPLE.fullmatch(line.strip(" \t\r\n"))
        if found is None or not _NUMBER.fullmatch(found[3]):
            continue
        labels = _labels(found[2] or "")
        if labels is not None:
            yield Sample(found[1], labels, float(found[3]))


def _labels(text: str) -> dict[str, str] | None:
    labels, at, end = {}, 0, len(text.rstrip())
    while at < end:
        found = _LABEL.match(text, at)
        if found is None:
            return None
        labels[found[1]] = _ESCAPED.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), found[2])
        at = found.end()
    return labels
