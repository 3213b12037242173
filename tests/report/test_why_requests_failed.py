"""Why requests failed stands wherever a run is told of: in the terminal, in summary.md, and on the page."""

import io

import pytest
from rich.console import Console

from harness.report.markdown import summary
from harness.report.page.page import write_page
from harness.report.table import print_table
from tests.report import factory, samples

REASONS = {f"HTTP 503: reason {n}": 1_204 - n for n in range(8)}


def run():
    """All requests of the first point failed, for eight reasons."""
    whole = factory.run_of(verdicts={0: "invalid"})
    first = whole.points[0]
    failed = sum(REASONS.values())
    changed = {"requests": failed, "errors": failed, "error_reasons": REASONS}
    return whole.model_copy(update={"points": (first.model_copy(update=changed), *whole.points[1:])})


def test_the_terminal_has_the_first_reasons_with_their_counts_and_how_many_more_there_are():
    out = io.StringIO()
    print_table(run(), Console(file=out, width=200))
    id_ = run().points[0].id
    told = [line.removeprefix(f"{id_}: ") for line in out.getvalue().splitlines() if line.startswith(id_)]
    assert "1,204 × HTTP 503: reason 0" in told
    assert "1,203 × HTTP 503: reason 1" in told
    assert any("other reason" in line for line in told)
    assert not any("reason 7" in line for line in told)


def test_the_summary_has_the_same():
    text = summary(run())
    (line,) = [each for each in text.splitlines() if each.startswith(f"- {run().points[0].id}: 1,204")]
    assert "1,203 × HTTP 503: reason 1" in line
    assert "other reason" in line


@pytest.mark.browser
def test_a_model_s_note_stands_on_the_page(browser, tmp_path):
    note = "the export leaves out the pooler, whose output no head reads"
    told = factory.run_of(model=factory.artifact(note=note))
    write_page(told, samples.series_for(told), tmp_path / "page.html")
    browser.get((tmp_path / "page.html").as_uri())
    assert note in [each.text for each in browser.find_elements("css selector", ".banner")]
