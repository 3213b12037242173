"""Which configuration to measure next, and at which load, until one is known to be the best.

A race by confidence intervals (O. Maron and A. Moore, "Hoeffding races", 1993; of two that are close the
less certain is measured, as in S. Kalyanakrishnan et al., "PAC subset selection in stochastic multi-armed
bandits", 2012): each configuration is first measured for a short time, and longer the closer it is to the
leader. It leaves only when the interval of what was measured says so; what it may be by likeness and
simulation (`harness.tuning.foresight`) only says whose turn it is.

The race neither measures nor knows the time: a caller asks it what to measure, and tells it what came of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from harness.tuning.ask_and_tell import Alone, Ask, Barred, Failed, Served, Told, Unusable
from harness.tuning.capacity import BETWEEN, NEARLY, NOTHING, SURE_Z, Estimate, Rated, capacity
from harness.tuning.foresight import Execution, Foresight
from harness.tuning.likeness import Floats

INDIFFERENT = 0.003
"""An expected gain under this share is not worth measuring for."""

BRACKET = 1.12
"""The objective's end is found when a rate that held and one that missed are no further apart."""

FILLS = 3.0
"""A queue fills, to what it is in the long run, in about so many service times over the square of its idle
share (P. M. Morse, "Stochastic properties of waiting lines", Operations Research 3, 1955)."""

KINDS = 0.35
"""Share of the budget in which configurations of each kind are tried first."""

EXPLORING = 0.6
"""Share of the budget after which no configuration is tried that never was."""

LONGER = 1.5
"""Each further measurement of a configuration is so many times as long."""

VISIT = 4
"""Most rates that are measured in a first visit."""

AROUND = (0.0, -0.04, 0.04)
"""Logarithms of rates over the capacity at which it is measured again, in turns."""

SHORTEST_S = 1.0
"""No measurement is made shorter than this to fit into the time that is left."""

FEWEST = 20
"""Fewer requests than about so many say nothing of a rate, and by chance there may be none at all."""

FEWEST_ALONE, LONGEST_ALONE_S = 60, 5.0
"""Requests of a single user, if they don't take longer than that."""

UNUSABLE = 3
"""So many measurements that can't be used, and a configuration is given up."""


@dataclass(slots=True)
class Candidate:
    """A configuration, and what is known of it."""

    number: int
    served: Served | None = None
    alone: bool = False
    """Whether it was measured under a single user."""
    rated: list[Rated] = field(default_factory=list)
    visits: int = 0
    """At how many moments it was measured, apart from each other."""
    measured_s: float = 0.0
    unusable: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    barred: bool = False
    out: str | None = None
    """Why it left the race; None while it is in it."""
    estimate: Estimate = NOTHING
    """Of its capacity, in requests a second."""

    @property
    def tried(self) -> bool:
        return self.visits > 0

    @property
    def highest_held(self) -> float | None:
        return max((each.rate_per_s for each in self.rated if each.excess <= 0), default=None)

    @property
    def lowest_missed(self) -> float | None:
        return min((each.rate_per_s for each in self.rated if each.excess > 0), default=None)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long measurements are."""

    saturated_s: float = 2.0
    alone_s: float = 1.0
    requests: int = 500
    """What the percentiles of an objective need, about."""
    least_s: float = 2.0
    most_s: float = 10.0

    def seconds(self, rate_per_s: float, earlier: int, fills_s: float = 0.0) -> float:
        """Of a measurement at a rate, after so many of the same configuration, of a queue that takes so long
        to fill."""
        longer = LONGER ** max(0, earlier - 2)
        seconds = min(self.most_s, max(self.least_s, longer * self.requests / rate_per_s, fills_s))
        return max(seconds, FEWEST / rate_per_s)


class Race:
    """A search for the configuration of the largest capacity, from the first measurement to the last."""

    def __init__(self, foresight: Foresight, *, budget_s: float, pace: Pace = Pace()) -> None:
        self.foresight, self.budget_s, self.pace = foresight, budget_s, pace
        self.space = foresight.space
        self.candidates = [Candidate(number) for number in range(len(self.space.configurations))]
        self.used_s = 0.0
        self.decided = False
        """Whether no other configuration may be better, so that nothing is left to measure."""
        self._current: Candidate | None = None
        """The one that is served now, while its visit isn't over."""
        self._surveying = False
        """Whether it is only asked what a configuration of a new kind serves at most."""
        self._last: int | None = None
        self._overheads: dict[bool, list[float]] = {True: [], False: []}
        """What a measurement took beside its measured seconds; True: after another configuration's."""
        self._foreseen: tuple[Floats, Floats] | None = None

    # What to measure.

    def ask(self) -> Ask | None:
        """What to measure next; None where the race is decided, or its budget used."""
        asked = self._ask()
        self.decided = asked is None
        if asked is None:
            return None
        # What doesn't fit into the time that is left is made shorter, as far as it still says something.
        most_s = self.budget_s - self.used_s - (self.expected_s(asked) - asked.seconds)
        least_s = SHORTEST_S if asked.rate_per_s is None else max(SHORTEST_S, FEWEST / asked.rate_per_s)
        if most_s < min(asked.seconds, least_s):
            return None
        return replace(asked, seconds=min(asked.seconds, most_s))

    def expected_s(self, asked: Ask) -> float:
        """How long a measurement will take, all in all."""
        seen = self._overheads[asked.candidate != self._last] or self._overheads[True] or [asked.seconds]
        return asked.seconds + median(seen)

    def _ask(self) -> Ask | None:
        if self._current is not None:
            way = self._survey if self._surveying else self._visit
            if (asked := way(self._current)) is not None:
                return asked
        self._current, self._foreseen, self._surveying = None, None, False
        if (next_ := self._next()) is None:
            return None
        if self._surveying:
            return self._survey(next_)
        return self._visit(next_) or self._again(next_)

    # What came of it.

    def tell(self, asked: Ask, told: Told, took_s: float) -> None:
        """What came of a measurement, and how long it took with everything around it."""
        candidate = self.candidates[asked.candidate]
        self.used_s += took_s
        self._overheads[asked.candidate != self._last].append(max(0.0, took_s - asked.seconds))
        candidate.visits += asked.candidate != self._last
        candidate.measured_s += asked.seconds
        self._last, self._current, self._foreseen = asked.candidate, candidate, None
        match told:
            case Served():
                candidate.served = told
                self.foresight.learn(self._execution(candidate.number, told))
            case Alone():
                candidate.alone = True
                self.foresight.learn(Execution(candidate.number, told.batch, told.batch_s))
            case Rated():
                candidate.rated.append(told)
                if told.batch and told.batch_s:
                    self.foresight.learn(Execution(candidate.number, told.batch, told.batch_s))
            case Unusable(why):
                candidate.unusable.append(why)
                if len(candidate.unusable) >= UNUSABLE:
                    candidate.out = f"{UNUSABLE} of its measurements couldn't be used: {why}"
            case Barred(why):
                candidate.barred, candidate.out = True, why
            case Failed(why):
                candidate.failed.append(why)
                # One that has served may have been brought down by somebody else, once.
                if candidate.served is None or len(candidate.failed) > 1:
                    candidate.out = why
                self._last = self._current = None
        visits = max(candidate.visits, 1)
        candidate.estimate = self.estimate_of(
            candidate.rated, visits=visits, seed=candidate.number, each=candidate
        )
        self._judge()

    def _execution(self, number: int, served: Served) -> Execution:
        """How long an instance took for a batch: at saturation none of them waits."""
        inferences_per_s = served.rate_per_s * self.foresight.workload.size
        seconds = self.foresight.instances(number) * served.batch / inferences_per_s
        return Execution(number, served.batch, seconds)

    def estimate_of(
        self, rated: Sequence[Rated], *, visits: int = 1, seed: int = 1, each: Candidate | None = None
    ) -> Estimate:
        """What measurements say, at so many moments; of a candidate in the race with all else that is known
        of it."""
        if each is None:
            return capacity(rated, visits=visits, seed=seed)
        served = None if each.served is None else (each.served.rate_per_s, each.served.error)
        return capacity(rated, served, visits=visits, nearly=self._nearly(each), seed=seed)

    def _nearly(self, each: Candidate) -> float:
        """Up to which share of what it serves at saturation its queue fills in the longest measurement."""
        if each.served is None:
            return NEARLY
        batch_s = self._execution(each.number, each.served).seconds
        return min(NEARLY, max(0.5, 1 - math.sqrt(FILLS * batch_s / self.pace.most_s)))

    def _seconds(self, each: Candidate, rate: float) -> float:
        assert each.served is not None
        idle = max(1e-3, 1 - rate / each.served.rate_per_s)
        fills_s = FILLS * self._execution(each.number, each.served).seconds / idle**2
        return self.pace.seconds(rate, len(each.rated), fills_s)

    def _judge(self) -> None:
        """Let those leave that can't be the best."""
        leader = self.leader
        least = None if leader is None else leader.estimate.low
        if least is None:
            return
        for each in self.running:
            most = each.estimate.high
            if each is not leader and most is not None and most < least:
                each.out = self._worse(most)

    def _worse(self, most: float) -> str:
        """Why one leaves whose figure is no more than this."""
        return f"it holds the objective up to {most:.3g} requests/s at most"

    # How it stands.

    @property
    def running(self) -> list[Candidate]:
        """The candidates that were measured and haven't left."""
        return [each for each in self.candidates if each.tried and each.out is None]

    @property
    def leader(self) -> Candidate | None:
        """The one with the largest capacity, by what was measured of it and of those like it; None while none
        held the objective at any rate."""
        holding = [each for each in self.running if each.estimate.value is not None]
        if not holding:
            return None
        mean, _ = self.foreseen
        return max(holding, key=lambda each: (mean[each.number], -each.number))

    @property
    def foreseen(self) -> tuple[Floats, Floats]:
        """Logarithm of each configuration's capacity, and its standard deviation, by all that is known."""
        if self._foreseen is None:
            known = {}
            for each in self.candidates:
                value, width = each.estimate.value, each.estimate.width
                if value is not None:
                    error = width / 2 / SURE_Z if math.isfinite(width) else 0.1
                    known[each.number] = math.log(value), max(error, BETWEEN / 6)
                elif (missed := each.lowest_missed) is not None:
                    known[each.number] = math.log(missed * 0.7), 0.2
            anew = None if self._current is None else self._current.number
            self._foreseen = self.foresight.capacities(known, anew=anew)
        return self._foreseen

    def optimism(self, each: Candidate) -> float:
        """Logarithm of the capacity that it may have at most, about."""
        mean, deviation = self.foreseen
        high = each.estimate.high
        return min(
            float(mean[each.number] + 2 * deviation[each.number]), math.log(high) if high else math.inf
        )

    @property
    def _to_beat(self) -> float:
        """Logarithm of the leader's capacity, at least."""
        leader = self.leader
        low = None if leader is None else leader.estimate.low or leader.estimate.value
        return math.log(low) if low else -math.inf

    # Who is next.

    def _next(self) -> Candidate | None:
        """Whose turn it is: after some of each kind the one by which the largest capacity is expected to grow
        the most; None where no other one may be better."""
        untried = [each for each in self.candidates if not each.tried and each.out is None]
        suspect = self._suspect()
        calm = [each for each in untried if each.number not in suspect] or untried
        default = self.space.default
        if default is not None and self.candidates[default] in untried:
            return self.candidates[default]
        if (of_new_kind := self._of_new_kind(calm)) is not None:
            self._surveying = True
            return of_new_kind
        leader = self.leader
        tried_ones = [each for each in self.running if each is not leader]
        fresh = calm if self.used_s < EXPLORING * self.budget_s else []
        rival = max([*fresh, *tried_ones], key=self._improvement, default=None)
        if rival is None or (leader is not None and self._improvement(rival) < INDIFFERENT):
            return None
        if leader is None or not rival.tried:
            return rival
        # Another moment says more than a longer one, so the two are measured in turns.
        pair = (leader, rival)
        return min(pair, key=lambda each: (each.number == self._last, each.visits, -each.estimate.width))

    def _of_new_kind(self, calm: list[Candidate]) -> Candidate | None:
        """One that is computed in a way that none was yet: how long its batches take is no matter of a
        simulation. None where each pair of values of two settings was tried, or its time is over."""
        if self.used_s > KINDS * self.budget_s:
            return None
        tried = [each.number for each in self.candidates if each.tried]
        seen = {pair for number in tried for pair in self.foresight.kind(number)}

        def new(each: Candidate) -> int:
            return len(self.foresight.kind(each.number) - seen)

        def order(each: Candidate) -> tuple[float, ...]:
            # What the largest batches serve is the most that any of the kind can.
            largest = self.foresight.batcher(each.number).max_batch
            return new(each), largest, self._away(each.number, tried), -each.number

        best = max(calm, key=order, default=None)
        return best if best is not None and new(best) > 0 else None

    def _away(self, number: int, tried: list[int]) -> float:
        if not tried:
            return 0.0
        features = self.space.features
        return float(np.abs(features[tried] - features[number]).sum(axis=1).min())

    def _suspect(self) -> set[int]:
        """Those that may fail as others did: the neighbours of one that failed, and all with a value of a
        setting with which two failed and none served."""
        failed = [each.number for each in self.candidates if each.failed and each.served is None]
        found = {near for number in failed for near in self.space.neighbours(number)}
        settings = self.space.configurations
        served = {pair for each in self.candidates if each.served for pair in settings[each.number].items()}
        often = Counter(pair for number in failed for pair in settings[number].items())
        bad = {pair for pair, times in often.items() if times > 1 and pair not in served}
        return found | {number for number, each in enumerate(settings) if bad & each.items()}

    def _improvement(self, each: Candidate) -> float:
        """Expected, over the leader (J. Mockus, 1978); while there is none, the capacity itself."""
        means, deviations = self.foreseen
        mean, deviation, leader = float(means[each.number]), float(deviations[each.number]), self.leader
        if leader is None:
            return mean
        if each.estimate.high is not None:  # what was measured says that it is no more than this
            mean = min(mean, math.log(each.estimate.high))
        # What is known of the leader itself is no surer than that.
        ahead, deviation = mean - float(means[leader.number]), max(deviation, 1e-6)
        if each.tried:
            deviation = math.hypot(deviation, float(deviations[leader.number]))
        z = ahead / deviation
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return ahead * 0.5 * math.erfc(-z / math.sqrt(2)) + deviation * density

    # At which load.

    def _survey(self, each: Candidate) -> Ask | None:
        """What is missing of a survey: how long the largest and the smallest batches of a kind take."""
        if each.out is not None or each.unusable:
            return None
        if each.served is None:
            return Ask(each.number, None, self.pace.saturated_s, "what it serves at most")
        return None if each.alone else self._asked_alone(each)

    def _asked_alone(self, each: Candidate) -> Ask:
        """Long enough to see how executions differ."""
        assert each.served is not None
        batch_s = self._execution(each.number, each.served).seconds
        seconds = min(LONGEST_ALONE_S, max(self.pace.alone_s, FEWEST_ALONE * batch_s))
        return Ask(each.number, None, seconds, "how long a request takes alone", alone=True)

    def _visit(self, each: Candidate) -> Ask | None:
        """What is missing of a first visit; None where it is over."""
        if each.out is not None:
            return None
        if each.served is None:
            return Ask(each.number, None, self.pace.saturated_s, "what it serves at most")
        if not any(other.alone for other in self.candidates):  # of one at least, whatever time there is
            return self._asked_alone(each)
        if each is not self.leader and self.optimism(each) <= self._to_beat:
            return None
        rate = self._next_rate(each) if len(each.rated) < VISIT else None
        if rate is None:
            return None
        why = "where the objective ends" if each.rated else "whether it may be the best"
        return Ask(each.number, rate, self._seconds(each, rate), why)

    def _again(self, each: Candidate) -> Ask:
        """Another measurement of one that was visited before."""
        why = "which of the closest is the best"
        if each.served is None:
            return Ask(each.number, None, self.pace.saturated_s, why)
        rate = self._next_rate(each)
        if rate is None:
            end = each.estimate.value or (each.lowest_missed or each.served.rate_per_s) / BRACKET**2
            rate = min(
                end * math.exp(AROUND[len(each.rated) % len(AROUND)]),
                self._nearly(each) * each.served.rate_per_s,
            )
        return Ask(each.number, rate, self._seconds(each, rate), why)

    def _next_rate(self, each: Candidate) -> float | None:
        """Where the objective may end; None where its end is found, or no rate is worth to be measured."""
        assert each.served is not None
        most, held, missed = each.served.rate_per_s, each.highest_held, each.lowest_missed
        nearly = self._nearly(each)
        guess = min(nearly, max(0.2, math.exp(self.foreseen[0][each.number]) / most)) * most
        beat = None if each is self.leader else math.exp(self._to_beat)
        if held is None and missed is None:
            return max(guess, beat) if beat and beat < nearly * most else guess
        if missed is None:
            assert held is not None
            return None if held >= 0.99 * nearly * most else min(nearly * most, max(held * BRACKET, guess))
        if held is None:
            if beat and missed <= beat:
                return None
            down = missed / BRACKET**2 ** min(len(each.rated), 3)
            down = min(down, guess) if guess < missed / BRACKET else down
            return max(down, beat or 0.0) if missed > 0.05 * most else None
        return math.sqrt(missed * held) if missed / held > BRACKET else None
