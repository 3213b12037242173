"""Two sides, measured round by round until each question is settled or the time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import atomic
from harness.clock import now
from harness.commands.comparing.by_nights import ByNights
from harness.commands.comparing.rounds import Rounds
from harness.commands.comparing.side import Side, differences
from harness.commands.derived import import_libraries
from harness.commands.progress import Progress
from harness.report import benchmark_json
from harness.report.comparison_files import write_comparison
from harness.report.comparison_words import round_line
from harness.schema.ab_result import Comparison, PointVerdict
from harness.schema.regression_section import Regression
from harness.store import ab_file
from harness.store.scenario_file import LoadedScenario
from harness.verdict.export_parity import with_parity
from harness.verdict.judge import RoundsOfPoint, is_settled, judge, worst
from harness.version import version


@dataclass
class Experiment:
    """All that belongs to one comparison."""

    folder: Path
    sides: tuple[Side, Side]
    terms: Regression
    points: list[RoundsOfPoint]
    in_turns: bool = True
    """Whether the sides are loaded in turns, side by side; else one after the other."""
    by_nights: ByNights | None = None
    """Where the first side is a reference: how the second is judged by the nights before."""
    started_at: str = field(default_factory=now)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        folder: Path,
        sides: tuple[Side, Side],
        terms: Regression,
        *,
        in_turns: bool = True,
        by_nights: ByNights | None = None,
    ) -> Experiment:
        points = [RoundsOfPoint(point.label, dict(point.params)) for point in sides[1].loaded.points]
        return cls(folder, sides, terms, points, in_turns, by_nights)

    def measured(self, progress: Progress) -> Comparison:
        """Go through the rounds; the result is on disk after each. Raises HarnessError; what was measured is
        kept."""
        import_libraries()
        one, other = self.sides
        finished = False
        try:
            with one.session(progress) as first, other.session(progress) as second:
                rounds = Rounds(self.sides, (first, second), self.terms, progress, in_turns=self.in_turns)
                while open_ := self._open():
                    rounds.measure(self.points, open_)
                    result = self.result(finished=False)
                    ab_file.write(self.folder, result)
                    progress.say(round_line(rounds.made, result))
            for side in self.sides:
                side.folder.end()
            finished = True
        finally:
            result = self.result(finished=finished)
            ab_file.write(self.folder, result)
        page = write_comparison(result, self.folder)
        benchmarks = benchmark_json.of_comparison(result, self.points)
        atomic.write_text(self.folder / benchmark_json.NAME, benchmarks)
        progress.say(f"page: {page}")
        return result

    def result(self, *, finished: bool) -> Comparison:
        """What is known so far."""
        points, nights, (one, other) = self._judged(), self.by_nights, self.sides
        if nights is None:
            points = tuple(self._with_parity(number, point) for number, point in enumerate(points))
        return Comparison(
            run_id=self.folder.name,
            path=str(self.folder),
            started_at=self.started_at,
            finished_at=now() if finished else None,
            harness_version=version(),
            terms=self.terms,
            in_turns=self.in_turns,
            nights=None if nights is None else tuple(night.run_id for night in nights.told_apart()[0]),
            arms=(one.figures("baseline" if nights is None else "reference"), other.figures("candidate")),
            differs=differences(one, other),
            points=points,
            outcome=worst([point.outcome for point in points]),
            measured_s=time.monotonic() - self.began,
        )

    def _with_parity(self, number: int, verdict: PointVerdict) -> PointVerdict:
        before, after = (side.models[side.loaded.points[number].dtype] for side in self.sides)
        return with_parity(verdict, before, after, self.terms.margins.parity)

    def _judged(self) -> tuple[PointVerdict, ...]:
        """Of each point, by what is known so far."""
        if self.by_nights is None:
            return judge(self.points, self.terms)
        return self.by_nights.judged(self.points, self.terms)

    def _open(self) -> list[int]:
        """Numbers of the points that one more round may settle, and that have the time for it. Nights are
        compared as whole ones, so that each takes all of its time."""
        most_s = 60 * self.terms.minutes_per_point
        open_ = [
            number for number, point in enumerate(self.points) if point.measured_s + point.longest_s <= most_s
        ]
        if self.by_nights is not None:
            return open_
        verdicts = judge(self.points, self.terms)
        return [number for number in open_ if not is_settled(verdicts[number])]


def terms_of(loaded: LoadedScenario, minutes_per_point: float | None) -> Regression:
    """How it is compared, by the scenario and by what was asked for in place of it."""
    terms = loaded.scenario.regression
    if minutes_per_point is None:
        return terms
    return terms.model_copy(update={"minutes_per_point": minutes_per_point})
