"""What a run leaves behind for people to read, of a run in which every text was written by somebody else."""

import csv
import io
import json
import re

import pytest

from harness.plain_text import shown
from harness.report.accuracy import accuracy_page
from harness.report.gpu_check import gpu_page
from harness.report.markdown import plain, summary
from harness.report.page.page import page_html
from harness.report.perf_analyzer_csv import csv_files
from harness.schema.gpu_check import Comparison, EnergyCheck, GpuCheck
from tests.hostile import ACTING, HONEST, HOSTILE, poisoned
from tests.report import factory, gpu_factory, samples
from tests.report.browser import choose, visit
from tests.report.test_accuracy import FOUND

RUN = poisoned(factory.run_of(verdicts={5: "invalid"}, error_text=HOSTILE))
ON_GPUS = poisoned(gpu_factory.run_on_two())


def gpu_check():
    run = gpu_factory.run_on_two()
    beside = Comparison(
        model=run.model, axes={"tokens": 1}, batch=1, load="concurrency 1", rounds=(), ratio=None
    )
    energy = EnergyCheck(label="p", device=0, seconds=1, energy_j=1, energy_j_by_power=1, ratio=1)
    return GpuCheck(
        started_at="a",
        finished_at="b",
        command="harness",
        path="p",
        environment=run.environment,
        run="r",
        recording=None,
        points=(),
        comparison=beside,
        energy=(energy,),
        client=None,
        probe=None,
        failures=("no",),
    )


def pages():
    yield "summary", summary(RUN)
    yield "summary on GPUs", summary(ON_GPUS)
    yield "accuracy", accuracy_page(poisoned(FOUND))
    yield "gpu", gpu_page(poisoned(gpu_check()))


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in pages()])
def test_markdown_of_hostile_names_is_text_and_nothing_else(text):
    assert "title" in text and not ACTING.search(text)
    text = re.sub(r"`[^`\n]*`", "code", text)  # in which nothing is a link, HTML or emphasis
    assert not re.search(r"<(?!/?br>)", text) and "harness: all is well" in text
    assert not re.search(r"^harness: all is well", text, re.M), "a name began a line"
    assert not re.search(r"(?<!\\)\]\(|https?://|(?<!\\)~~|\bwww\.", text), "a link, or struck out"
    assert not re.search(r"(?<![\\A-Za-z0-9])_a_", text), "emphasis"


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in pages()])
def test_a_row_of_a_table_keeps_its_cells(text):
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert tables
    for table in tables:
        cells = {re.sub(r"\\.", "", row).count("|") for row in table.splitlines()}
        assert len(cells) == 1, table


def test_what_honest_people_write_stays_in_the_summary():
    name = HONEST.removesuffix(" [1]")
    assert f"# {name}, " in summary(factory.run_of(model=factory.artifact(name=name)))
    assert plain("a_b precision_mode=FP16 1.5 ~ 2") == r"a_b precision_mode=FP16 1.5 \~ 2"


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1", "a,\n=1"]
)
def test_no_cell_of_the_csv_is_a_formula(name):
    run = gpu_factory.run_on_two()
    gpus = tuple(g.model_copy(update={"uuid": name}) for g in run.environment.gpus)
    points = tuple(p.model_copy(update={"id": name}) for p in run.points)
    hostile = run.model_copy(
        update={"points": points, "environment": run.environment.model_copy(update={"gpus": gpus})}
    )
    for made in (run, hostile):
        assert csv_files(made)
        for text in csv_files(made).values():
            rows = list(csv.reader(io.StringIO(text)))
            assert len(rows) == 1 + len(run.points)
            for cell in (cell for row in rows for cell in row):
                assert not ACTING.search(cell) and "\n" not in cell
                assert cell[:1] not in ("=", "+", "-", "@") or re.fullmatch(r"-[\d.e+-]+", cell), cell
                assert not re.search(r";\s*[=+@]", cell), cell


def data_of_page(text):
    """All that its scripts read."""
    return [
        json.loads(found) for found in re.findall(r'application/json" id="[^"]*">(.*?)</script>', text, re.S)
    ]


def strings(value):
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        return [s for each in value for s in strings(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("run", [RUN, ON_GPUS], ids=["run", "on GPUs"])
def test_the_page_shows_what_acts_as_its_escape_also_in_its_charts(run):
    text = page_html(run, samples.series_for(run))
    own = text.partition("<script>")[0]  # behind it are plotly's code and the page's
    assert "title" in own and not ACTING.search(own)
    told = strings(data_of_page(text))
    assert any(r"\x1b]0;title\x07" in s for s in told)
    assert [ascii(s) for s in told if ACTING.search(s) or "\n" in s] == []
    assert text.count("<script>") == 7
    assert text.count("<script") == 7 + 1 + len(run.points)


def test_the_page_of_honest_names_has_them_as_they_are():
    run = factory.run_of(model=factory.artifact(name=HONEST), error_text=HONEST, verdicts={5: "invalid"})
    text = page_html(run, samples.series_for(run))
    assert f"<h1>{HONEST}</h1>" in text and f"61 × {HONEST}" in text


@pytest.mark.browser
def test_a_browser_draws_the_page_of_hostile_names_and_runs_nothing_of_theirs(browser, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(page_html(RUN, samples.series_for(RUN)), encoding="utf-8")
    visit(browser, page)
    choose(browser, "chosen", RUN.points[1].id)
    assert shown(RUN.model.name.split("\n")[0])[:40] in browser.title
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
