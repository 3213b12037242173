"""`harness nightly`: did today's build get worse than the baseline, which is run once more beside it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.analysis.outcomes import code_of
from harness.cache import lock
from harness.clock import now
from harness.commands.comparing.announce import announce, of_night
from harness.commands.comparing.by_nights import ByNights, as_reference, reference_of
from harness.commands.comparing.environment_changes import changes
from harness.commands.comparing.experiment import Experiment, terms_of
from harness.commands.comparing.quiet import wait_until_quiet
from harness.commands.comparing.side import Side, check_alike
from harness.commands.progress import Progress
from harness.commands.run import RESULTS, models_of
from harness.console import print_sentences
from harness.measurement.testbed import Testbed
from harness.publish.webhook import Webhook
from harness.report.comparison_files import github_annotations
from harness.report.comparison_words import comparison_lines, why_outcome
from harness.report.format import count
from harness.schema.ab_result import Comparison
from harness.schema.errors import ExitCode, InputError
from harness.schema.expansion import expand
from harness.schema.night_result import Baseline, BaselineFigures, Night, Stored
from harness.store import baselines, night_file
from harness.store.baselines import Kept
from harness.store.run_folder import dated_folder, open_run
from harness.store.scenario_file import LoadedScenario
from harness.terminal import tell
from harness.triton.their_repository import TheirRepository
from harness.verdict.anytime import LEAST_ROUNDS
from harness.verdict.nights import FEWEST_NIGHTS


def nightly(
    loaded: LoadedScenario,
    testbed: Testbed | None = None,
    *,
    minutes_per_point: float | None = None,
    in_turns: bool = True,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> Night:
    """Compare the scenario's build with its baseline, in a new folder under `results`. Where there is no
    baseline, this build becomes it, and nothing is compared.

    Raises InputError where another night runs on this machine, HarnessError where nothing can be measured;
    what was measured is kept.
    """
    testbed, progress = testbed or Testbed(), progress or Progress()
    webhook = Webhook.of(os.environ)
    with _alone():
        testbed.check(loaded.name, loaded.points)
        models = models_of(loaded, testbed, progress)
        kept, reference = baselines.newest(results, loaded.name), reference_of(loaded, results, progress)
        check_alike(loaded, loaded, in_turns=in_turns)
        other = _other(kept, reference, loaded, in_turns=in_turns)
        folder = dated_folder(results, f"{loaded.name}-nightly")
        begun = _begun(folder, loaded, kept)
        night_file.write(folder, begun)
        candidate = Side.made("candidate", loaded, models, testbed, folder)
        first = kept is None
        if kept is None:
            begun, kept = _first(begun, candidate, results, progress)
        experiment = partial(
            Experiment.of, folder, terms=terms_of(loaded, minutes_per_point), in_turns=in_turns
        )
        if reference is not None:
            side = Side.made("reference", other, reference.models, testbed, folder)
            by_nights = ByNights.of(reference, kept, candidate, results, progress)
            ended = _compared(begun, experiment((side, candidate), by_nights=by_nights), kept, progress)
        elif first:
            ended = begun.model_copy(update={"finished_at": now()})
        else:
            side = Side.made("baseline", other, kept.models, _bed_of(kept, testbed), folder)
            ended = _compared(begun, experiment((side, candidate)), kept, progress)
        night_file.write(folder, ended)
    announce(webhook, of_night(ended), progress)
    return ended


def _other(
    kept: Kept | None, reference: Kept | None, loaded: LoadedScenario, *, in_turns: bool
) -> LoadedScenario:
    """What today's build is measured beside, if anything."""
    if reference is not None:
        return as_reference(reference, loaded, in_turns=in_turns)
    return loaded if kept is None else _as_built(kept, loaded, in_turns=in_turns)


def _begun(folder: Path, loaded: LoadedScenario, kept: Kept | None) -> Night:
    """A night as it stands until it comes to its end."""
    return Night(
        run_id=folder.name,
        path=str(folder),
        scenario=loaded.name,
        started_at=now(),
        finished_at=None,
        outcome="inconclusive",
        why="it was cut off",
        baseline=None if kept is None else _figures(kept),
        changed={},
        disturbed=None,
        waited_s=0.0,
        comparison=None,
    )


def _bed_of(kept: Kept, testbed: Testbed) -> Testbed:
    """With the repository that was kept, where its models are in one."""
    if kept.repository is None:
        return testbed
    theirs = TheirRepository.at(kept.repository)
    return replace(testbed, target=replace(testbed.target, theirs=theirs))


def _first(begun: Night, candidate: Side, results: Path, progress: Progress) -> tuple[Night, Kept]:
    """Without a baseline: the build becomes it, once it is seen to be served."""
    point = candidate.points(1.0, 0, in_turns=True)[0]
    with candidate.session(progress) as session:
        session.ready(point, candidate.models[point.dtype], candidate.loaded.folder)
        environment = session.environment
    kept = baselines.keep(
        results,
        candidate.loaded,
        candidate.models,
        repository=_repository(candidate.testbed),
        reason="the first build",
        night=begun.run_id,
        environment=environment,
    )
    why = "there was no baseline: this build is it from now on, and nothing was compared"
    return begun.model_copy(update={"outcome": "no baseline", "why": why}), kept


def _compared(begun: Night, experiment: Experiment, kept: Kept, progress: Progress) -> Night:
    """With the baseline, once the machine is quiet. One that stays busy is no hindrance where both sides have
    it alike."""
    candidate = experiment.sides[1]
    limits, wait_s = candidate.loaded.scenario.validity, 60 * experiment.terms.wait_minutes
    waited_s, disturbed = wait_until_quiet(limits, wait_s, progress.say)
    begun = begun.model_copy(update={"waited_s": waited_s, "disturbed": disturbed and disturbed.words})
    if disturbed is not None and (disturbed.of_a_gpu or not experiment.in_turns):
        why = f"nothing was measured, for the machine isn't quiet: {disturbed.words}"
        return begun.model_copy(update={"why": why, "finished_at": now()})
    try:
        found = experiment.measured(progress)
    except BaseException:
        cut_off = begun.model_copy(update={"comparison": experiment.result(finished=False)})
        night_file.write(experiment.folder, cut_off)
        raise
    here = candidate.folder.about(1).environment
    by_nights = experiment.by_nights
    stored = None if by_nights is None else by_nights.stored(experiment.points)
    few = found.nights is not None and len(found.nights) < FEWEST_NIGHTS
    return begun.model_copy(
        update={
            "outcome": "no baseline" if few else found.outcome,
            "why": _too_few(found, stored) if few else why_outcome(found),
            "changed": changes(kept.baseline.environment, here),
            "comparison": found,
            "stored": stored,
            "finished_at": now(),
        }
    )


def _too_few(compared: Comparison, stored: Stored | None) -> str:
    """Beside a reference, while the baseline is still being gathered."""
    left = {point.point for point in compared.points} - {
        point.point for point in (stored.points if stored else ())
    }
    added = "this one is added to them"
    if left:
        added = f"this one isn't added to them: {min(left)} has fewer than {LEAST_ROUNDS} rounds that count"
    nights = count(len(compared.nights or ()), "night")
    return f"{nights} of the baseline can be compared with, and {FEWEST_NIGHTS} are the fewest; {added}"


def _repository(testbed: Testbed) -> Path | None:
    theirs = testbed.target.theirs
    return None if theirs is None else theirs.path


def accept(
    loaded: LoadedScenario,
    reason: str,
    testbed: Testbed | None = None,
    *,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> Kept:
    """Make the candidate of the scenario's newest night the baseline, for a reason that is kept. Raises
    InputError where there is no such night, and where the build has changed since."""
    progress = progress or Progress()
    if not reason.strip():
        raise InputError("why is it accepted? give --accept a reason, which is kept with the baseline")
    with _alone():
        return _accepted(loaded, reason, testbed or Testbed(), results, progress)


def _accepted(
    loaded: LoadedScenario, reason: str, testbed: Testbed, results: Path, progress: Progress
) -> Kept:
    folder = night_file.latest(results, loaded.name, progress.say)
    run = open_run(folder / "candidate")
    measured = run.about(len({point.dtype for point in loaded.points}))
    today = models_of(loaded, testbed, progress)
    if [model.sha256 for model in measured.models] != [model.sha256 for model in today.values()]:
        raise InputError(
            f"the model of {loaded.name} isn't the one that the night {folder.name} measured: run "
            "`harness nightly` with it first"
        )
    begun = run.read_scenario().scenario.with_defaults()
    if begun != loaded.scenario.with_defaults():
        raise InputError(
            f"{loaded.name} isn't the scenario that the night {folder.name} measured: run `harness nightly` "
            "with it first"
        )
    return baselines.keep(
        results,
        loaded,
        today,
        repository=_repository(testbed),
        reason=reason,
        night=folder.name,
        environment=measured.environment,
    )


def _figures(kept: Kept) -> BaselineFigures:
    baseline = kept.baseline
    return BaselineFigures(
        accepted_at=baseline.accepted_at,
        reason=baseline.reason,
        night=baseline.night,
        harness_version=baseline.harness_version,
    )


def _as_built(kept: Kept, loaded: LoadedScenario, *, in_turns: bool) -> LoadedScenario:
    """Today's scenario with what belongs to the baseline's build: its numbers and how it is served. Nothing
    else that lies in its folder is read or run. Raises InputError where today's requests don't fit it."""
    build = {"server": kept.scenario.server, "dtype": kept.scenario.dtype}
    scenario = loaded.scenario.model_copy(update=build)
    try:
        before = replace(loaded, scenario=scenario, points=expand(scenario))
        check_alike(before, loaded, in_turns=in_turns)
    except InputError as error:
        raise InputError(f"the baseline can't be asked for what {loaded.name} asks: {error}") from error
    return before


def _alone() -> AbstractContextManager[None]:
    """No two nights of a user measure on one machine at once."""
    return lock("nightly", busy="another `harness nightly` measures on this machine: wait until it ends")


def exit_code(found: Night | Baseline) -> ExitCode:
    """As of `harness ab`; 0 where there was no baseline, or one was accepted."""
    return ExitCode.FINE if isinstance(found, Baseline) else code_of(found.outcome)


def show(found: Night | Baseline) -> None:
    """What was found, on stdout; under GitHub Actions its annotations, too."""
    print_sentences(_sentences(found))
    if (
        isinstance(found, Night)
        and found.comparison is not None
        and os.environ.get("GITHUB_ACTIONS") == "true"
    ):
        for annotation in github_annotations(found.comparison):
            tell(annotation)


def _sentences(found: Night | Baseline) -> Iterator[tuple[str, str]]:
    """(what a sentence is about, the sentence)."""
    if isinstance(found, Baseline):
        yield "baseline", f"{found.scenario} as the night {found.night} measured it: {found.reason}"
        return
    yield "night", f"{found.outcome}: {found.why}"
    if found.baseline is not None:
        yield "baseline", f"accepted at {found.baseline.accepted_at[:19]}: {found.baseline.reason}"
    if found.comparison is not None:
        yield from comparison_lines(found.comparison)
    if found.stored is not None and found.stored.passed_over:
        told = "; ".join(f"{count(many, 'night')}: {why}" for why, many in found.stored.passed_over.items())
        yield "not compared with", told
    if found.changed:
        told = "; ".join(f"{name} {before} → {after}" for name, (before, after) in found.changed.items())
        yield "since the baseline", f"{told}; both builds ran with today's: none of it is in the verdict"
