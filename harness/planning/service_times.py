"""How long an instance takes for a batch, by what Triton counted while points were measured.

Triton says how long the executions of each batch size took on average. That depends on what else is computed:
by the other instances of the model, and by everything that answering more requests takes on the same
machine. What they compute with is taken for a processor that is shared: so many instances compute at once as
if they were alone, and more of them share what there is. So the logarithm of a mean is that of the batch
alone, plus that of how much of the processor it had, plus a slope times the share of time in which the
instances computed: a weighted least-squares fit, with priors that neither matters much.

How single executions differ from their mean is seen where a single user's requests wait for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import comb
from operator import itemgetter

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from harness.simulation.batcher import Service

Floats = npt.NDArray[np.float64]

PER_OTHER, PER_BUSY = 0.5, 0.1
"""Standard deviations of the priors: of the logarithm of how much longer each further instance makes a batch
take, and of what a busier server adds. Instances may well share what they compute with; what else a busier
server does is little beside that, and is soon told by points at several rates."""

MOMENT = 0.03
"""Standard deviation of the logarithm of a mean from one moment to another, where nothing else changed."""

FEWEST_ALONE = 50
"""Fewer requests don't say how much executions differ."""

DRAWS = 1 << 14

AT_ONCE = 200
"""How many values are tried for the instances that can compute at once, from one to all that were seen."""


class Unknown(Exception):
    """What the measurements don't say, in words, with what would."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a measured point tells of the service times of one kind of requests."""

    kind: int
    by_batch: Sequence[tuple[int, int, float]]
    """(inferences, executions, mean seconds) of each size of batch."""
    instances: int
    """That may compute at once: for a single user's requests there is one."""
    duration_s: float
    alone_s: Floats | None = None
    """Seconds of each request, from when it was sent, where no other was in flight; None elsewhere."""
    overhead_s: float | None = None
    """Of a request, on average, what is neither queue nor instance."""

    @property
    def busy(self) -> float:
        """The share of time in which an instance computes."""
        computed_s = sum(count * mean_s for _, count, mean_s in self.by_batch)
        return min(1.0, computed_s / (self.instances * self.duration_s))

    def slowdown(self, at_once: float) -> float:
        """How much longer a batch takes than it would alone, where so many instances can compute at once
        without a loss: each of the others computes meanwhile for the share of time that it is busy."""
        others, busy = self.instances - 1, self.busy
        return sum(
            comb(others, k) * busy**k * (1 - busy) ** (others - k) * max(1.0, (k + 1) / at_once)
            for k in range(self.instances)
        )


@dataclass(frozen=True, slots=True)
class KindTimes:
    """Of one kind of requests."""

    batches: Floats
    """Sizes of batches, in inferences, ascending."""
    seconds: Floats
    """How long an instance takes for one, on average, when nothing else is computed."""
    noise: Floats
    """What single executions take over their mean."""

    def mean_s(self, inferences: float) -> float:
        """Interpolated; past the largest batch that was measured it goes on as a straight line."""
        batches, seconds = self.batches, self.seconds
        if inferences <= batches[-1]:
            return float(np.interp(inferences, batches, seconds))
        return float(seconds[-1] + (inferences - batches[-1]) * self._each_s)

    @property
    def _each_s(self) -> float:
        """What a further inference takes, in a large batch."""
        first, last = self.batches[0], self.batches[-1]
        if last == first:
            return float(self.seconds[-1] / last)
        return float((self.seconds[-1] - self.seconds[0]) / (last - first))


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """Of all kinds of requests, on one kind of hardware, in one configuration but for its batcher."""

    kinds: tuple[KindTimes, ...]
    overhead_s: float
    """Of a request, what is neither queue nor instance."""
    at_once: float
    """How many instances can compute at once as if each were alone; more of them share what there is."""
    per_busy: float
    """What the logarithm grows by from instances that never compute to such that always do."""
    scale: float = 1.0
    """All of them over what was measured: for how far they may be off."""

    def speeds(self, instances: int) -> tuple[float, ...]:
        """How fast each of 1, 2, … busy instances goes."""
        return tuple(min(1.0, self.at_once / busy) for busy in range(1, instances + 1))

    def drawn(self, largest: int, busy: float, seed: int) -> Service:
        """Draws service times where the instances compute for a share `busy` of the time; batches are no
        larger than `largest`."""
        factor = self.scale * float(np.exp(self.per_busy * busy))
        rng = np.random.default_rng([seed, 3])
        means = [[factor * kind.mean_s(n) for n in range(largest + 1)] for kind in self.kinds]
        draws: list[Callable[[], float]] = [
            cycle(rng.choice(kind.noise, DRAWS).tolist()).__next__ for kind in self.kinds
        ]

        def service(kind: int, inferences: int) -> float:
            return means[kind][inferences] * draws[kind]()

        return service


def fitted(looks: Sequence[Look], kinds: Sequence[str]) -> ServiceTimes:
    """The service times that suit what was measured. `kinds`: the names of the request classes.

    Raises Unknown where a class was never measured by itself, or never by a single user.
    """
    alone = [_alone(looks, kind, name) for kind, name in enumerate(kinds)]
    cells: dict[tuple[int, int], int] = {}
    for look in looks:
        for batch, count, mean_s in look.by_batch:
            if count > 0 and mean_s > 0:
                cells.setdefault((look.kind, batch), len(cells))
    for kind, name in enumerate(kinds):
        if not any(of == kind for of, _ in cells):
            raise Unknown(f"the server told no time of a batch of {name}")
    means, at_once, per_busy = _least_squares(looks, cells, [float(np.std(each)) for each in alone])
    counts = dict.fromkeys(cells, 0)
    for look in looks:
        for batch, count, mean_s in look.by_batch:
            if count > 0 and mean_s > 0:
                counts[look.kind, batch] += count
    overheads = [
        look.overhead_s for look in looks if look.overhead_s is not None and look.alone_s is not None
    ]
    return ServiceTimes(
        tuple(_kind_times(kind, cells, means, counts, alone[kind]) for kind in range(len(kinds))),
        overhead_s=float(np.median(overheads)) if overheads else 0.0,
        at_once=at_once,
        per_busy=per_busy,
    )


def _alone(looks: Sequence[Look], kind: int, name: str) -> Floats:
    """What single executions of a kind take over their mean."""
    found = []
    for look in looks:
        if look.kind == kind and look.alone_s is not None and len(look.alone_s) >= FEWEST_ALONE:
            computed = np.maximum(look.alone_s - (look.overhead_s or 0.0), 0.0)
            found.append(computed / computed.mean())
    if not found:
        raise Unknown(f"no single user sent {name} by itself, so that how its service times vary isn't known")
    noise: Floats = np.concatenate(found)
    return noise


def _least_squares(
    looks: Sequence[Look], cells: Mapping[tuple[int, int], int], deviations: Sequence[float]
) -> tuple[Floats, float, float]:
    """Logarithms of the cells' means, how many instances can compute at once, and the slope."""
    rows, values, weights, of = [], [], [], []
    for number, look in enumerate(looks):
        for batch, count, mean_s in look.by_batch:
            if count > 0 and mean_s > 0:
                row = np.zeros(len(cells) + 1)
                row[cells[look.kind, batch]], row[-1] = 1.0, look.busy
                rows.append(row)
                values.append(np.log(mean_s))
                weights.append(1 / np.hypot(deviations[look.kind] / np.sqrt(count), MOMENT))
                of.append(number)
    prior = np.zeros(len(cells) + 1)
    prior[-1] = 1.0
    weighed = np.array([*weights, 1 / PER_BUSY])
    design = np.array([*rows, prior]) * weighed[:, None]
    solving, most = np.linalg.pinv(design), max(looks[number].instances for number in of)

    def solved(at_once: float) -> tuple[float, float, Floats]:
        """How badly the best solution for `at_once` fits, that, and the solution."""
        slowdowns = np.log([look.slowdown(at_once) for look in looks])[of]
        left = np.append(values - slowdowns, 0.0) * weighed
        solution = solving @ left
        off = design @ solution - left
        unlikely = np.log(most / at_once) / (PER_OTHER * (most - 1)) if most > 1 else 0.0
        return float(off @ off + unlikely**2), at_once, solution

    tried = np.geomspace(1.0, most, AT_ONCE).tolist() if most > 1 else [np.inf]
    _, at_once, found = min(map(solved, tried), key=itemgetter(0))
    return found[:-1], at_once, float(found[-1])


def _kind_times(
    kind: int,
    cells: Mapping[tuple[int, int], int],
    means: Floats,
    counts: Mapping[tuple[int, int], int],
    noise: Floats,
) -> KindTimes:
    """A larger batch takes no less time."""
    batches = sorted(batch for of, batch in cells if of == kind)
    logs = np.array([means[cells[kind, batch]] for batch in batches])
    weights = np.array([counts[kind, batch] for batch in batches], float)
    seconds = np.exp(isotonic_regression(logs, weights=weights).x)
    return KindTimes(np.array(batches, float), seconds, noise)
