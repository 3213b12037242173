"""The watches of `harness probe --serve`: readers of this machine that runs elsewhere have begun.

Each is a process and a file on this machine, which is measured meanwhile. So their number is bounded, in all
and for one client's address, as are how often they begin and how much they leave on the disk.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.guests import Pace
from harness.probe.reader.reader_process import ReaderProcess
from harness.probe.service.http_server import Refused

WATCHES, WATCHES_EACH = 16, 4
KEPT_EACH = 8
"""Watches of one address whose lines are still there, ended or not."""
AT_ONCE, PER_S = 8, 0.5
"""How often one address may begin a watch: each starts a process, and a point takes longer."""
LINES_BYTES = 1 << 30
"""A watch with more lines is ended: hours of a machine with eight GPUs, whose disk this is."""
CHUNK_BYTES = 4 << 20
"""The most bytes of one answer."""
PIECE_BYTES = 1 << 16
FORGOTTEN_S = 30.0
"""A watch that nobody has asked about for this time is ended: its run is gone."""


class Watches:
    """The watches that run or have ended. `arguments` are those of each `harness.probe.reader.reader`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._all: dict[str, Watch] = {}
        self._lock = threading.Lock()
        self._pace = Pace(AT_ONCE, PER_S)
        self._folder = tempfile.TemporaryDirectory(prefix="harness-probe-")

    def begin(self, address: str, interval_s: float) -> str:
        """Begin a watch for a client at `address` and wait for its first readings. Returns the watch's key.
        Raises Refused."""
        if not self._pace.take(address):
            raise Refused(429, "too many watches were begun from there in a short time: try again later")
        with self._lock:
            leaver = self._room_for(address)
            key = secrets.token_hex(8)
            path = Path(self._folder.name) / key
            arguments = [f"--interval-s={interval_s}", "--host", *self._arguments]
            watch = self._all[key] = Watch(address, path, arguments)
        if leaver is not None:
            leaver.drop()
        watch.reader.wait_for_hello()
        watch.asked = time.monotonic()
        return key

    def _room_for(self, address: str) -> Watch | None:
        """The watch that has to go so that `address` can begin another: one of the address that has most,
        where that isn't this one; None where there is room."""
        running = Counter(watch.address for watch in self._all.values() if not watch.ended)
        if running[address] >= WATCHES_EACH:
            raise Refused(429, f"{WATCHES_EACH} runs of your address are watching here: too many")
        if running.total() >= WATCHES:
            ((most, count),) = running.most_common(1)
            if count <= max(1, running[address] + 1):
                raise Refused(429, f"{WATCHES} runs are watching here already: try again when one has ended")
            return self._all.pop(
                next(key for key, w in self._all.items() if w.address == most and not w.ended)
            )
        kept = [key for key, watch in self._all.items() if watch.address == address]
        ended = [key for key in kept if self._all[key].ended]
        return self._all.pop(ended[0]) if len(kept) >= KEPT_EACH and ended else None

    def get(self, key: str) -> Watch:
        """Raises Refused where there is none."""
        with self._lock:
            watch = self._all.get(key)
        if watch is None:
            raise Refused(404, "no such watch: it ended, or was forgotten")
        watch.asked = time.monotonic()
        return watch

    def sweep(self) -> None:
        """End and drop the watches that were forgotten, and end those with too many lines."""
        with self._lock:
            old = [key for key, w in self._all.items() if time.monotonic() > w.asked + FORGOTTEN_S]
            dropped = [self._all.pop(key) for key in old]
            large = [w for w in self._all.values() if not w.ended and w.size() > LINES_BYTES]
        for watch in dropped:
            watch.drop()
        for watch in large:
            watch.end()

    def close(self) -> None:
        with self._lock:
            for watch in self._all.values():
                watch.end()
            self._all.clear()
        self._folder.cleanup()


class Watch:
    def __init__(self, address: str, path: Path, arguments: Sequence[str]) -> None:
        self.address = address
        self.asked = time.monotonic()
        self.ended = False
        self.reader = ReaderProcess(path, arguments)
        self._problem: str | None = None
        self._ending = threading.Lock()

    def size(self) -> int:
        """Bytes of lines so far; 0 where the file is gone."""
        try:
            return self.reader.spool.stat().st_size
        except FileNotFoundError:
            return 0

    def lines(self, start: int) -> tuple[int, Iterable[bytes]]:
        """How many bytes there are from `start` on, up to a bound, and those, read as they are taken."""
        size = max(0, min(self.size() - start, CHUNK_BYTES))
        return size, self._pieces(start, size)

    def _pieces(self, start: int, size: int) -> Iterator[bytes]:
        if not size:
            yield b""
            return
        with self.reader.spool.open("rb") as spool:
            spool.seek(start)
            while size:
                piece = spool.read(min(PIECE_BYTES, size))
                if not piece:
                    raise ConnectionAbortedError
                size -= len(piece)
                yield piece

    def end(self) -> dict[str, Any]:
        with self._ending:  # a client that lost the answer asks again
            self._problem = self.reader.end()
            self.ended = True
        return {"size": self.size(), "problem": self._problem}

    def drop(self) -> None:
        self.end()
        self.reader.spool.unlink(missing_ok=True)
