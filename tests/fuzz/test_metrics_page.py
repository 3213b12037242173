"""The text of a metrics page."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from harness.probe.watch.prometheus import samples
from harness.probe.watch.triton_metrics import MOST_GPUS, environment, listed, reading
from tests.fuzz import fuzz, mutated

LINES = (
    b"# HELP nv_gpu_utilization GPU utilization rate\n",
    b'nv_gpu_utilization{gpu_uuid="GPU-b"} 0.75\n',
    b'nv_gpu_memory_used_bytes{gpu_uuid="GPU-a",x="\\"\\\\\\n"} 1.5e9 1700000000\n',
    b'nv_gpu_power_usage{gpu_uuid="GPU-b"} NaN\nnv_energy_consumption{gpu_uuid="GPU-b"} 1e308\n',
    b'nv_gpu_memory_total_bytes{gpu_uuid="GPU-b"} 99999999999999999999999999\n',
    b"nv_gpu_power_limit 700\n",
)


@fuzz(mutated(*LINES, b"".join(LINES)), st.integers(1, 30))
def test_a_page_tells_what_gpus_can_have_or_nothing(page: bytes, times: int) -> None:
    gpus = listed(samples((page * times).decode("utf-8", "replace")))
    assert len(gpus) <= MOST_GPUS
    for number, (uuid, values) in enumerate(gpus.items()):
        assert uuid.isprintable() and 0 < len(uuid) <= 100
        told = reading(0, number, values)
        for value in (told.utilization, told.power_w, told.energy_j, told.memory_bytes):
            assert value is None or (0 <= value < 2**63 and math.isfinite(value))
        assert environment(number, (uuid, values)).model_dump_json()


@fuzz(st.text(alphabet=' \t{}="\\,a1.eE+-\r\n#', max_size=200))
def test_any_lines_are_read_without_an_error(text: str) -> None:
    for sample in samples(text):
        assert isinstance(sample.value, float)
