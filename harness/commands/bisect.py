"""`harness ab --bisect`: the first commit whose build is worse than that of a good one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.clock import now
from harness.commands.bisecting.commit_build import Repository, built
from harness.commands.comparing.experiment import Experiment, terms_of
from harness.commands.comparing.side import Side, check_alike
from harness.commands.progress import Progress
from harness.commands.run import RESULTS, Models
from harness.console import print_sentences
from harness.measurement.testbed import Testbed
from harness.report.comparison_words import moved_words
from harness.report.format import count
from harness.schema.ab_result import Comparison
from harness.schema.bisect_result import Bisection, BisectOutcome, Commit, Judgement, Step
from harness.schema.errors import ExitCode, InputError
from harness.schema.regression_section import Regression
from harness.store import bisect_file
from harness.store.run_folder import dated_folder
from harness.store.scenario_file import LoadedScenario
from harness.verdict.bisection import Search
from harness.version import version

JUDGED: dict[str, Judgement] = {
    "regressed": "bad",
    "pass": "good",
    "improved": "good",
    "inconclusive": "untold",
}
"""A build, by the outcome of its comparison with the good one."""


def bisect(
    loaded: LoadedScenario,
    commits: str,
    testbed: Testbed | None = None,
    *,
    minutes_per_point: float | None = None,
    in_turns: bool = True,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> Bisection:
    """Search `commits`, "GOOD..BAD", of the repository that the scenario lies in. Each build that is asked
    for is measured in turns with the good one's, under today's scenario. Raises HarnessError; what was found
    is kept."""
    testbed, progress = testbed or Testbed(), progress or Progress()
    check_alike(loaded, loaded, in_turns=in_turns)
    testbed.check(loaded.name, loaded.points)
    repository = Repository.of(loaded.folder)
    good, bad = (repository.commit(name) for name in _both(commits))
    line = repository.between(good, bad)
    models = built(good, repository, loaded)
    if isinstance(models, str):
        raise InputError(f"the good commit {good.sha[:12]} can't be built: {models}")
    folder = dated_folder(results, f"{loaded.name}-bisect")
    terms = terms_of(loaded, minutes_per_point)
    search = _Bisect(loaded, repository, folder, good, line, models, testbed, terms, in_turns, progress)
    return search.run()


def _both(commits: str) -> tuple[str, str]:
    good, dots, bad = commits.partition("..")
    if not good or not dots or bad.startswith("."):
        raise InputError(f"{commits!r} isn't GOOD..BAD: give two commits, the older one first")
    return good, bad or "HEAD"


@dataclass
class _Bisect:
    """One search."""

    loaded: LoadedScenario
    repository: Repository
    folder: Path
    good: Commit
    line: list[Commit]
    """From the first after the good one to the bad one."""
    models: Models
    """The good one's."""
    testbed: Testbed
    terms: Regression
    in_turns: bool
    progress: Progress
    started_at: str = field(default_factory=now)
    steps: list[Step] = field(default_factory=list)
    judged: dict[tuple[str, ...], Step] = field(default_factory=dict)
    """By what the models are."""

    def __post_init__(self) -> None:
        self.search = Search(len(self.line))

    def run(self) -> Bisection:
        most = 1 + self.search.most()
        minutes = most * len(self.loaded.points) * self.terms.minutes_per_point
        commits, comparisons = count(len(self.line), "commit"), count(most, "comparison")
        self.progress.say(f"{commits}: at most {comparisons}, and {minutes:.0f} minutes")
        last = self._step(len(self.line) - 1)
        if last.judgement == "bad":
            while (number := self.search.next()) is not None:
                self.search.known[number] = self._step(number).judgement
        found = self._found(now())
        bisect_file.write(self.folder, found)
        return found

    def _step(self, number: int) -> Step:
        """Judge a commit."""
        commit = self.line[number]
        self.progress.say(f"commit {commit.sha[:12]} {commit.subject}")
        step = self._judgement(commit)
        self.steps.append(step)
        self.progress.say(f"  {step.judgement}: {step.why}")
        bisect_file.write(self.folder, self._found(None))
        return step

    def _judgement(self, commit: Commit) -> Step:
        models = built(commit, self.repository, self.loaded)
        if isinstance(models, str):
            why = f"it can't be built: {models}"
            return Step(commit=commit, judgement="untold", why=why, comparison=None)
        same = _sha256(models)
        if same == _sha256(self.models):
            why = f"its models are those of {self.good.sha[:12]}, byte by byte"
            return Step(commit=commit, judgement="good", why=why, comparison=None)
        if (before := self.judged.get(same)) is not None:
            why = f"its models are those of {before.commit.sha[:12]}, byte by byte"
            return before.model_copy(update={"commit": commit, "why": why})
        step = self._compared(commit, models)
        self.judged[same] = step
        return step

    def _compared(self, commit: Commit, models: Models) -> Step:
        place = self.folder / f"{len(self.steps) + 1:02}-{commit.sha[:12]}"
        place.mkdir()
        sides = (
            Side.made("baseline", self.loaded, self.models, self.testbed, place),
            Side.made("candidate", self.loaded, models, self.testbed, place),
        )
        found = Experiment.of(place, sides, self.terms, in_turns=self.in_turns).measured(self.progress)
        return Step(
            commit=commit,
            judgement=JUDGED[found.outcome],
            why=_why(found),
            comparison=place.name,
            moved=tuple(each for each in found.points[0].moved if each.told),
        )

    def _found(self, finished_at: str | None) -> Bisection:
        outcome = self._outcome()
        told = outcome in ("found", "narrowed")
        return Bisection(
            run_id=self.folder.name,
            path=str(self.folder),
            scenario=self.loaded.name,
            started_at=self.started_at,
            finished_at=finished_at,
            harness_version=version(),
            good=self.good,
            bad=self.line[-1],
            commits=len(self.line),
            steps=tuple(self.steps),
            suspects=tuple(self.line[number] for number in self.search.suspects) if told else (),
            outcome=outcome,
        )

    def _outcome(self) -> BisectOutcome:
        if not self.steps or self.steps[0].judgement == "untold":
            return "inconclusive"
        if self.steps[0].judgement == "good":
            return "not worse"
        return "found" if len(self.search.suspects) == 1 else "narrowed"


def _sha256(models: Models) -> tuple[str, ...]:
    return tuple(model.sha256 for model in models.values())


def _why(found: Comparison) -> str:
    """What decided, of its first point that has the comparison's outcome."""
    for point in found.points:
        for metric in point.metrics:
            if metric.outcome == found.outcome:
                return f"{metric.metric} of {point.point}: {metric.why}"
    return f"after {count(sum(point.rounds for point in found.points), 'round')}"


def exit_code(found: Bisection) -> ExitCode:
    """1 where the bad commit is worse, 3 where that can't be told, else 0."""
    if found.outcome in ("found", "narrowed"):
        return ExitCode.OBJECTIVE_MISSED
    return ExitCode.INVALID if found.outcome == "inconclusive" else ExitCode.FINE


def show(found: Bisection) -> None:
    """What was found, on stdout."""
    print_sentences(_sentences(found))


def _sentences(found: Bisection) -> Iterator[tuple[str, str]]:
    """(what a sentence is about, the sentence)."""
    yield "searched", f"{count(found.commits, 'commit')} after {_named(found.good)}"
    for step in found.steps:
        yield step.judgement, f"{_named(step.commit)}: {step.why}"
    match found.outcome:
        case "found":
            yield "first bad commit", _named(found.suspects[0])
            first = next((step for step in found.steps if step.commit == found.suspects[0]), None)
            if first is not None and first.moved:
                yield "moved", moved_words(list(first.moved))
        case "narrowed":
            yield "first bad commit", f"one of {', '.join(each.sha[:12] for each in found.suspects)}"
        case "not worse":
            yield "first bad commit", f"none: {found.bad.sha[:12]} isn't worse than {found.good.sha[:12]}"
        case "inconclusive":
            yield "first bad commit", f"whether {found.bad.sha[:12]} is worse can't be told"


def _named(commit: Commit) -> str:
    return f"{commit.sha[:12]} {commit.subject}"
