"""A server whose every configuration has a known capacity: the batcher of the simulation, and service times
that grow with the batch and with threads that contend for two cores. It can be measured, with all the noise
that a measurement has, and asked for the truth."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from harness.analysis.quantile import quantiles
from harness.schema.point import Setting
from harness.simulation.batcher import Batcher, completions
from harness.tuning.ask_and_tell import Alone, Ask, Failed, Served, Told
from harness.tuning.at_rate import AtRate
from harness.tuning.capacity import Rated
from harness.tuning.foresight import Foresight, Workload
from harness.tuning.race import Pace, Race
from harness.tuning.space import Space

CORES = 2
SWITCH_S, BETWEEN_S = 3.0, 1.0
"""What a measurement takes beside its load, of another configuration than the last and of the same."""

DEFAULT: dict[str, Setting] = {
    "server.max_batch": 8,
    "server.queue_delay_us": 0,
    "server.instances": 1,
    "server.threads": 1,
}


def space(
    max_batch: tuple[int, ...] = (1, 4, 8, 16, 32),
    delay_us: tuple[int, ...] = (0, 1000, 5000),
    instances: tuple[int, ...] = (1, 2, 4),
    threads: tuple[int, ...] = (1, 2),
) -> Space:
    made = itertools.product(max_batch, delay_us, instances, threads)
    configurations: list[dict[str, Setting]] = [dict(zip(DEFAULT, each, strict=True)) for each in made]
    return Space(configurations, configurations.index(DEFAULT) if DEFAULT in configurations else None)


@dataclass
class SimulatedServer:
    """Of a model with `fixed_s` + `each_s` × batch of service on one thread, under a p99 of `limit_s`."""

    fixed_s: float
    each_s: float
    limit_s: float
    seed: int = 1
    moment_cv: float = 0.03
    """By how much all service times differ from one visit to another."""
    broken: frozenset[int] = frozenset()
    """Configurations that the server refuses."""
    space: Space = field(default_factory=space)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.last: int | None = None
        self.moment = 1.0
        self.asked: list[Ask] = []

    def race(self, budget_s: float) -> Race:
        foresight = Foresight(self.space, Workload({0.99: self.limit_s}), {})
        return Race(foresight, budget_s=budget_s, pace=Pace(requests=500, most_s=10.0))

    def search(self, budget_s: float, rate_per_s: float | None = None) -> Race:
        """A whole race: for the largest capacity, or for the least p99 at a rate."""
        race = self.race(budget_s)
        if rate_per_s is not None:
            race = AtRate(race.foresight, rate_per_s=rate_per_s, budget_s=budget_s, pace=race.pace)
        while (asked := race.ask()) is not None:
            told, took_s = self.measure(asked)
            race.tell(asked, told, took_s)
        return race

    def measure(self, asked: Ask) -> tuple[Told, float]:
        self.asked.append(asked)
        if asked.candidate in self.broken:
            self.last = None
            return Failed("the server refused it"), SWITCH_S
        took_s = asked.seconds + (BETWEEN_S if asked.candidate == self.last else SWITCH_S)
        if asked.candidate != self.last:
            self.moment = math.exp(self.moment_cv * self.rng.standard_normal())
        self.last = asked.candidate
        if asked.alone:
            return Alone(1.0, self.moment * self._service_s(asked.candidate, 1)), took_s
        if asked.rate_per_s is None:
            served = self.saturated(asked.candidate, self.rng, asked.seconds, self.moment)
            return Served(served, 0.015 * served, self._batcher(asked.candidate).max_batch), took_s
        latency_s, batches = self.load(
            asked.candidate, asked.rate_per_s, asked.seconds, self.rng, self.moment
        )
        p99 = quantiles(latency_s)["p99"]
        if p99.interval is not None:
            error = math.log(p99.interval[1] / p99.interval[0]) / 2 / 1.96
        else:
            error = math.log(p99.value / (p99.at_least or p99.value / 2)) / 1.645
        size, seconds = np.array(batches).mean(axis=0)
        excess = math.log(p99.value / self.limit_s)
        error = max(error, 0.02)
        told = Rated(asked.rate_per_s, excess, error, float(size), float(seconds), p99.value, error)
        return told, took_s

    def p99_s(self, number: int, rate: float, requests: int = 30_000) -> float:
        """The truth at a rate."""
        latency_s, _ = self.load(number, rate, requests / rate, np.random.default_rng(2))
        return float(np.quantile(latency_s, 0.99))

    def capacity(self, number: int, requests: int = 15_000) -> float:
        """The truth: by simulations of so many requests; 0 where the limit isn't held at a fiftieth of what
        is served."""
        rng = np.random.default_rng(1)
        most = self.saturated(number, rng, 50.0)

        def holds(rate: float) -> bool:
            latency_s, _ = self.load(number, rate, requests / rate, np.random.default_rng(2))
            return float(np.quantile(latency_s, 0.99)) <= self.limit_s

        low, high = 0.02 * most, most
        if not holds(low):
            return 0.0
        for _ in range(9):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    def load(
        self, number: int, rate: float, seconds: float, rng: np.random.Generator, moment: float = 1.0
    ) -> tuple[np.ndarray, list[tuple[int, float]]]:
        """Latencies of an open loop, and (size, seconds) of each batch."""
        due = np.cumsum(rng.exponential(1 / rate, max(1, int(rate * seconds))))
        batches: list[tuple[int, float]] = []

        def service(batch: int) -> float:
            batches.append((batch, moment * self._service_s(number, batch) * _noise(rng)))
            return batches[-1][1]

        return completions(due, self._batcher(number), service) - due, batches

    def saturated(self, number: int, rng: np.random.Generator, seconds: float, moment: float = 1.0) -> float:
        """Requests a second where every batch is full."""
        batcher = self._batcher(number)
        count = max(8, int(seconds / self._service_s(number, batcher.max_batch)))
        mean = float(np.mean([_noise(rng) for _ in range(count)]))
        return (
            batcher.instances
            * batcher.max_batch
            / (moment * mean * self._service_s(number, batcher.max_batch))
        )

    def _service_s(self, number: int, batch: int) -> float:
        settings = self.space.configurations[number]
        instances, threads = settings["server.instances"], settings["server.threads"]
        assert isinstance(instances, int)
        assert isinstance(threads, int)
        contended = max(1.0, instances * threads / CORES) ** 1.1
        return (self.fixed_s + self.each_s * batch) / threads**0.8 * contended

    def _batcher(self, number: int) -> Batcher:
        settings = self.space.configurations[number]
        return Batcher(
            max_batch=int(settings["server.max_batch"]),
            queue_delay_s=int(settings["server.queue_delay_us"]) / 1e6,
            instances=int(settings["server.instances"]),
        )


def _noise(rng: np.random.Generator) -> float:
    return math.exp(0.1 * float(rng.standard_normal()))
