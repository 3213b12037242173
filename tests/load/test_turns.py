"""Arms that take turns: each gets the same load, and no two at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.own_clock import on_own_clock
from harness.load.coordinator.driver import drive
from harness.load.spools import Spools, of_arm, read_spool
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.observed import ArmObserved
from harness.schema.samples import Measured, Phase, Status
from harness.schema.scenario import Protocol
from harness.schema.turns import Turns
from harness.triton.embedded import EmbeddedServer
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import job, point

TURNS = st.builds(
    Turns,
    arms=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
    block_s=st.floats(0.01, 10),
    gap_s=st.floats(0, 0.5),
)


@given(TURNS, st.floats(0.05, 2000), st.integers(0, 4))
def test_times_on_an_arms_own_clock_are_in_its_blocks_and_come_back(
    turns: Turns, seconds: float, arm: int
) -> None:
    turns, arm = turns.within(seconds), arm % turns.arms
    own_s = np.linspace(0, turns.on_s(seconds), 200, endpoint=False)
    due_s = turns.of_phase(arm, own_s)
    assert (np.diff(due_s) > 0).all()
    # But for what is at a block's very edge, where rounding may put it into the next.
    within = own_s % turns.block_s
    sure = (within > 1e-6) & (within < turns.block_s - 1e-6)
    assert {turns.arm_at(at) for at in due_s[sure]} <= {arm}
    np.testing.assert_allclose(turns.own(arm, due_s[sure]), own_s[sure], atol=1e-6)


@given(TURNS, st.floats(0.05, 2000))
def test_a_phase_is_filled_by_whole_rounds(turns: Turns, seconds: float) -> None:
    fitted = turns.within(seconds)
    rounds = seconds / fitted.round_s
    if fitted.block_s > 1e-3:  # else it is too short for the gaps
        assert rounds == pytest.approx(round(rounds)) and rounds > 0.5
        assert fitted.on_s(seconds) == pytest.approx(seconds / turns.arms - round(rounds) * turns.gap_s)


@given(TURNS)
def test_each_round_has_each_arm_once_in_an_order_that_is_drawn(turns: Turns) -> None:
    order = np.array(list(islice(turns.order(), 600 * turns.arms))).reshape(-1, turns.arms)
    assert (np.sort(order, axis=1) == np.arange(turns.arms)).all()
    first = np.bincount(order[:, 0], minlength=turns.arms) / len(order)
    assert np.abs(first - 1 / turns.arms).max() < 0.15


def drive_in_turns(
    triton: EmbeddedServer, folder: Path, load: PointLoad, protocol: Protocol, turns: Turns, models: list[str]
) -> tuple[list[Measured], list[Measured], ArmObserved]:
    """The requests of each arm, as they were, then on its own clock."""
    asked = point(protocol, load, warmup_s=0.2, duration_s=1.2)
    port = triton.http_port if protocol == "http" else triton.grpc_port
    assert port is not None
    first, *beside = [job(asked, port, folder, model) for model in models]
    outcome = drive(replace(first, beside=tuple(beside), turns=turns), fork_server=shared_fork_server())
    assert outcome.ended is None and outcome.began_ns is not None
    raw, own = [], []
    for number in range(len(models)):
        records = np.concatenate(list(of_arm(Spools(outcome.folder).chunks(), number, 2)))
        arm = ArmObserved(number=number, turns=turns.within(1.2), start_ns=outcome.began_ns)
        raw.append(Measured.of(records))
        own.append(on_own_clock(raw[-1], arm))
    records, _ = read_spool(outcome.folder)
    assert sum(each.size for each in raw) == (records["phase"] == Phase.MEASURE).sum()
    return raw, own, arm


@pytest.mark.triton
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("users", "block_s"), [(1, None), (1, 0.1), (5, 0.1)])
def test_a_closed_loop_sends_to_one_arm_at_a_time(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol, users: int, block_s: float | None
) -> None:
    turns = Turns(arms=2, seed=3, block_s=block_s)
    raw, own, _ = drive_in_turns(
        triton, tmp_path, PointLoad(concurrency=users), protocol, turns, ["echo", "echo"]
    )
    for one, other in (raw, raw[::-1]):
        assert (one.status == Status.OK).all() and one.size > 20
        # No request of one arm is sent while one of the other's awaits its answer.
        before = np.searchsorted(other.sent_ns, one.sent_ns) - 1
        done = np.maximum.accumulate(other.completed_ns)
        assert (done[before[before >= 0]] <= one.sent_ns[before >= 0]).all()
    few = min(each.size for each in raw)
    assert (raw[0].request_class[:few] == raw[1].request_class[:few]).mean() > (0.99 if users == 1 else 0.5)
    if block_s is None:
        assert abs(raw[0].size - raw[1].size) <= 1
    spans_s = []
    for before, after in zip(raw, own, strict=True):
        np.testing.assert_array_equal(
            after.completed_ns - after.intended_ns, before.completed_ns - before.intended_ns
        )
        busy_s = (after.completed_ns - after.intended_ns).sum() / 1e9 / users
        span_s = (after.completed_ns.max() - after.intended_ns[0]) / 1e9
        assert busy_s / span_s > 0.5
        spans_s.append(span_s)
    assert sum(spans_s) < 1.5, "on their own clocks there is no pause: both together last for the one second"


@pytest.mark.triton
@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_loop_sends_each_arm_the_same_schedule(
    triton: EmbeddedServer, tmp_path: Path, workers: int
) -> None:
    turns = Turns(arms=3, seed=5, block_s=0.1, gap_s=0.02)
    load = PointLoad(rate_per_s=200, arrivals="poisson", workers=workers)
    raw, own, arm = drive_in_turns(triton, tmp_path, load, "http", turns, ["echo"] * 3)
    for number, (each, on_own) in enumerate(zip(raw, own, strict=True)):
        assert (each.status == Status.OK).all()
        due_s = (each.intended_ns - arm.start_ns) / 1e9
        assert {arm.turns.arm_at(at) for at in due_s} == {number}
        assert np.abs(on_own.intended_ns - own[0].intended_ns).max() <= 1000, "the same arrivals"
        if workers == 1:
            np.testing.assert_array_equal(each.request_class, raw[0].request_class)


@pytest.mark.triton
def test_the_arm_whose_model_is_gone_has_the_errors(triton: EmbeddedServer, tmp_path: Path) -> None:
    turns = Turns(arms=2, seed=1, block_s=None)
    raw, _, _ = drive_in_turns(triton, tmp_path, PointLoad(concurrency=1), "http", turns, ["echo", "nowhere"])
    assert (raw[0].status == Status.OK).all() and (raw[1].status == Status.REFUSED).all()


def test_arms_share_no_memory_with_servers(tmp_path: Path) -> None:
    asked = point("http", PointLoad(concurrency=1)).model_copy(update={"shared_memory": "system"})
    one = job(asked, 1, tmp_path)
    turns = Turns(arms=2, seed=1, block_s=None)
    with pytest.raises(InputError, match="set shared_memory to none"):
        drive(replace(one, beside=(one,), turns=turns), fork_server=shared_fork_server())
