"""The text format of a metrics page: what is written by its rules is read, and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe.watch.prometheus import Sample, samples

NAME = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,15}", fullmatch=True)
LABEL = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
SAMPLE = st.builds(
    Sample, NAME, st.dictionaries(LABEL, st.text(max_size=15), max_size=3), st.floats(allow_nan=False)
)


def written(sample: Sample, time: int | None) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    labels = ",".join(f'{name}="{escaped(value)}"' for name, value in sample.labels.items())
    value = {math.inf: "+Inf", -math.inf: "-Inf"}.get(sample.value, repr(sample.value))
    return f"{sample.name}{{{labels}}} {value}" + ("" if time is None else f" {time}")


@given(st.lists(st.tuples(SAMPLE, st.none() | st.integers(-(2**40), 2**40)), max_size=6))
def test_what_is_written_by_the_rules_is_read(page: list[tuple[Sample, int | None]]) -> None:
    text = "# HELP a\n# TYPE a gauge\n\n" + "".join(f"{written(s, time)}\n" for s, time in page)
    assert list(samples(text)) == [sample for sample, _ in page]


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for sample in samples(text):
        assert isinstance(sample.value, float)


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a{",
        'a{b="c"',
        'a{b="c} 1',
        "a{b=c} 1",
        'a{b="c" d="e"} 1',
        'a{="c"} 1',
        "a 1_000",
        "a 0x10",
        "a one",
        "a 1 2 3",
        "1a 1",
        "a-b 1",
        "# a 1",
        "a { 1",
        'a{b="c\\"} 1',
    ],
)
def test_what_breaks_the_rules_is_left_out(line: str) -> None:
    assert list(samples(f"{line}\nnv_gpu_utilization 0.5\n")) == [Sample("nv_gpu_utilization", {}, 0.5)]


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ('a{b="}"} 1', Sample("a", {"b": "}"}, 1)),
        ('a{b="x\\\\",c="\\"\\n"} 1e-3', Sample("a", {"b": "x\\", "c": '"\n'}, 0.001)),
        ('a{b="c",} -.5', Sample("a", {"b": "c"}, -0.5)),
        (' a { b = "c" }  +1. 1700000000000 \r', Sample("a", {"b": "c"}, 1)),
        ("a{} +Inf", Sample("a", {}, math.inf)),
    ],
)
def test_the_corners_of_the_format(line: str, sample: Sample) -> None:
    assert list(samples(line)) == [sample]
