"""The host's figures from readings: exact for linear counters, whatever the sampling phase, or None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.host import host_figures
from tests.analysis.readings import GIB, durations, host, intervals, phases, times, window


@given(
    server=st.floats(0, 64),
    client=st.floats(0, 4),
    seconds=durations,
    phase_s=phases,
    interval_s=intervals,
    requests=st.integers(1, 10**6),
)
def test_linear_cpu_totals_are_read_off_exactly_at_the_edges_of_the_window(
    server: float, client: float, seconds: float, phase_s: float, interval_s: float, requests: int
) -> None:
    readings = [
        host(
            t,
            server_cpu_s=100 + server * t,
            client_cpu_s=5 + client * t,
            host_cpu_s=1e4 + (server + client) * t,
        )
        for t in times(phase_s, interval_s, seconds)
    ]
    figures = host_figures(readings, window(0, seconds), requests, cores=8)
    assert figures.cores == 8
    assert figures.server_cpu_cores == pytest.approx(server, rel=1e-6, abs=1e-6)
    assert figures.client_cpu_cores == pytest.approx(client, rel=1e-6, abs=1e-6)
    assert figures.host_busy_cores == pytest.approx(server + client, rel=1e-6, abs=1e-6)
    assert figures.client_cpu_s_per_request == pytest.approx(client * seconds / requests, rel=1e-6, abs=1e-9)


def test_what_happened_outside_the_window_does_not_count() -> None:
    busy_before = [host(0, server_cpu_s=0.0), host(10, server_cpu_s=80.0), host(20, server_cpu_s=80.0)]
    assert host_figures(busy_before, window(10, 20), 1, 8).server_cpu_cores == 0
    memory = [
        host(t, server_memory_bytes=m) for t, m in ((1, 9 * GIB), (11, GIB), (15, 2 * GIB), (21, 8 * GIB))
    ]
    assert host_figures(memory, window(10, 20), 1, 8).server_memory_bytes == 2 * GIB


def test_foreign_is_what_all_processes_used_less_ours() -> None:
    def foreign(seconds: float = 10, **rates: float | None) -> float | None:
        """Of counters that grow by so much a second."""
        readings = [
            host(
                t,
                **{f"{name}_cpu_s": None if rate is None else rate * (t + 5) for name, rate in rates.items()},
            )
            for t in (-1.0, 0.5, seconds + 1)
        ]
        return host_figures(readings, window(0, seconds), 1, 2).foreign_cpu_cores

    assert foreign(host_process=1.5, server=0.5, client=0.25, harness=0.05) == pytest.approx(0.7)
    assert foreign(host_process=1.5, server=None, client=0.25, harness=0.05) == pytest.approx(1.2), (
        "elsewhere"
    )
    assert foreign(host_process=0.5, server=0.5, client=0.25, harness=0.05) == 0, "ticks, and interrupts"
    assert foreign(host_process=None, server=0.5) is None
    assert foreign(0.9, host_process=1.5, server=0.5) is None, "too short for ticks of 10 ms"


def test_foreign_is_not_made_up_where_a_part_of_ours_does_not_cover_the_window() -> None:
    readings = [host(-1, host_process_cpu_s=0.0), host(5, host_process_cpu_s=6.0, server_cpu_s=1.0)]
    readings.append(host(11, host_process_cpu_s=12.0, server_cpu_s=2.0))
    assert host_figures(readings, window(0, 10), 1, 2).foreign_cpu_cores is None


def test_stolen_and_throttled_time_are_cores_a_second() -> None:
    readings = [host(t, stolen_cpu_s=0.2 * t + 1, throttled_cpu_s=0.5 * t + 1) for t in (-1.0, 11.0)]
    figures = host_figures(readings, window(0, 10), 1, 2)
    assert figures.stolen_cpu_cores == pytest.approx(0.2)
    assert figures.throttled_cpu_cores == pytest.approx(0.5)


def test_without_readings_nothing_is_made_up() -> None:
    figures = host_figures([], window(0, 10), requests=0, cores=2)
    assert figures.model_dump(exclude={"cores"}) == dict.fromkeys(set(type(figures).model_fields) - {"cores"})
    remote = [host(-1, client_cpu_s=1.0), host(11, client_cpu_s=13.0)]
    figures = host_figures(remote, window(0, 10), requests=0, cores=2)
    assert figures.server_cpu_cores is None
    assert figures.client_cpu_cores == pytest.approx(1.0)
    assert figures.client_cpu_s_per_request is None
