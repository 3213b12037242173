"""A recording of what NVML answered: plain text, one answer a line, to be replayed where there is no GPU.

    harness NVML recording 1
    <ns> <device> <call> <code> <answer>
    ...
    <ns> end

`ns` is the time since the recording began. `device` is a GPU's index, `0/1` for MIG device 1 of GPU 0, `-`
for the driver itself. `call` is NVML's name, with its arguments in brackets: `nvmlDeviceGetClockInfo(1)`.
`code` is NVML's, 0 for success; only then there is an answer: numbers apart by spaces, in NVML's units and in
the order of its parameters; a text to the end of the line; for processes `pid:bytes` each, `-` for bytes that
it doesn't tell; for `nvmlGpmMetricsGet` (in brackets the GPU instance) `metric:code:value` each, because what
it is computed from is opaque. An answer is written when it differs from the one before to the same call, so
it holds until the next line with the same device and call. Without its last line a recording is incomplete.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

HEADER = "harness NVML recording 1"


class Recorder:
    """Writes a recording to `path`, from now on. It never raises: `problem` says what went wrong."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self.problem: str | None = None
        self._path = path
        self._clock = clock
        self._began_ns = clock()
        self._last: dict[tuple[str | None, str], tuple[int, str]] = {}
        self._file: TextIO | None = None
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            self._failed(error)
        self._write(HEADER)

    def note(self, device: str | None, call: str, code: int, answer: str) -> None:
        if self._last.get((device, call)) == (code, answer):
            return
        self._last[device, call] = code, answer
        line = f"{self._clock() - self._began_ns} {device or '-'} {call} {code}"
        self._write(f"{line} {answer}" if answer else line)

    def close(self) -> None:
        self._write(f"{self._clock() - self._began_ns} end")
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._failed(error)
            self._file = None

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self._file = None
        self.problem = (
            f"NVML's answers could not be recorded in {self._path} ({error.strerror}): "
            "name a file in a folder that you can write, with room"
        )
