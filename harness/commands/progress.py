"""What a person sees while a run goes on: a live line on a terminal, plain lines in CI. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.status import Status
from rich.text import Text

from harness.console import TerminalConsole, line
from harness.report import format as words
from harness.report.percentile import figure_cell
from harness.schema.point import Point
from harness.schema.result import PointResult
from harness.schema.scenario import Measure

VERDICT_STYLE = {"valid": "green", "invalid": "red", "inconclusive": "yellow"}


class Progress:
    """Tells what happens. `quiet` says only what went wrong."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = TerminalConsole(stderr=True, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet
        self._quiet = quiet
        self._status: Status | None = None
        self._point = ""
        self._measure: Measure | None = None

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self._quiet:
            self._console.print(text)

    def detail(self, text: str) -> None:
        """What is going on within `doing`: a line that is rewritten, or one of its own."""
        if self._status is not None:
            self._status.update(line(text))
        else:
            self.say(f"  {text}")

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Say what takes a while, and how long it took."""
        began = time.monotonic()
        if self._live:
            with self._console.status(text) as self._status:
                yield
            self._status = None
        else:
            yield
        self.say(f"{text}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def point(self, number: int, of: int, point: Point, *, said: bool = True) -> Iterator[None]:
        """While a point is measured. `said`: whether a line of it stays where none can be rewritten."""
        self._point = f"[{number}/{of}] {point.label}"
        self._measure = point.measure if point.load.steady_by_design else None
        if self._live:
            with self._console.status(self._point) as self._status:
                yield
            self._status = None
        else:
            if said:
                self.say(self._point)
            yield

    def load(self, phase: str, elapsed_s: float, requests: int, errors: int) -> None:
        """How the load of the current point goes; shown only where a line can be rewritten."""
        if self._status is not None:
            failed = f", {errors} errors" if errors else ""
            text = f"{self._point}: {phase} {elapsed_s:.0f} s, {requests} requests{failed}"
            self._status.update(line(text + self._why_longer(phase, elapsed_s)))

    def _why_longer(self, phase: str, elapsed_s: float) -> str:
        """Why a measured phase goes on past its time."""
        measure = self._measure
        if measure is None or measure.at_most_s is None or phase != "measure":
            return ""
        if not measure.duration_s < elapsed_s < measure.at_most_s:
            return ""
        return f"; not precise enough yet, goes on to {measure.at_most_s:g} s at most"

    def result(self, number: int, of: int, result: PointResult) -> None:
        if self._quiet:
            return
        p99, rate = figure_cell(result.latency_s, "p99"), result.throughput_inferences_per_s
        figures = f"{words.number(rate)} inferences/s" if rate is not None else "no throughput"
        figures += f", p99 {p99.text} ms ({p99.small})" if p99.small else ", no p99"
        figures += f", bottleneck {result.bottleneck.name}" if result.bottleneck is not None else ""
        verdict = line(f"{result.verdict:>12}", VERDICT_STYLE[result.verdict])
        self._console.print(Text.assemble(verdict, line(f"  {number}/{of} {result.point.label}: {figures}")))
        for reason in result.reasons:
            self._console.print(f"              {reason}")
