"""What a comparison of machines leaves for people: its page, and `summary.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness import atomic
from harness.report.compare_words import answer_lines, ratio_words, rows, standing_words, title_of
from harness.report.format import number
from harness.report.markdown import cells, plain
from harness.report.page.compare_page import write_compare_page
from harness.schema.compare_result import HardwareComparison


def write_compared(result: HardwareComparison, folder: Path) -> Path:
    """The page's path. Raises HarnessError where a file can't be written."""
    atomic.write_text(folder / "summary.md", "\n".join(compared_summary(result)) + "\n")
    page = folder / "compare.html"
    write_compare_page(result, page)
    return page


def compared_summary(result: HardwareComparison) -> Iterator[str]:
    """GitHub-flavoured Markdown. What was allowed stands at each table."""
    mark = f" (unfair: {', '.join(dict.fromkeys(e.name for e in result.allowed))})" if result.allowed else ""
    yield f"# {plain(title_of(result))}"
    yield ""
    for about, sentence in answer_lines(result):
        yield f"- **{plain(about)}**: {plain(sentence)}"
    yield from ("", f"## Ratios to {plain(result.machines[0].name)}{mark}", "")
    yield "| workload | machine | figure | reference | machine's | ratio (95%) | told | why |"
    yield "| :-- | :-- | :-- | --: | --: | --: | :-- | :-- |"
    for row in rows(result):
        texts = (row.workload, row.machine, row.what, row.reference, row.value, row.ratio, row.told, row.why)
        yield f"| {cells(texts)} |"
    yield from ("", f"## Latency at equal throughput{mark}", "")
    yield "| machine | requests/s | percentile | ratio (95%) | told |"
    yield "| :-- | --: | :-- | --: | :-- |"
    for workload in result.workloads:
        for machine, figures in zip(result.machines[1:], workload.figures[1:], strict=True):
            for each in figures.frontier:
                rate, of = number(each.throughput_per_s), ratio_words(each.ratio)
                told = standing_words(each.standing, each.percentile)
                yield f"| {cells((machine.name, rate, each.percentile, of, told))} |"
    yield from (
        "",
        "## What differs in the environment",
        "",
        "| what | weight | by machine |",
        "| :-- | :-- | :-- |",
    )
    for difference in result.environment:
        yield f"| {cells((difference.name, difference.weight, '; '.join(difference.values)))} |"
    yield from ("", "## What the data can't say", "")
    for each_unsaid in result.unsaid:
        yield f"- {plain(each_unsaid.question)} {plain(each_unsaid.why)}"
