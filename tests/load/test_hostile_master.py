"""`harness worker` at a master that means no good: it sends load, writes into its own folder, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.load.distributed.messages import CHUNK, Malformed, told
from harness.load.load_plan import accept_file
from tests.load.rogue_master import Word, leading


def file(name: str, data: bytes, at: int = 0) -> Word:
    return "harness", {"do": "file", "name": name, "at": at, "data": data}


def harness(do: str, **facts: Any) -> Word:
    return "harness", {"do": do} | facts


GO = harness("go", worker=0, of=1)
PLAN = (
    b'{"endpoint":{"protocol":"http","host":"127.0.0.1","port":9,"timeout_s":1.0},'
    b'"classes":[{"name":"a","weight":1.0,"requests":[[0,%d]]}],'
    b'"seed":1,"slots":%d,"concurrency":1,"warmup_s":0.0,"limit_s":1.0}'
)
NOT_OF_A_RUN = "the run sent what no run sends: "


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([file("sitecustomize.py", b"import os; os._exit(7)")], "is no file of a load plan"),
        ([file("load-plan.json", b"x" * (CHUNK + 1))], NOT_OF_A_RUN + "file.data"),
        ([harness("exec", code="1")], NOT_OF_A_RUN),
        (
            [
                file("load-plan.json", PLAN % (1, 1)),
                file("load-payloads.bin", b"x"),
                file("load-times-measure.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', }"),
                GO,
            ],
            "has no times of an open loop",
        ),
    ],
    ids=["a module", "too much at once", "a word of its own", "a pickle"],
)
def test_a_worker_ends_with_a_sentence(tmp_path: Path, words: list[Word], says: str) -> None:
    locusts: list[Word] = [
        ("locustfile", {"locustfiles": [{"filename": "x.py", "contents": "raise SystemExit(7)"}]}),
        ("update_user_class", {"user_class_name": "PlannedUser", "host": "http://elsewhere"}),
        ("spawn", {"timestamp": 1e12, "user_classes_count": {"PlannedUser": 10**9}}),
        ("spawn", {"user_classes_count": {}, "parsed_options": {"tags": ["x"]}}),
        ("ack", 5),
    ]
    with leading([*locusts, *words]) as (port, _):
        done = subprocess.run(
            [sys.executable, "-m", "harness", "worker", "--master", f"127.0.0.1:{port}", "--once"],
            env=os.environ | {"TMPDIR": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 4, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr and "a bug in harness" not in done.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "word",
    [
        None,
        [],
        {"do": []},
        {"do": "file"},
        {"do": "file", "name": "load-plan.json", "at": -1, "data": b""},
        {"do": "go", "worker": "0", "of": 1},
        {"do": "go", "worker": 0, "of": 1, "more": 1},
        {"do": "begin", "phase": "BOTH", "at_ns": 0, "seconds": 1.0},
        {"do": "begin", "phase": "WARMUP", "at_ns": 0, "seconds": float("nan")},
        {"do": "begin", "phase": "WARMUP", "at_ns": 1 << 63, "seconds": 1.0},
        {"do": "enough"},
    ],
    ids=str,
)
def test_what_is_no_word_of_a_run_is_malformed(word: Any) -> None:
    with pytest.raises(Malformed):
        told(word)


@pytest.mark.parametrize(("name", "at"), [("../outside", 0), ("load-plan.json", 1 << 40), ("/etc/x", 0)])
def test_only_a_plans_files_are_written_each_from_its_begin(tmp_path: Path, name: str, at: int) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ValueError, match=r"is no file of a load plan|came, and 0 was due"):
        accept_file(inside, name, at, b"x")
    assert list(tmp_path.rglob("*")) == [inside]


def test_a_full_disk_takes_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.load.load_plan._FREE_BYTES", 1 << 62)
    with pytest.raises(OSError, match="are left of the disk"):
        accept_file(tmp_path, "load-plan.json", 0, b"x")
    assert list(tmp_path.iterdir()) == []
