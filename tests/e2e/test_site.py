"""`harness site` on the command line: what it writes, what it leaves alone, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.schema.errors import HarnessError, InputError
from tests.e2e.conftest import Workplace
from tests.mounts import read_only
from tests.report.browser import arrived, complaints, requested, visit
from tests.report.past_nights import nights
from tests.report.test_comparison_page import comparison
from tests.store.finished import finished_run
from tests.store.past_runs import PastRuns
from tests.store.test_history_index import night

PAGE = "<!doctype html><link rel=icon href='data:,'><title>{}</title>"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("of")).path


@pytest.fixture
def place(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Ten runs of `small` of which one has lost its page, one that was cut off, two nights and a baseline."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    past = PastRuns(tmp_path / "results", template)
    for day in range(10):
        run = past.made(day, p99_s=0.02 if day < 5 else 0.03)
        (run.path / "report.html").write_text(PAGE.format(run.path.name))
    (past.results / "20260104T000000Z-small" / "report.html").unlink()
    past.made(4, name="half", finished=False)
    for day, name, found in (
        (20, "first", night()),
        (21, "second", night(outcome="regressed", comparison=comparison(), why="p50 at 8 users is worse")),
    ):
        (past.results / name).mkdir()
        begun = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)).isoformat()
        (past.results / name / "nightly.json").write_text(
            found.model_copy(update={"started_at": begun}).model_dump_json()
        )
    (past.results / "second" / "ab.html").write_text(PAGE.format("the second night"))
    (baseline,) = nights(3, scenario="small").baselines
    kept = past.results / "baselines" / "small" / "20260115T000000Z"
    kept.mkdir(parents=True)
    moved = baseline.model_copy(update={"accepted_at": "2026-01-15T00:00:00+00:00"})
    (kept / "baseline.json").write_text(moved.model_dump_json())
    lost = past.results / "baselines" / "small" / "20260116T000000Z"
    lost.mkdir()
    (lost / "baseline.json").write_text("{")
    return Workplace(tmp_path)


def everything_in(folder: Path) -> dict[str, tuple[int, str]]:
    """mtime and digest of each file but the site's."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file() and folder / "site" not in path.parents
    }


def test_the_site_leads_from_the_list_to_each_run(place: Workplace, browser: Any) -> None:
    before = everything_in(place.path / "results")
    done = place.run("site")
    assert done.code == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    site = place.path / "results" / "site"
    assert lines[0] == f"site: {site}/index.html"
    assert lines[1] == "listed: 12 runs, of which 10 have a page of their own; 1 scenario over time"
    assert "half isn't finished" in lines[2] and "baseline.json is damaged" in lines[3] and len(lines) == 4
    assert everything_in(place.path / "results") == before
    assert {path.name for path in site.iterdir()} == {
        "index.html",
        "runs.js",
        "scenario-small.html",
        "site.json",
    }

    visit(browser, site / "index.html")
    assert browser.find_element("id", "count").text == "12 of 12 runs"
    links = browser.find_elements("css selector", "#runs-table tbody th a")
    hrefs = [link.get_attribute("href") for link in links]
    assert len(hrefs) == 10 and all(Path(href.removeprefix("file://")).is_file() for href in hrefs)
    assert "half isn't finished" in browser.find_element("id", "skipped").text
    links[-1].click()
    arrived(browser, "20260101T000000Z-small")
    visit(browser, site / "index.html")
    browser.find_element("css selector", ".scenarios a").click()
    arrived(browser, "small over time")
    strip = browser.find_elements("css selector", ".strip .spot")
    assert [mark.get_attribute("title") for mark in strip] == [
        "2026-01-22 00:00 UTC: regressed, p50 at 8 users is worse",
        "2026-01-21 00:00 UTC: no baseline, there was no baseline",
    ]
    charts = browser.find_elements("css selector", "figure .trend")
    said = [chart.get_attribute("aria-label") for chart in charts]
    assert any("p99: 10 values" in each and "+50.0% since 2026-01-06 00:00 UTC" in each for each in said)
    worse = browser.find_elements("css selector", "figure .spot.regressed")
    assert worse and worse[0].get_attribute("href") == (site.parent / "second" / "ab.html").as_uri()
    assert browser.find_elements("css selector", "figure .accepted")
    assert complaints(browser) == [] and requested(browser) == []


def test_its_document_and_from_python(place: Workplace) -> None:
    document = place.run("site", "--json").document
    assert (document["schema_version"], document["runs"], document["linked"]) == (1, 12, 10)
    assert document["scenarios"] == [{"scenario": "small", "page": "scenario-small.html"}]
    assert json.loads((place.path / "results/site/site.json").read_text()) == document
    again = harness.site("results", to="elsewhere", quiet=True)
    assert (again.runs, again.linked, again.path) == (12, 0, str(place.path / "elsewhere"))
    assert "report.html" not in (place.path / "elsewhere" / "runs.js").read_text()


def test_again_and_again_and_what_is_gone_goes(place: Workplace, template: Path) -> None:
    PastRuns(place.path / "results", template).made(0, scenario="gone")
    harness.site("results", quiet=True)
    site = place.path / "results" / "site"
    assert (site / "scenario-gone.html").exists()
    shutil.rmtree(place.path / "results" / "20260101T000000Z-gone")
    harness.site("results", quiet=True)
    assert {path.name for path in site.iterdir()} == {
        "index.html",
        "runs.js",
        "scenario-small.html",
        "site.json",
    }
    assert [path.name for path in site.parent.glob(".*")] == [], "nothing else is left"


def test_copied_pages_need_the_results_no_more(place: Workplace, browser: Any) -> None:
    done = harness.site("results", to="public/site", copy_pages=True, quiet=True)
    assert (done.linked, done.copied) == (10, True)
    shutil.move(place.path / "public", place.path / "moved")
    shutil.rmtree(place.path / "results")
    visit(browser, place.path / "moved" / "site" / "index.html")
    browser.find_element("css selector", "#runs-table tbody th a").click()
    arrived(browser, "the second night")


def test_a_page_that_is_a_link_is_neither_linked_nor_copied(place: Workplace) -> None:
    secret = place.path / "secret"
    secret.write_text("hidden")
    page = place.path / "results" / "second" / "ab.html"
    page.unlink()
    page.symlink_to(secret)
    assert harness.site("results", quiet=True).linked == 9
    harness.site("results", to="copied", copy_pages=True, quiet=True)
    copies = list((place.path / "copied" / "pages").iterdir())
    assert len(copies) == 9 and not any("hidden" in copy.read_text() for copy in copies)


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("mine", "mine isn't a site that harness wrote, and what is in it would be lost: give --to a folder"),
        ("results", "results is where the runs lie: give --to a folder of its own"),
        (".", "is where the runs lie"),
        ("file", "is no folder that you can read"),
    ],
)
def test_a_folder_with_anything_else_in_it_is_left_alone(
    place: Workplace, folder: str, sentence: str
) -> None:
    (place.path / "mine").mkdir()
    (place.path / "mine" / "index.html").write_text("my own page")
    (place.path / "file").write_text("")
    before = everything_in(place.path)
    with pytest.raises(InputError, match=sentence):
        harness.site("results", to=folder, quiet=True)
    assert {name: of for name, of in everything_in(place.path).items() if "cache" not in name} == before


def test_a_site_with_a_file_of_the_users_is_left_alone(place: Workplace) -> None:
    harness.site("results", quiet=True)
    notes = place.path / "results" / "site" / "notes.txt"
    notes.write_text("mine")
    done = place.run("site")
    (sentence,) = done.stderr.splitlines()
    assert (done.code, done.stdout) == (2, "") and "isn't a site that harness wrote" in sentence
    assert notes.read_text() == "mine"


def test_where_it_cant_be_written_the_earlier_one_stays(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.site("results", quiet=True)
    index = place.path / "results" / "site" / "index.html"
    before = index.read_bytes()
    with (
        read_only(place.path / "results"),
        pytest.raises(HarnessError, match="give --to a folder that you can"),
    ):
        harness.site("results", quiet=True)

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.commands.site.runs_script", full)
    with pytest.raises(HarnessError, match=r"No space left on device.*an earlier site is still there"):
        harness.site("results", quiet=True)
    assert index.read_bytes() == before and not list((place.path / "results").glob(".making-*"))


def test_pages_of_scenarios_never_share_a_file(place: Workplace, template: Path) -> None:
    taken = f"a-b-{hashlib.sha256(b'a b').hexdigest()[:8]}"
    names = (
        taken,
        "Small",
        "../../x",
        "a/b",
        "a b",
        "a-b",
        "<script>",
        "-",
        "",
        "x" * 300,
        "x" * 301,
        "עברית",
        ".",
    )
    past = PastRuns(place.path / "results", template)
    for number, name in enumerate(names):
        past.made(30 + number, name=f"20260301T0000{number:02}Z-n", scenario=name)
    done = harness.site("results", quiet=True)
    pages = [each.page for each in done.scenarios]
    assert len(pages) == len(names) + 1 == len({page.casefold() for page in pages})
    site = place.path / "results" / "site"
    assert all((site / page).is_file() and page.isascii() and len(page) < 100 for page in pages)
    assert dict((each.scenario, each.page) for each in done.scenarios)["a-b"].startswith("scenario-a-b")
    assert {path.name for path in site.iterdir()} == {*pages, "index.html", "runs.js", "site.json"}
    assert os.path.commonpath([site, *(site / page for page in pages)]) == str(site)


def test_an_empty_results_folder_has_a_site(place: Workplace) -> None:
    (place.path / "none").mkdir()
    done = harness.site("none", quiet=True)
    assert (done.runs, done.scenarios) == (0, ())
    assert "No run in none came to its end yet" in (place.path / "none" / "site" / "index.html").read_text()
