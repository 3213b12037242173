"""GPU readings out of a metrics page, served by a real HTTP server as Triton would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.gpu import gpu_figures
from harness.probe.sampler import Sampler
from harness.probe.watch.prometheus import Sample, samples
from harness.probe.watch.triton_metrics import (
    NOT_TOLD,
    MetricsPage,
    MetricsWatch,
    environment,
    listed,
    reading,
)
from harness.schema.errors import InputError, ServerError
from harness.schema.samples import Window

PAGE = """\
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="minilm",version="1"} 12
# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-b"} 0.75
nv_gpu_utilization{gpu_uuid="GPU-a"} 0
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-b"} 85520809984
nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 0
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-b"} 1.5e9
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 0
# HELP nv_gpu_power_usage GPU power usage in watts
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{gpu_uuid="GPU-b"} 312.5
nv_gpu_power_usage{gpu_uuid="GPU-a"} 0
# HELP nv_gpu_power_limit GPU power management limit in watts
# TYPE nv_gpu_power_limit gauge
nv_gpu_power_limit{gpu_uuid="GPU-b"} 700
# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started
# TYPE nv_energy_consumption counter
nv_energy_consumption{gpu_uuid="GPU-b"} 4321.25
"""


def test_names_and_units_are_as_triton_documents_them() -> None:
    (first, second) = listed(samples(PAGE)).items()
    told = reading(5, 0, first[1])
    assert (told.at_ns, told.device) == (5, 0)
    assert (told.utilization, told.memory_bytes, told.power_w, told.energy_j) == (0.75, 1.5e9, 312.5, 4321.25)
    assert isinstance(told.memory_bytes, int)
    assert {told.sm_activity, told.temperature_c, told.throttle_reasons, told.processes} == {None}
    device = environment(0, first)
    assert (device.uuid, device.memory_bytes, device.power_limit_w) == ("GPU-b", 85520809984, 700)
    assert {"name", "memory_bytes", "power_limit_w", "power_w"}.isdisjoint(device.unsupported)
    assert {device.unsupported[n] for n in ("driver", "ecc", "sm_activity", "throttle_reasons")} == {NOT_TOLD}
    # where DCGM gives no value Triton writes 0, which only the utilization can be
    silent = reading(5, 1, second[1])
    assert (silent.utilization, silent.memory_bytes, silent.power_w, silent.energy_j) == (0, None, None, None)
    device = environment(1, second)
    assert (device.memory_bytes, device.power_limit_w) == (None, None)
    assert {"memory_bytes", "power_limit_w", "power_w", "energy_j"} <= device.unsupported.keys()


VALUE = st.floats() | st.sampled_from([0.0, -0.0, -1.0, float("nan"), float("inf")])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "nv_gpu_utilization",
                    "nv_gpu_power_usage",
                    "nv_energy_consumption",
                    "nv_gpu_memory_used_bytes",
                ]
            ),
            st.sampled_from(["", "GPU-a", "GPU-b"]),
            VALUE,
        ),
        max_size=8,
    )
)
def test_no_value_is_negative_infinite_or_made_up(page: list[tuple[str, str, float]]) -> None:
    gpus = listed(Sample(name, {"gpu_uuid": uuid} if uuid else {}, value) for name, uuid, value in page)
    assert set(gpus) == {uuid for _, uuid, _ in page} - {""}
    for number, values in enumerate(gpus.values()):
        told = reading(0, number, values)
        for value in (told.utilization, told.power_w, told.energy_j, told.memory_bytes):
            assert value is None or 0 <= value < float("inf")


Page = Callable[[], tuple[int, str]]


@pytest.fixture
def served() -> Iterator[Callable[[Page], MetricsPage]]:
    """Serves a page that is made anew for each request."""
    servers: list[HTTPServer] = []

    def start(page: Page) -> MetricsPage:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = page()
                if self.path != "/metrics":
                    status = 404
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return MetricsPage.of(f"http://127.0.0.1:{server.server_address[1]}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_energy_of_a_window_comes_from_the_counter_that_triton_renews_now_and_then(
    served: Callable[[Page], MetricsPage],
) -> None:
    began = time.monotonic()

    def page() -> tuple[int, str]:
        looked = (time.monotonic() - began) // 0.3 * 0.3  # as with --metrics-interval-ms=600
        return 200, f'nv_energy_consumption{{gpu_uuid="GPU-a"}} {200 * looked}\n'

    watch = MetricsWatch(served(page), interval_s=0.05)
    with Sampler(list, list, watch=watch) as sampler:
        assert sampler.idle() is None, "it is too slow for an idle window"
        time.sleep(0.7)
        start_ns = time.monotonic_ns()
        time.sleep(3)
        window = Window(start_ns, time.monotonic_ns())
        time.sleep(0.7)
    (figures,) = gpu_figures(sampler.gpu, sampler.gpus, window, inferences=10) or ()
    # a renewal is a tenth of the window, and a busy machine looks late
    assert figures.energy_j == pytest.approx(200 * window.seconds, rel=0.25)
    assert 6 <= len(sampler.gpu) <= 20, "looks that find nothing new are left out"
    assert sampler.gpu_probe is not None
    assert sampler.gpu_probe.source == "triton metrics"
    assert 0.2 < sampler.gpu_probe.interval_s < 1
    assert (sampler.problems, sampler.no_gpu) == ((), None)


def test_a_page_without_gpus_says_why_there_are_none(served: Callable[[Page], MetricsPage]) -> None:
    endpoint = served(lambda: (200, 'nv_cpu_utilization 0.5\nnv_inference_count{model="a"} 1\n'))
    assert endpoint.gpus() == ()
    with Sampler(list, list, watch=MetricsWatch(endpoint)) as sampler:
        pass
    assert sampler.gpus == () and sampler.gpu_probe is None
    assert sampler.no_gpu is not None and "lists no GPU" in sampler.no_gpu


def test_a_page_that_goes_away_is_told_once_and_what_was_read_stays(
    served: Callable[[Page], MetricsPage],
) -> None:
    pages = iter([(200, PAGE), *[(503, "")] * 3])
    watch = MetricsWatch(served(lambda: next(pages, (200, PAGE.replace("312.5", "310")))), interval_s=0.05)
    with Sampler(list, list, watch=watch) as sampler:
        time.sleep(0.6)
    (problem,) = sampler.problems
    assert "503" in problem
    assert [r.power_w for r in sampler.gpu if r.device == 0] == [312.5, 310, 310]
    assert [gpu.uuid for gpu in sampler.gpus] == ["GPU-b", "GPU-a"]


def test_a_gpu_of_which_nothing_is_told_has_no_readings(served: Callable[[Page], MetricsPage]) -> None:
    endpoint = served(lambda: (200, 'nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 1000\n'))
    with Sampler(list, list, watch=MetricsWatch(endpoint)) as sampler:
        pass
    assert [gpu.memory_bytes for gpu in sampler.gpus] == [1000]
    assert list(sampler.gpu) == [] and sampler.gpu_probe is None


def test_an_endpoint_that_nobody_serves_is_a_problem_and_no_end(
    served: Callable[[Page], MetricsPage],
) -> None:
    endpoint = MetricsPage.of("http://127.0.0.1:9")
    with Sampler(list, list, watch=MetricsWatch(endpoint)) as sampler:
        pass
    assert sampler.no_gpu is not None and "did not come" in sampler.no_gpu
    with pytest.raises(ServerError, match="leave out --metrics-url"):
        endpoint.gpus()
    with pytest.raises(ServerError, match="404"):
        MetricsPage.of(served(lambda: (200, PAGE)).url + "/nothing").gpus()


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("http://gpu-box:8002/metrics", ("gpu-box", 8002, "/metrics")),
        ("http://gpu-box", ("gpu-box", 8002, "/metrics")),
        ("http://10.0.0.5:9999/", ("10.0.0.5", 9999, "/metrics")),
        ("http://[::1]:8002/triton/metrics", ("::1", 8002, "/triton/metrics")),
    ],
)
def test_addresses_of_a_metrics_page(url: str, at: tuple[str, int, str]) -> None:
    endpoint = MetricsPage.of(url)
    assert (*endpoint.address, endpoint.path) == at


@pytest.mark.parametrize(
    "url",
    [
        "gpu-box:8002",
        "https://gpu-box:8002/metrics",
        "http://",
        "http://a:b/",
        "http://u@gpu-box/",
        "http://a/\r\nX: y",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="give it as http://"):
        MetricsPage.of(url)
