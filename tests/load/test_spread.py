"""To spread a load over replicas: the shares together are the load, whatever their number."""

from __future__ import annotations

import time
from itertools import cycle, islice

import gevent
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.load.arrivals import draws
from harness.load.kept_answers import KeptAnswers
from harness.load.load_plan import PlannedClass, PlannedSequence
from harness.load.process.loops import OpenLoop
from harness.load.process.sequences import drawn
from harness.load.process.spread import closed_loop_spread, open_loop_spread
from harness.load.wire import Reply
from harness.schema.samples import Status


@given(workers=st.integers(1, 3), replicas=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_the_draws_of_all_replicas_are_those_of_one(workers: int, replicas: int, seed: int) -> None:
    """As the locustfile numbers them: replica `to` of load process `worker`."""
    weights, sizes, each = [3.0, 1.0], [4, 2], 40
    whole = list(islice(draws(weights, sizes, seed), workers * replicas * each))
    of = workers * replicas
    for worker in range(workers):
        for to in range(replicas):
            own = draws(weights, sizes, seed, to * workers + worker, of)
            assert list(islice(own, each)) == whole[to * workers + worker :: of]


def test_the_sequences_of_all_replicas_are_those_of_one() -> None:
    kind = PlannedClass(
        name="a", weight=1.0, requests=((0, 1), (1, 1)), sequence=PlannedSequence(between=(1, 9))
    )
    whole = list(islice(drawn([kind], 3), 12))
    for to in range(3):
        share = list(islice(drawn([kind, kind, kind], 3, to, 3, weights=[1.0, 0.0, 0.0]), 4))
        assert [each.variants for each in share] == [each.variants for each in whole[to::3]]


class Replica:
    """A connection whose server answers after so long."""

    alone = False

    def __init__(self, number: int, took_s: float, answered: list[int]) -> None:
        self.number, self.took_s, self.answered = number, took_s, answered

    def call(self, prepared: bytes, _keep_body: bool = False) -> Reply:
        gevent.sleep(self.took_s)
        self.answered.append(self.number)
        assert int(prepared) == self.number, "each gets what was prepared for it"
        return Reply(Status.OK, None, 1, 1, 1, 1, 1)

    def connect(self) -> None:
        pass

    def close(self) -> None:
        pass


def record(request_class: int, intended_ns: int, reply: Reply) -> None:
    pass


def test_a_user_goes_round_however_slow_one_is() -> None:
    answered: list[int] = []
    connections = [Replica(number, 0.001 * number, answered) for number in range(3)]
    left = iter(range(30))
    closed_loop_spread(
        connections,  # type: ignore[arg-type]
        [[b"0"], [b"1"], [b"2"]],
        [cycle([(number, 0)]) for number in range(3)],
        cycle((2, 0, 1)),
        lambda: next(left, None) is not None,
        record,
        KeptAnswers(None),
    )
    assert answered == [2, 0, 1] * 10


def test_each_gets_every_third_arrival_of_an_open_loop() -> None:
    answered: list[int] = []
    pools = [
        OpenLoop(
            lambda number=number: Replica(number, 0.0, answered),  # type: ignore[misc, return-value, arg-type]
            cycle([[[b"0"], [b"1"], [b"2"]]]),
            record,
            5.0,
            among=3,
        )
        for number in range(3)
    ]
    times = np.arange(31) / 1000
    draws = [cycle([(number, 0)]) for number in range(3)]
    handed: list[int] = []

    def due(intended_ns: int) -> bool:
        handed.append(intended_ns)
        return True

    late_ns = time.monotonic_ns() - 1_000_000_000  # all are due: the clock doesn't choose who is first
    open_loop_spread(pools, late_ns, times, draws, due)
    assert [answered.count(number) for number in range(3)] == [11, 10, 10]
    assert handed == sorted(handed), "a look at the sample awaits all that was due before it"
