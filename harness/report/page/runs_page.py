"""The site's first page: every run, filtered without a server.

Ten thousand rows would be slow to lay out, so the page has the newest ones as a table, and all of them as
data in a file of their own, of which its script shows a hundred at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from harness.plain_text import quoted
from harness.report import format
from harness.report.history_words import COLUMNS
from harness.report.page.page import script_hash, script_json, templates, text
from harness.report.page.scenario_page import BADGE, LONGEST
from harness.schema.history_result import HistoryRun, SkippedFolder
from harness.schema.site_result import ScenarioPage
from harness.version import version

DATA = "runs.js"
"""The file with the data, beside the page."""

MOST_ROWS = 200
"""Rows of the table where no script runs, the newest."""

MOST_SKIPPED = 1000
"""Folders that are named; `harness history --json` names all."""

FILTERED = ("scenario", "model", "host", "hardware", "kind", "outcome")
"""Columns with a choice of their values."""


class _Row(NamedTuple):
    cells: Sequence[str]
    outcome: str
    href: str | None
    scenario_page: str | None


def runs_html(
    runs: Sequence[HistoryRun],
    hrefs: Mapping[str, str],
    scenarios: Sequence[ScenarioPage],
    skipped: Sequence[SkippedFolder],
    *,
    made_at: str,
    results: str,
) -> str:
    """The page's text. `runs`: the newest first; `hrefs`: the page of a run, by its folder."""
    script = text("runs_list.js")
    return (
        templates()
        .get_template("runs.html.j2")
        .render(
            maker=version(),
            made_at=made_at,
            results=quoted(results),
            total=len(runs),
            style=Markup(text("page.css") + text("site.css")),
            script=Markup(script),
            hash=script_hash(script),
            data=DATA,
            columns=COLUMNS,
            rows=_rows(runs[:MOST_ROWS], hrefs, scenarios),
            filtered=FILTERED,
            scenarios=[(quoted(each.scenario, LONGEST) or "?", each.page) for each in scenarios],
            skipped=[quoted(each.why) for each in skipped[:MOST_SKIPPED]],
            more_skipped=max(0, len(skipped) - MOST_SKIPPED),
            badge=BADGE,
            format=format,
        )
    )


def runs_script(
    runs: Sequence[HistoryRun], hrefs: Mapping[str, str], scenarios: Sequence[ScenarioPage]
) -> str:
    """The data's script: a browser lets a page that is a file read no other file but a script."""
    data = {
        "columns": [column.title for column in COLUMNS],
        "numeric": [column.numeric for column in COLUMNS],
        "filtered": FILTERED,
        "badge": BADGE,
        "rows": [[*row.cells, row.href, row.scenario_page] for row in _rows(runs, hrefs, scenarios)],
    }
    return f'"use strict";\nconst listed = {script_json(data)};\n'


def _rows(
    runs: Sequence[HistoryRun], hrefs: Mapping[str, str], scenarios: Sequence[ScenarioPage]
) -> list[_Row]:
    pages = {each.scenario: each.page for each in scenarios}
    return [
        _Row(
            cells=[quoted(column.of(run), LONGEST) for column in COLUMNS],
            outcome=run.outcome,
            href=hrefs.get(run.folder),
            scenario_page=pages.get(run.scenario),
        )
        for run in runs
    ]
