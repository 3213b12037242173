"""The page of a comparison of machines: the answer, the ratios, the front, what differs, what isn't said.

It has no script, and is drawn when it is written: it opens anywhere, and prints as it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness import atomic
from harness.report import format
from harness.report.compare_words import (
    answer_lines,
    bounds_words,
    configuration_words,
    latency_words,
    limits_words,
    ratio_words,
    rows,
    standing_words,
    title_of,
    workload_words,
)
from harness.report.page.frontier_chart import FrontierChart, frontier_charts
from harness.report.page.page import templates, text
from harness.schema.compare_result import HardwareComparison, Standing, WorkloadComparison
from harness.version import version

BADGE: dict[Standing, str] = {
    "more": "valid",
    "less": "valid",
    "not told apart": "inconclusive",
    "not known": "none",
}
"""The look of a standing: more is not always better, so both that are told look alike."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What the page says of one workload."""

    workload: WorkloadComparison
    name: str
    limits: str
    charts: Sequence[FrontierChart]


def write_compare_page(result: HardwareComparison, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises HarnessError where it can't be written."""
    atomic.write_text(path, compare_html(result), "make room")


def compare_html(result: HardwareComparison) -> str:
    """The page's text."""
    names = [machine.name for machine in result.machines]
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            result=result,
            maker=version(),
            style=Markup(text("page.css") + text("search.css") + text("compare.css")),
            title=title_of(result),
            names=names,
            answers=list(answer_lines(result)),
            rows=list(rows(result)),
            unfair=", ".join(dict.fromkeys(each.name for each in result.allowed)),
            panels=[
                Panel(each, workload_words(result, each), limits_words(each), frontier_charts(each, names))
                for each in result.workloads
            ],
            badge=BADGE,
            bounds_words=bounds_words,
            latency_words=latency_words,
            ratio_words=ratio_words,
            standing_words=standing_words,
            configuration_words=configuration_words,
            format=format,
        )
    )
