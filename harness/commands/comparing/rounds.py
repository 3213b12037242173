"""A round: each point of both sides, on servers that have just been started."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from random import Random

from harness.commands.comparing.side import Side
from harness.commands.derived import derived, keep_of, tidy
from harness.commands.measured import measured
from harness.commands.progress import Progress
from harness.commands.sittings import check_environment
from harness.measurement.arms import Arm
from harness.measurement.arms import measured as measured_in_turns
from harness.measurement.session import Session
from harness.schema.point import Point
from harness.schema.regression_section import Regression
from harness.schema.result import PointResult
from harness.schema.turns import Turns
from harness.verdict.judge import Round, RoundsOfPoint

GAP_S = 0.05
"""Between blocks of an open loop: one arm's last requests are answered before the next one's first."""


class Rounds:
    """Measures the points of several sides, round by round."""

    def __init__(
        self,
        sides: Sequence[Side],
        sessions: Sequence[Session],
        terms: Regression,
        progress: Progress,
        *,
        in_turns: bool,
    ) -> None:
        self._sides, self._sessions, self._terms = sides, sessions, terms
        self._progress, self._in_turns = progress, in_turns
        self.made = 0
        """So many rounds."""

    def measure(self, points: Sequence[RoundsOfPoint], open_: Sequence[int]) -> None:
        """One more round of the points whose numbers are `open_`, of two sides. Raises HarnessError."""
        for number, (baseline, candidate), took_s in self.one_more(open_):
            points[number].rounds.append(Round(baseline, candidate, took_s))

    def one_more(self, open_: Sequence[int]) -> Iterator[tuple[int, list[PointResult], float]]:
        """A round of the points whose numbers are `open_`: the number, the figures of each side, and how many
        seconds it took. Raises HarnessError."""
        for session in self._sessions:
            session.renew()
        seconds = self._terms.round_s if self._in_turns else self._terms.round_s / len(self._sides)
        asked = [side.points(seconds, self.made, in_turns=self._in_turns) for side in self._sides]
        for number in open_:
            began = time.monotonic()
            both = [of_side[number] for of_side in asked]
            with self._progress.point(self.made + 1, self.made + 1, both[0], said=False):
                found = (self._turns if self._in_turns else self._apart)(both)
            yield number, found, time.monotonic() - began
        self.made += 1

    def _turns(self, points: Sequence[Point]) -> list[PointResult]:
        """Side by side, now one and now the other."""
        arms = []
        for side, session, point in zip(self._sides, self._sessions, points, strict=True):
            workload = session.ready(point, side.models[point.dtype], side.loaded.folder)
            check_environment(side.folder, session.environment, measured=self.made > 0)
            place = side.folder.begin_point(point)
            arms.append(Arm(session, point, workload, place, side.loaded.folder, session.first_answers))
        users = points[0].load.shape.users
        turns = Turns(
            arms=len(arms),
            seed=points[0].seed,
            block_s=None if users == 1 else self._terms.block_s,
            gap_s=0.0 if users else GAP_S,
        )
        found = []
        recorded = measured_in_turns(arms, turns=turns)
        for number, (side, each) in enumerate(zip(self._sides, recorded, strict=True)):
            keep_of(
                each.point,
                side.folder,
                each.folder,
                number,
                window=each.window,
                host=each.host,
                gpu=each.gpu,
            )
        tidy(recorded[0].folder)
        for side, each in zip(self._sides, recorded, strict=True):
            side.folder.finish_point(each.point, each.observed)
            found.append(derived(each.point, side.folder, each.observed).result)
        return found

    def _apart(self, points: Sequence[Point]) -> list[PointResult]:
        """One after the other, in an order that is drawn."""
        found: dict[int, PointResult] = {}
        for number in Random(points[0].seed).sample(range(len(points)), len(points)):
            side, session, point = self._sides[number], self._sessions[number], points[number]
            model = side.models[point.dtype]
            session.serve(model, point.server)
            check_environment(side.folder, session.environment, measured=self.made > 0)
            found[number] = measured(session, point, model, side.folder, base_dir=side.loaded.folder).result
            session.rest()
        return [found[number] for number in range(len(points))]
