"""`harness tune`: search for the configuration that serves most under the objective, then prove it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from harness.analysis.outcomes import code_of, tune_outcome
from harness.commands.derived import import_libraries
from harness.commands.progress import Progress
from harness.commands.resumable import resumable_search
from harness.commands.run import RESULTS, models_of
from harness.commands.sittings import check_models
from harness.commands.tuning.answer_files import write_answer
from harness.commands.tuning.outcome import outcome
from harness.commands.tuning.proof import arms, prove
from harness.commands.tuning.search import PROOF, Search, measure, race_of, recall
from harness.commands.tuning.step_words import known_words, step_line
from harness.console import cells, console_for_tables, line, print_sentences
from harness.measurement.session import Session
from harness.measurement.testbed import Testbed, most_shared
from harness.report.page.search_page import write_search_page
from harness.report.search_words import answer_lines, headings, table
from harness.schema.errors import ExitCode, InputError
from harness.schema.tune_result import TuneResult
from harness.store import tune_file
from harness.store.run_folder import create_run
from harness.store.scenario_file import LoadedScenario


def tune(
    loaded: LoadedScenario,
    testbed: Testbed | None = None,
    *,
    minutes: float | None = None,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> TuneResult:
    """Search in a new folder under `results`. Raises HarnessError; what was measured is kept."""
    testbed, progress = testbed or Testbed(), progress or Progress()
    budget_s = 60 * (loaded.scenario.tune.minutes if minutes is None else minutes)
    race_of(loaded, budget_s)  # rather now than after the export: it raises
    testbed.check(loaded.name, loaded.points)
    models = models_of(loaded, testbed, progress)
    race = race_of(loaded, budget_s, models)
    folder = create_run(results, loaded, one_after_another=True)
    search = Search(loaded, folder, models, race, budget_s, progress)
    with folder.locked():
        check_models(folder, tuple(models.values()), measured=False)
        return searched(search, testbed)


def resume(
    what: Path | None,
    testbed: Testbed | None = None,
    *,
    results: Path = RESULTS,
    overrides: Sequence[str] = (),
    minutes: float | None = None,
    progress: Progress | None = None,
) -> TuneResult:
    """Go on with a search that was cut off: nothing is measured twice, and its budget is what is left of it.

    `what`: the search's folder, a scenario file (its latest unfinished search), or None (the latest).
    """
    if overrides or minutes is not None:
        raise InputError(
            "a search goes on as it began: leave out --set, --workers and --minutes, or leave out --resume"
        )
    testbed, progress = testbed or Testbed(), progress or Progress()
    folder, loaded, before = resumable_search(what, results, progress)
    testbed.check(loaded.name, loaded.points)
    models = models_of(loaded, testbed, progress)
    race = race_of(loaded, before.budget_s, models)
    search = Search(loaded, folder, models, race, before.budget_s, progress)
    with folder.locked():
        check_models(folder, tuple(search.models.values()), measured=bool(before.steps))
        progress.say(f"going on with {folder.path}, {before.used_s / 60:.1f} min into it")
        recall(search, before)
        return searched(search, testbed)


def searched(search: Search, testbed: Testbed) -> TuneResult:
    """Go through the search and the proof; the result is on disk after each step."""
    import_libraries()
    log, shared = search.folder.path / "server.log", most_shared(search.loaded.points)
    began = search.clock() - search.used_s
    finished = False
    try:
        with testbed.session(log, search.progress, shared_memory=shared) as session:
            _race(search, session, began)
        if arms(search) and not search.is_proven:
            with testbed.session(log, search.progress, shared_memory=shared) as session:
                prove(search, session, began + search.budget_s, lambda: _keep(search))
        search.folder.end()
        finished = True
    finally:
        result = _keep(search, finished=finished)
    for name in write_answer(search, result, gpu=testbed.target.gpu_usable):
        search.progress.say(f"wrote {search.folder.path / name}")
    page = search.folder.path / "tune.html"
    write_search_page(result, page)
    search.progress.say(f"page: {page}")
    return result


def _race(search: Search, session: Session, began: float) -> None:
    race = search.race
    # The proof begins with a start of its own.
    race.budget_s = (1 - PROOF) * search.budget_s - (search.clock() - began - search.used_s)
    while True:
        race.used_s = search.clock() - began
        asked = race.ask()
        if asked is None and race.leader is None and not race.decided and race.budget_s < search.budget_s:
            race.budget_s = search.budget_s  # without a leader there is nothing to prove
            continue
        if asked is None:
            return
        step, what = measure(search, session, asked, "search")
        race.tell(asked, what, step.took_s)
        _keep(search)
        search.progress.say(f"{step_line(search, step)}; {known_words(search, step)}")


def _keep(search: Search, *, finished: bool = False) -> TuneResult:
    result = outcome(search, finished=finished)
    tune_file.write(search.folder, result)
    return result


def show(result: TuneResult) -> None:
    """What was found, on stdout."""
    console = console_for_tables()
    rows = table(result)
    if rows:
        shown = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN, show_edge=False)
        for heading in headings(result):
            numeric = any(unit in heading for unit in ("/s", "ms", "J/", "MB"))
            shown.add_column(line(heading), justify="right" if numeric else "left")
        for row in rows:
            shown.add_row(*cells(row))
        console.print(shown)
    print_sentences(answer_lines(result))


def exit_code(result: TuneResult) -> ExitCode:
    """1 where nothing holds the objective, 3 where nothing could be measured, else 0."""
    return code_of(tune_outcome(result))
