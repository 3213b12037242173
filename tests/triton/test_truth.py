"""The model of known service time, asked by NVIDIA's own client, and its clock against a simulation."""

from __future__ import annotations

import importlib.util
import sys
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.queueing import _working, finishes
from harness.triton.embedded import EmbeddedServer
from harness.triton.truth import SERVED, SERVICE, write_null, write_truth

STALL_S, PERIOD_S = 0.3, 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("truth")
    with EmbeddedServer(folder / "repository", folder / "triton.log", response_cache=True) as triton:
        triton.start(
            partial(write_truth, name="truth"),
            partial(write_truth, name="stalls", stall_s=STALL_S, period_s=PERIOD_S),
            write_null,
        )
        yield triton


def ask(server: EmbeddedServer, model: str, service_s: float) -> tuple[float, float]:
    """(when it was answered, seconds it took), by tritonclient."""
    import tritonclient.http as triton

    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        tensor = triton.InferInput(SERVICE, [1, 1], "FP64")
        tensor.set_data_from_numpy(np.array([[service_s]]))
        began = time.monotonic()
        answer = client.infer(model, [tensor])
        ended = time.monotonic()
        assert answer.as_numpy(SERVED).tolist() == [[service_s]]
    return ended, ended - began


@pytest.mark.triton
def test_a_request_is_served_for_as_long_as_it_says(server: EmbeddedServer) -> None:
    ask(server, "truth", 0.0)
    for service_s in (0.01, 0.05, 0.1):
        took = [ask(server, "truth", service_s)[1] - service_s for _ in range(10)]
        assert min(took) > 0
        assert sorted(took)[2] < 0.01  # the wire; a busy machine spoils some of ten, not all


@pytest.mark.triton
def test_requests_at_once_are_served_one_after_the_other_and_no_delay_adds_up(server: EmbeddedServer) -> None:
    number, service_s = 20, 0.02
    with ThreadPoolExecutor(number) as pool:
        answered = sorted(at for at, _ in pool.map(lambda _: ask(server, "truth", service_s), range(number)))
    gaps = np.diff(answered)
    assert np.median(gaps) == pytest.approx(service_s, abs=0.004)
    assert answered[-1] - answered[0] == pytest.approx((number - 1) * service_s, abs=0.04)


@pytest.mark.triton
def test_the_server_stands_still_at_the_start_of_each_period(server: EmbeddedServer) -> None:
    ask(server, "stalls", 0.0)
    answered = []
    until = time.monotonic() + 2.2 * PERIOD_S
    while time.monotonic() < until:
        answered.append(ask(server, "stalls", 0.005)[0])
    phases = np.asarray(answered) % PERIOD_S
    late_s = 0.02  # an answer given just before a stall may be read in it
    assert not np.any((phases > late_s) & (phases < STALL_S))
    assert np.diff(answered).max() > STALL_S


@pytest.mark.triton
def test_triton_counts_each_request_once_though_the_model_answers_later(server: EmbeddedServer) -> None:
    before = server.statistics("truth")
    for _ in range(5):
        ask(server, "truth", 0.01)
    after = server.statistics("truth")
    assert after.successes - before.successes == 5
    assert after.failures == before.failures


@pytest.fixture(scope="module")
def model() -> Any:
    """The model's file, imported as Triton does but for the module that only Triton has."""
    file = Path(__file__).parents[2] / "harness" / "triton" / "truth" / "model.py"
    spec = importlib.util.spec_from_file_location("truth_model", file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # other tests have a double of their own for it
        name = "triton_python_backend_utils"
        patch.setitem(sys.modules, name, types.ModuleType(name))
        spec.loader.exec_module(loaded)
    return loaded


@given(
    gaps=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=30),
    services=st.lists(st.floats(0.001, 3.0), min_size=30, max_size=30),
    stall_s=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_the_model_s_clock_is_the_simulation_s(
    model: Any, gaps: list[float], services: list[float], stall_s: float
) -> None:
    arrivals = 100.0 + np.cumsum(gaps)
    served = np.asarray(services[: len(gaps)])
    free, finished = 0.0, []
    for at, service in zip(arrivals.tolist(), served.tolist(), strict=True):
        free = model.finished(max(at, free), service, stall_s, 1.0)
        finished.append(free)
    # Rounding decides whether a service that is over just as a stall begins is over before it or after it:
    # both are as much work.
    simulated = finishes(arrivals, served, stall_s, 1.0)
    work = [_working(np.asarray(times), stall_s, 1.0) for times in (finished, simulated)]
    np.testing.assert_allclose(*work, atol=1e-6)
    if not stall_s:
        np.testing.assert_allclose(finished, simulated, atol=1e-6)


@pytest.mark.parametrize(
    ("start_s", "service_s", "finish_s"),
    [
        (100.2, 0.1, 100.6),  # waits for the stall's end
        (100.6, 0.4, 101.0),  # over as the next stall begins
        (100.5, 1.0, 102.0),  # the same, after a stall
        (100.6, 0.5, 101.6),  # interrupted
        (100.6, 1.5, 103.6),  # three times
    ],
)
def test_a_stall_holds_a_service_up(model: Any, start_s: float, service_s: float, finish_s: float) -> None:
    assert model.finished(start_s, service_s, 0.5, 1.0) == pytest.approx(finish_s)
    simulated = finishes(np.array([start_s]), np.array([service_s]), 0.5, 1.0)
    assert simulated == pytest.approx([finish_s])
