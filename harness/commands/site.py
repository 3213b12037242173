"""`harness site`: what was measured, as pages that open without a server."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness import atomic, cache
from harness.clock import now
from harness.commands.progress import Progress
from harness.console import print_sentences
from harness.plain_file import open_plain
from harness.plain_text import written
from harness.report.format import count
from harness.report.history_words import skipped_lines
from harness.report.page.runs_page import DATA, runs_html, runs_script
from harness.report.page.scenario_page import ScenarioTrends, scenario_html
from harness.report.page.trend_chart import FIGURES
from harness.schema.errors import HarnessError, InputError
from harness.schema.history_result import HistoryRun, RunKind
from harness.schema.night_result import Baseline
from harness.schema.site_result import ScenarioPage, Site
from harness.store import baselines
from harness.store.history import queries
from harness.store.history.index import indexed
from harness.store.history.queries import Wanted
from harness.store.run_folder import slug
from harness.version import version

PAGES: dict[RunKind, str] = {
    "run": "report.html",
    "tune": "tune.html",
    "plan": "plan.html",
    "ab": "ab.html",
    "nightly": "ab.html",
}
"""The page that a run has of its own, in its folder."""

OVER_TIME: tuple[RunKind, ...] = ("run", "nightly")
"""What is set over time: searches, plans and experiments are only listed."""

COPIES = "pages"
"""The folder of copied pages in the site."""

RECORD = "site.json"


def site(results: Path, to: Path | None, *, copy_pages: bool, progress: Progress) -> Site:
    """Write the site to `to`, in place of an earlier one, whole or not at all.

    Raises InputError where `to` has something else than a site, and HarnessError where it can't be written.
    """
    folder = (results / "site" if to is None else to).resolve()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    with cache.lock(f"site-{name}", busy=f"{folder} is being written by another process: wait for it"):
        _check_ours(folder, results)
        with indexed(results, progress.say) as index:
            try:
                with atomic.new_folder(folder) as made:
                    return _filled(made, folder, results, index, copy_pages=copy_pages)
            except OSError as error:
                raise HarnessError(
                    f"the site can't be written to {written(folder)} ({error.strerror or error}): make room, "
                    "or give --to a folder that you can write; an earlier site is still there"
                ) from error


def show(found: Site) -> None:
    """What was written, on stdout."""
    pages = f"{count(found.runs, 'run')}, of which {found.linked:,} have a page of their own"
    print_sentences(
        [
            ("site", str(Path(found.path) / "index.html")),
            ("listed", f"{pages}; {count(len(found.scenarios), 'scenario')} over time"),
            *skipped_lines(found.skipped),
        ]
    )


def _check_ours(folder: Path, results: Path) -> None:
    """Raise InputError where the folder has something that no site has: it would be lost."""
    if results.resolve().is_relative_to(folder):
        raise InputError(f"{written(folder)} is where the runs lie: give --to a folder of its own")
    try:
        there = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"{written(folder)} is no folder that you can read ({error.strerror}): give --to another one"
        ) from error
    others = {name for name in there - {"index.html", DATA, RECORD, COPIES} if not _of_a_scenario(name)}
    if there and (others or RECORD not in there):
        raise InputError(
            f"{written(folder)} isn't a site that harness wrote, and what is in it would be lost: give --to "
            "a folder that is empty or not there yet"
        )


def _of_a_scenario(name: str) -> bool:
    return name.startswith("scenario-") and name.endswith(".html")


def _filled(made: Path, folder: Path, results: Path, index: Any, *, copy_pages: bool) -> Site:
    _, runs = queries.runs(index, Wanted())
    accepted, unread = baselines.accepted(results)
    hrefs = dict(_copied(made, results, runs) if copy_pages else _linked(folder, results, runs))
    over_time = {run.scenario for run in runs if run.kind in OVER_TIME}
    stems = _stems(over_time)
    done = Site(
        path=written(folder),
        results=written(results),
        made_at=now(),
        harness_version=version(),
        runs=len(runs),
        linked=len(hrefs),
        copied=copy_pages,
        scenarios=tuple(
            ScenarioPage(scenario=name, page=f"scenario-{stem}.html") for name, stem in sorted(stems.items())
        ),
        skipped=(*queries.skipped(index), *unread),
    )
    for each in done.scenarios:
        page = scenario_html(_trends(index, each.scenario, runs, accepted, hrefs))
        (made / each.page).write_text(page, encoding="utf-8")
    listed = runs_html(runs, hrefs, done.scenarios, done.skipped, made_at=done.made_at, results=done.results)
    (made / "index.html").write_text(listed, encoding="utf-8")
    (made / DATA).write_text(runs_script(runs, hrefs, done.scenarios), encoding="utf-8")
    (made / RECORD).write_text(done.model_dump_json(indent=1), encoding="utf-8")
    return done


def _trends(
    index: Any,
    scenario: str,
    runs: Sequence[HistoryRun],
    accepted: Sequence[Baseline],
    hrefs: Mapping[str, str],
) -> ScenarioTrends:
    judged: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for each in queries.judged(index, scenario):
        judged.setdefault((each.point, each.metric), {})[each.folder] = (each.outcome, each.why)
    return ScenarioTrends(
        scenario=scenario,
        runs=[run for run in runs if run.scenario == scenario and run.kind in OVER_TIME],
        trends={m: queries.trend(index, m, Wanted(scenario=scenario))[0] for m in FIGURES},
        judged=judged,
        baselines=[each for each in accepted if each.scenario == scenario],
        hrefs=hrefs,
    )


def _stems(names: Iterable[str]) -> dict[str, str]:
    """A file's name for each: its own where that can stand in an address and on any disk, and is nobody
    else's there; otherwise with a part of its digest."""
    every = sorted(names, key=lambda name: (slug(name) != name, name))
    many = Counter(slug(name).casefold() for name in every)
    found, taken = dict[str, str](), set[str]()
    for name in every:
        short, digest = slug(name), hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        alone = short == name and many[short.casefold()] == 1
        tries = (short,) if alone else (f"{short}-{digest[:8]}", f"{short}-{digest}")
        found[name] = next(stem for stem in tries if stem.casefold() not in taken)
        taken.add(found[name].casefold())
    return found


def _linked(folder: Path, results: Path, runs: Sequence[HistoryRun]) -> Iterator[tuple[str, str]]:
    """(a run's folder, the address of its page from the site), where the site lies in the results folder."""
    if not folder.is_relative_to(results.resolve()):
        return
    up = "/".join(".." for _ in folder.relative_to(results.resolve()).parts)
    for run in runs:
        if _is_plain(results / run.folder / PAGES[run.kind]):
            yield run.folder, f"{up}/{quote(run.folder)}/{PAGES[run.kind]}"


def _copied(made: Path, results: Path, runs: Sequence[HistoryRun]) -> Iterator[tuple[str, str]]:
    """The same of copies in the site."""
    (made / COPIES).mkdir()
    stems = _stems(run.folder for run in runs)
    for run in runs:
        page, name = results / run.folder / PAGES[run.kind], f"{COPIES}/{stems[run.folder]}.html"
        if not _is_plain(page):
            continue
        try:
            source = open_plain(page)
        except (InputError, OSError):  # it may not be read, or is another since
            continue
        with os.fdopen(source, "rb") as content, (made / name).open("wb") as copy:
            shutil.copyfileobj(content, copy)
        yield run.folder, name


def _is_plain(page: Path) -> bool:
    try:
        return stat.S_ISREG(page.lstat().st_mode)
    except OSError:
        return False
