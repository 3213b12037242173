"""What a comparison leaves for people and for CI: its page, `summary.md`, and `junit.xml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as xml

from harness import atomic
from harness.plain_text import shown
from harness.report.comparison_words import METRIC_WORDS, change_words, comparison_lines, metric_words
from harness.report.markdown import plain
from harness.report.page.comparison_page import write_comparison_page
from harness.schema.ab_result import Comparison, MetricVerdict, PointVerdict


def write_comparison(result: Comparison, folder: Path) -> Path:
    """The page's path. Raises HarnessError where a file can't be written."""
    atomic.write_text(folder / "summary.md", summary_of(result))
    atomic.write_text(folder / "junit.xml", junit(result))
    page = folder / "ab.html"
    write_comparison_page(result, page)
    return page


def summary_of(result: Comparison) -> str:
    """GitHub-flavoured Markdown."""
    one, other = result.arms
    beside = f" beside {plain(one.scenario)}" if result.nights is None else ""
    lines = [f"# {plain(other.scenario)}{beside}: {result.outcome}", ""]
    said_of = ("differs in", "not renewed", "verdict") if result.nights is None else ("compared", "verdict")
    told = [(about, said) for about, said in comparison_lines(result) if about in said_of]
    lines += [f"- **{about.capitalize()}**: {plain(said)}" for about, said in told]
    lines += ["", "| point | metric | outcome | change (95%) | margin |", "| :-- | :-- | :-- | --: | --: |"]
    for point in result.points:
        for metric in point.metrics:
            cells = (
                plain(point.point),
                METRIC_WORDS[metric.metric],
                metric.outcome,
                change_words(metric.change, metric.metric),
                f"{metric.margin:.3g}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    moved = [
        f"- {plain(point.point)}: {each.part} moved by {change_words(each.change, 'share')}"
        for point in result.points
        for each in point.moved
        if each.told
    ]
    if moved:
        lines += ["", "## What moved", "", *moved]
    left = [
        f"- {plain(point.point)}: {many} of its rounds left out: {plain(why)}"
        for point in result.points
        for why, many in point.left_out.items()
    ]
    if left:
        lines += ["", "## What doesn't count", "", *left]
    return "\n".join(lines) + "\n"


def junit(result: Comparison) -> str:
    """JUnit's XML as CI servers read it: a case a point and metric, in which a regression is a failure and
    what can't be told is skipped.

    Source: junit-10.xsd of Jenkins' xUnit plugin, which other CI servers follow.
    """
    cases = [case for point in result.points for case in _cases(point)]
    suite = xml.Element(
        "testsuite",
        name=_text(f"harness {result.arms[1].scenario}"),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        errors="0",
        time=f"{result.measured_s:.3f}",
        timestamp=result.started_at[:19],
    )
    suite.extend(cases)
    xml.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suite, encoding="unicode") + "\n"


def _cases(point: PointVerdict) -> Iterator[xml.Element]:
    """A case a metric; of a point in which no round counts, one."""
    for metric in point.metrics:
        name, seconds = METRIC_WORDS[metric.metric], point.measured_s / len(point.metrics)
        case = xml.Element("testcase", classname=_text(point.point), name=name, time=f"{seconds:.3f}")
        if metric.outcome == "regressed":
            failure = xml.SubElement(case, "failure", message=_text(metric_words(metric)), type="regressed")
            failure.text = "\n".join(map(_text, _parts(point)))
        elif metric.outcome == "inconclusive":
            xml.SubElement(case, "skipped", message=_text(metric_words(metric)))
        yield case
    if not point.metrics:
        case = xml.Element("testcase", classname=_text(point.point), name="measured", time="0.000")
        why = "; ".join(point.left_out) or "nothing was measured"
        xml.SubElement(case, "skipped", message=_text(why))
        yield case


def github_annotations(result: Comparison) -> Iterator[str]:
    """Workflow commands of GitHub Actions: an error for each metric that regressed, a warning for each that
    can't be told.

    Source: "Workflow commands for GitHub Actions", and escapeData in actions/toolkit's command.ts: %, CR and
    LF of a message are escaped.
    """
    kinds = {"regressed": "error", "inconclusive": "warning"}
    for point in result.points:
        for metric in point.metrics:
            if (kind := kinds.get(metric.outcome)) is not None:
                yield f"::{kind} title=harness::{_escaped(_sentence(point, metric))}"


def _sentence(point: PointVerdict, metric: MetricVerdict) -> str:
    return f"{point.point}, {METRIC_WORDS[metric.metric]}: {metric_words(metric)}"


def _escaped(text: str) -> str:
    return _text(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _parts(point: PointVerdict) -> Iterator[str]:
    for each in point.moved:
        told = "" if each.told else " (not told from none)"
        yield f"{each.part}: {change_words(each.change, 'share')}{told}"


def _text(text: str) -> str:
    """Without what XML and terminals can't have. Source: XML 1.0, section 2.2, production 2 (Char)."""
    return shown(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
