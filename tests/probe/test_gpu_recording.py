"""Recordings of what NVML answered, and the double that gives the same answers through the same seam."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests import nvml
from tests.nvml import NvmlDouble, observe, observe_each, printed_by

SAME = ("rounds", "devices_at_start", "devices", "unsupported", "unavailable", "problems")

LIVE = """
import json, sys, time
from pathlib import Path
from harness.probe.nvidia.nvml_gpus import NvmlGpus

record = Path(sys.argv[2]) if len(sys.argv) > 2 else None
powers, began = [], time.monotonic()
with NvmlGpus(record, cpu_clock=lambda: 0) as gpus:
    while time.monotonic() < began + float(sys.argv[1]):
        powers += [r.power_w for r in gpus.read()]
        time.sleep(0.02)
print(json.dumps(powers))
"""

REFUSALS = """
import json, os, sys
from pathlib import Path
from harness.probe.nvidia.nvml_gpus import NvmlGpus

file, whole = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
reasons = []
for length in (*range(0, len(whole) - 200, 17), *range(len(whole) - 200, len(whole) + 1)):
    file.write_bytes(whole[:length])
    with NvmlGpus() as gpus:
        reasons.append([gpus.unavailable, len(gpus.read())])
print(json.dumps(reasons))
"""


def recorded(nvml_double: NvmlDouble, file: Path, script: str, rounds: int = 30) -> Any:
    return observe(nvml_double(script), rounds, record=file)


def test_a_recording_of_the_scripted_double_replays_to_the_same_series(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    scripts = (
        f"gpus=2 varying=1 processes={os.getpid()},4194301 graphics=1",
        "gpus=2 mig=2 varying=1 processes=1,4194301,4194302",
        "gpus=3 varying=1 lost=1@700ms",
        "gpus=2 varying=1 flaky=7",
        "gpm=0 missing=nvmlDeviceGetTemperature,nvmlDeviceGetCurrentClocksEventReasons "
        "unsupported=nvmlDeviceGetFieldValues,nvmlDeviceGetEccMode",
        "gpus=2 lost=0@0",
        "gpus=0",
        "init=9",
    )
    files = [tmp_path / f"{i}.txt" for i in range(len(scripts))]
    originals = observe_each(nvml_double(), scripts, rounds=30, records=files)
    replays = observe_each(nvml_double(), [f"replay={file}" for file in files], rounds=30)
    for script, original, replayed in zip(scripts, originals, replays, strict=True):
        for what in SAME:
            assert replayed[what] == original[what], script
        if "varying" in script:
            assert len({r["power_w"] for readings in original["rounds"] for r in readings}) > 20


def test_recording_changes_nothing_in_what_is_read(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    script = "gpus=2 mig=1 varying=1 processes=1"
    alone = observe(nvml_double(script), rounds=30)
    assert {what: alone[what] for what in SAME} == {
        what: value
        for what, value in recorded(nvml_double, tmp_path / "r.txt", script).items()
        if what in SAME
    }


def test_a_recording_of_a_replay_is_the_same_recording(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    recorded(nvml_double, first, "gpus=2 mig=2 varying=1 processes=1,4194301 lost=1@900ms")
    recorded(nvml_double, second, f"replay={first}")
    assert second.read_text() == first.read_text()


def test_after_its_end_the_last_answers_stay(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    file = tmp_path / "recording.txt"
    original = recorded(nvml_double, file, "varying=1", rounds=5)
    replayed = observe(nvml_double(f"replay={file}"), rounds=60)
    assert replayed["rounds"][:5] == original["rounds"]
    assert {r["power_w"] for (r,) in replayed["rounds"][5:]} == {original["rounds"][-1][0]["power_w"]}


def test_by_the_real_clock_answers_come_in_their_order_at_their_times(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    file = tmp_path / "recording.txt"
    original = printed_by(LIVE, nvml_double("varying=1"), "0.6", str(file))
    replayed = printed_by(LIVE, nvml_double(f"replay={file}"), "1.0")
    assert len(original) > 10
    places = [original.index(power) for power in replayed]
    assert places == sorted(places)
    assert len(set(places)) > len(original) / 3, "most of the answers were met"
    assert replayed[-1] == original[-1]
    # 0.4 s of the replay are after the end, if no look was late
    assert replayed.count(original[-1]) > 3


def test_a_minute_at_20_hz_is_under_2_mb(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    file = tmp_path / "recording.txt"
    seen = recorded(nvml_double, file, "gpus=2 varying=1 processes=1,2,3", rounds=1200)
    assert len(seen["rounds"]) == 1200
    assert 20_000 < file.stat().st_size < 2_000_000
    last: dict[tuple[str, str], str] = {}
    for line in file.read_text().splitlines()[1:-1]:
        _, device, call, answer = line.split(" ", 3)
        assert last.get((device, call)) != answer, "an answer that hadn't changed was written again"
        last[device, call] = answer


def test_a_recording_is_plain_text_with_numbers_in_nvmls_units(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    file = tmp_path / "recording.txt"
    recorded(nvml_double, file, "mig=1 processes=4194301 unsupported=nvmlDeviceGetEccMode", rounds=4)
    lines = file.read_text().splitlines()
    answers = {line.split(" ", 1)[1] for line in lines[1:]}
    assert lines[0] == "harness NVML recording 1"
    assert lines[-1] == "200000000 end"
    assert {
        "- nvmlDeviceGetCount 0 1",
        f"0 nvmlDeviceGetName 0 {nvml.NAME}",
        "0 nvmlDeviceGetEccMode 3",
        "0 nvmlDeviceGetClockInfo(1) 0 1500",
        "0 nvmlDeviceGetFieldValues(186) 0 300000.0",
        "0/0 nvmlDeviceGetComputeRunningProcesses_v3 0 4194301:1073741824",
        "0/1 nvmlDeviceGetMigDeviceHandleByIndex 6",
        "0 nvmlGpmMetricsGet(3) 0 2:0:23.0 3:0:25.0 5:0:12.5 10:0:37.5 20:3:0.0 21:3:0.0",
    } <= answers
    times = [int(line.split()[0]) for line in lines[1:]]
    assert times == sorted(times)


def test_a_recording_that_was_cut_anywhere_is_refused(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.txt", tmp_path / "cut.txt"
    recorded(nvml_double, whole, "mig=1 varying=1 processes=1 graphics=2", rounds=4)
    reasons = printed_by(REFUSALS, nvml_double(f"replay={cut}"), str(cut), str(whole))
    assert len(reasons) > 300
    assert reasons[-1][0] is None and reasons[-1][1] > 0
    for why, readings in reasons[:-1]:
        assert str(cut) in why and "record it anew" in why
        assert readings == 0


def test_a_broken_line_is_refused_with_its_number(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    whole = tmp_path / "whole.txt"
    recorded(nvml_double, whole, "varying=1 processes=1", rounds=4)
    text = whole.read_text()
    mode, processes, end = "0 nvmlDeviceGetPersistenceMode 0 1", "_v3 0 1:1073741824", "200000000 end"
    broken = (
        ("harness NVML recording 1", "harness NVML recording 2"),
        (mode, "0 nvmlDeviceGetPersistenceMode 0 on"),
        (mode, "0 nvmlDeviceGetPersistenceMode 0"),
        (mode, "0 nvmlDeviceGetPersistenceMode 0 1 1"),
        (mode, "0 nvmlDeviceGetPersistenceMode 3 1"),
        (mode, "0 nvmlDeviceGetPersistence 0 1"),
        (mode, "gpu nvmlDeviceGetPersistenceMode 0 1"),
        (mode, ""),
        (processes, f"{processes} x"),
        (processes, "_v3 0 1"),
        ("50000000 0 nvmlDeviceGetFieldValues(186)", "-1 0 nvmlDeviceGetFieldValues(186)"),
        (end, "199999999 end"),
        (end, f"{end} "),
        (end, ""),
    )
    files = [tmp_path / f"{i}.txt" for i in range(len(broken))]
    for file, (line, instead) in zip(files, broken, strict=True):
        assert line in text
        file.write_text(text.replace(line, instead, 1))
    all_seen = observe_each(nvml_double(), [f"replay={file}" for file in files])
    for file, (line, instead), seen in zip(files, broken, all_seen, strict=True):
        number = text[: text.index(line)].count("\n") + 1
        why = f"the recording {file} is broken in line {number}: record it anew"
        assert why in (seen["unavailable"] or ""), instead
        assert seen["devices"] == [] and seen["rounds"] == [[], []]


def test_what_stands_after_the_last_line_is_refused(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    file = tmp_path / "recording.txt"
    recorded(nvml_double, file, "", rounds=1)
    file.write_text(file.read_text() * 2)
    assert "is broken in line" in observe(nvml_double(f"replay={file}"))["unavailable"]


def test_no_such_recording_and_one_that_cannot_be_written_are_said(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    missing = observe(nvml_double(f"replay={tmp_path / 'nothing.txt'}"))
    assert "nothing.txt can't be read: No such file" in missing["unavailable"]
    nowhere = tmp_path / "nowhere" / "recording.txt"
    seen = recorded(nvml_double, nowhere, "", rounds=3)
    assert [r["power_w"] for (r,) in seen["rounds"]] == [nvml.POWER_W] * 3
    (problem,) = seen["problems"]
    assert problem == (
        f"NVML's answers could not be recorded in {nowhere} (No such file or directory): "
        "name a file in a folder that you can write, with room"
    )
    full = recorded(nvml_double, Path("/dev/full"), "varying=1", rounds=300)
    assert len(full["rounds"]) == 300
    assert ["/dev/full (No space left on device)" in problem for problem in full["problems"]] == [True]


def test_several_openings_in_one_process_each_replay_from_the_beginning(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    file = tmp_path / "recording.txt"
    original = recorded(nvml_double, file, "varying=1", rounds=6)
    for seen in observe_each(nvml_double(), [f"replay={file}"] * 3, rounds=6):
        assert json.dumps(seen["rounds"]) == json.dumps(original["rounds"])
