"""What a reader of GPUs writes comes back as it was, and what is damaged costs no more than itself."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.probe.reader.spool import (
    Cost,
    End,
    Hello,
    KnownProcesses,
    Learnt,
    Line,
    ProcessInfo,
    Spool,
    Unsupported,
    encoded,
    in_time,
)
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuProcess, GpuReading, HostReading

NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.none() | st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=20)
NAMES = st.none() | st.lists(TEXT, max_size=3).map(tuple)
PROCESS = st.builds(GpuProcess, st.integers(0, 2**31), st.none() | TEXT, WHOLE)
GPU = st.builds(
    GpuReading,
    st.integers(0, 2**63 - 1),
    st.integers(0, 15),
    *(NUMBER, WHOLE, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NAMES, NAMES, WHOLE),
    *(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, WHOLE),
    st.none() | st.lists(PROCESS, max_size=3).map(tuple),
)
HOST = st.builds(
    HostReading,
    st.integers(0, 2**63 - 1),
    *(NUMBER, NUMBER, st.floats(0, 1e9), WHOLE, WHOLE, NUMBER, NUMBER, NUMBER, NUMBER),
)
DEVICE = GpuEnvironment(
    device=0,
    name="a GPU",
    uuid="GPU-0",
    memory_bytes=None,
    driver=None,
    cuda_driver=None,
    power_limit_w=700.0,
    persistence=True,
    ecc=None,
    mig=False,
    unsupported={"ecc": "no ECC"},
)


@given(gpu=st.lists(GPU, max_size=5), host=st.lists(HOST, max_size=5))
def test_readings_come_back_as_they_were(gpu: list[GpuReading], host: list[HostReading]) -> None:
    spool = Spool()
    spool.take([*map(encoded, gpu), *map(encoded, host)])
    assert (spool.gpu, spool.host, spool.unreadable) == (sorted(gpu, key=in_time), host, 0)


def test_everything_else_comes_back_too(tmp_path: Path) -> None:
    written: list[Line] = [
        Hello((DEVICE,), None, "box", "an id", 8, ("nvml", "other")),
        ProcessInfo(7, "python", (3, 1)),
        KnownProcesses((1, 2), (3,)),
        KnownProcesses((2, 4), ()),
        Cost(0.25, 50.0),
        Learnt(("it was lost",), (Unsupported(0, None, {"power_w": "Not Supported"}),)),
        End(),
    ]
    path = tmp_path / "gpu.jsonl"
    path.write_bytes(b"".join(encoded(each) for each in written))
    spool = Spool.read(path)
    assert spool.hello == written[0]
    assert spool.process_info == {7: written[1]}
    assert (spool.server, spool.others) == ({1, 2, 4}, {3})
    assert spool.cost == written[4]
    assert spool.problems == ("it was lost",)
    assert spool.ended
    (device,) = spool.devices()
    assert device.unsupported == {"ecc": "no ECC", "power_w": "Not Supported"}


@given(gpu=st.lists(GPU, min_size=1, max_size=4), data=st.data())
def test_a_file_that_was_cut_off_gives_all_whole_lines(gpu: list[GpuReading], data: st.DataObject) -> None:
    lines = [encoded(reading) for reading in gpu]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    spool = Spool()
    spool.take(whole[:cut].splitlines(keepends=True))
    assert spool.gpu == sorted(gpu[: whole[:cut].count(b"\n")], key=in_time)
    assert spool.unreadable == 0


@given(garbage=st.lists(st.binary(max_size=60) | TEXT.map(str.encode), max_size=5), reading=GPU)
def test_a_line_of_nonsense_is_counted_and_the_others_are_read(
    garbage: list[bytes], reading: GpuReading
) -> None:
    lines = [text.replace(b"\n", b"") + b"\n" for text in garbage]
    spool = Spool()
    spool.take([*lines, encoded(reading)])
    assert spool.gpu == [reading]
    assert spool.unreadable == len(lines)
    assert len(spool.problems) == (1 if lines else 0)


def test_nonsense_of_every_shape_is_no_reading() -> None:
    wrong = [
        b'{"gpu":{}}',
        b'{"gpu":{"at_ns":"soon","device":0}}',
        b'{"gpu":[1]}',
        b'{"gpu":{"at_ns":1,"device":0},"host":{}}',
        b'{"host":{"at_ns":1}}',
        b'{"hello":{"devices":[{}]}}',
        b"[]",
        b"1",
        b"{}",
        b"[" * 100_000,
        b'{"what":{}}',
        b'{"kin":{"pid":1,"name":null,"ancestors":[]}}',
    ]
    spool = Spool()
    spool.take(each + b"\n" for each in wrong)
    assert spool.unreadable == len(wrong)
    assert (spool.gpu, spool.host, spool.hello, spool.process_info) == ([], [], None, {})


def test_a_reader_of_0_1_and_one_of_today_understand_each_other() -> None:
    """`harness probe --serve` and the run may be of different versions: keys and members keep their names."""
    spool = Spool(foreign=True)
    spool.take(
        [
            b'{"hello":{"devices":[],"host":"box","cores":8}}\n',
            b'{"kin":{"pid":7,"name":"python","ancestors":[1]}}\n',
            b'{"ours":{"server":[1],"others":[2]}}\n',
        ]
    )
    assert spool.unreadable == 0
    assert spool.hello == Hello((), None, "box", None, 8, sources=None)
    assert spool.process_info == {7: ProcessInfo(7, "python", (1,))}
    assert (spool.server, spool.others) == ({1}, {2})
    assert encoded(ProcessInfo(7, "python", (1,))).startswith(b'{"kin":{"pid":')
    assert encoded(KnownProcesses((1,), (2,))) == b'{"ours":{"server":[1],"others":[2]}}\n'


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert Spool.read(tmp_path / "none").hello is None
