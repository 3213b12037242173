"""A race on simulated servers, whose truth is known: what it finds, and whom it lets leave."""

from __future__ import annotations

import pytest

from harness.tuning import finish
from harness.tuning.ask_and_tell import Failed, Unusable
from harness.tuning.race import FEWEST, Pace
from tests.tuning.simulated_server import SimulatedServer, space

SMALL = {"max_batch": (1, 8, 32), "delay_us": (0, 5000), "instances": (1, 2, 4), "threads": (1, 2)}
"""36 configurations."""

MODELS = {
    "batches pay": (0.005, 0.0005, 0.04),
    "batches pay a little": (0.003, 0.003, 0.2),
    "a tight limit": (0.020, 0.002, 0.060),
}
"""Fixed seconds of a batch, seconds of each inference in it, and the limit of the p99. Models whose best
configurations are hard to tell are in tests/bench/test_search_regret.py: what is lost there is a matter of
chance, and so of the last bit of a sum."""


@pytest.mark.parametrize("model", list(MODELS))
def test_what_it_finds_serves_nearly_as_much_as_the_best_and_more_than_the_default(model: str) -> None:
    known = SimulatedServer(*MODELS[model], space=space(**SMALL))
    truth = [known.capacity(number, 4000) for number in range(len(known.space.configurations))]
    assert known.space.default is not None
    found = []
    for seed in range(3):
        race = SimulatedServer(*MODELS[model], seed=seed, space=known.space).search(300)
        assert race.leader is not None
        found.append(truth[race.leader.number])
    assert sorted(found)[1] >= 0.94 * max(truth)
    assert min(found) >= 0.9 * max(truth)
    assert min(found) > truth[known.space.default]


def test_nobody_leaves_who_is_the_best() -> None:
    for seed in range(3):
        server = SimulatedServer(0.003, 0.003, 0.2, seed=seed, space=space(**SMALL))
        race = server.search(150)
        truth = [server.capacity(each.number, 4000) for each in race.candidates if each.out is not None]
        leader = race.leader
        assert leader is not None
        assert all(value < 1.05 * server.capacity(leader.number, 4000) for value in truth)


def test_one_that_the_server_refuses_costs_one_try_and_those_like_it_come_last() -> None:
    made = space(**SMALL)
    four = frozenset(n for n, each in enumerate(made.configurations) if each["server.instances"] == 4)
    server = SimulatedServer(0.003, 0.003, 0.2, space=made, broken=four)
    race = server.search(240)
    tries = [asked.candidate for asked in server.asked if asked.candidate in four]
    assert 0 < len(tries) == len(set(tries)) <= 3
    assert race.leader is not None
    assert all(finish.standing(race, race.candidates[number]) == "failed" for number in tries)
    first = server.asked.index(next(asked for asked in server.asked if asked.candidate in four))
    for asked in server.asked[first + 1 :][:8]:
        assert asked.candidate not in made.neighbours(server.asked[first].candidate)


def test_a_configuration_that_has_served_gets_another_try_when_the_server_dies_once() -> None:
    server = SimulatedServer(0.003, 0.003, 0.2, space=space(**SMALL))
    race = server.race(400)
    first = race.ask()
    assert first is not None
    race.tell(first, *server.measure(first))
    again = race.ask()
    assert again is not None
    assert again.candidate == first.candidate
    candidate = race.candidates[first.candidate]
    race.tell(again, Failed("SIGKILL"), 2.0)
    assert candidate.out is None
    race.tell(again, Failed("SIGKILL"), 2.0)
    assert candidate.out == "SIGKILL"


def test_one_that_ends_the_server_before_it_served_leaves_at_once() -> None:
    race = SimulatedServer(0.003, 0.003, 0.2, space=space(**SMALL)).race(400)
    first = race.ask()
    assert first is not None
    race.tell(first, Failed("out of memory"), 2.0)
    assert race.candidates[first.candidate].out == "out of memory"
    other = race.ask()
    assert other is not None
    assert other.candidate != first.candidate


def test_where_the_server_refuses_every_configuration_the_race_ends_without_a_leader() -> None:
    made = space(**SMALL)
    everyone = frozenset(range(len(made.configurations)))
    server = SimulatedServer(0.003, 0.003, 0.2, space=made, broken=everyone)
    race = server.search(400)
    assert race.leader is None
    assert len(server.asked) == len({asked.candidate for asked in server.asked}) == len(made.configurations)


def test_measurements_that_cannot_be_used_cost_their_time_and_in_the_end_the_configuration() -> None:
    server = SimulatedServer(0.003, 0.003, 0.2, space=space(max_batch=(8,), delay_us=(0,)))
    race = server.race(200)
    for _ in range(3):
        asked = race.ask()
        assert asked is not None
        assert asked.candidate == server.space.default
        race.tell(asked, Unusable("other processes used the machine"), 5.0)
    left = race.candidates[server.space.default or 0]
    assert left.out is not None
    assert "couldn't be used: other processes used the machine" in left.out
    assert finish.standing(race, left) == "unmeasured"
    assert race.used_s == 15.0


def test_where_nothing_holds_the_objective_there_is_no_leader() -> None:
    server = SimulatedServer(0.05, 0.01, 0.02, space=space(**SMALL))
    race = server.search(120)
    assert race.leader is None
    assert finish.simplest(race, dict.fromkeys(range(len(race.candidates)), (0.0,))) is None
    assert finish.worth_going_on(race) is None


def test_no_measurement_is_too_short_for_requests_to_come() -> None:
    """A model that serves one in two seconds: in 5 s there may be none, by chance."""
    pace = Pace(most_s=5.0)
    assert pace.seconds(0.5, 0) == FEWEST / 0.5
    assert pace.seconds(500.0, 0) == pace.least_s
    server = SimulatedServer(0.5, 0.05, 8.0, space=space(**SMALL))
    server.search(150.0)
    requests = [asked.rate_per_s * asked.seconds for asked in server.asked if asked.rate_per_s is not None]
    assert requests and min(requests) > FEWEST - 1e-6


def test_the_budget_is_kept() -> None:
    for budget_s in (60.0, 150.0):
        server = SimulatedServer(0.02, 0.002, 0.06, space=space(**SMALL))
        assert server.search(budget_s).used_s <= budget_s


def test_the_same_measurements_lead_to_the_same_questions() -> None:
    first = SimulatedServer(0.003, 0.003, 0.2, seed=5, space=space(**SMALL))
    again = SimulatedServer(0.003, 0.003, 0.2, seed=5, space=space(**SMALL))
    first.search(100)
    again.search(100)
    assert first.asked == again.asked
