from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser import browser

__all__ = ["browser"]

# Timings are the benchmarks' business; a busy machine must not fail a property.
settings.register_profile("harness", deadline=None, max_examples=100)
settings.load_profile("harness")

# Images for CI often set this, and each of hundreds of processes would compile all of harness.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

DOOR, ROOM = Path(__file__), Path(__file__).with_name("__init__.py")
"""Files to lock, and nothing else: a test is in the room while it runs, and waits for that in the door."""


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the timeout, which is not for waiting
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that is marked `alone` has the machine to itself, also where it is run among others, and not
    after them as `make test` does: the suite's other processes wait.

    It judges what harness says of a measurement, or how much is done in a time, which is another where a
    neighbour takes the cores.
    """
    with _in_the_room(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _in_the_room(*, alone: bool) -> Iterator[None]:
    with DOOR.open() as door, ROOM.open() as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # whoever waits for the room lets nobody past
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # by hand: what the test forked has this file open too


LONGEST_FIRST = ("e2e", "triton", "load", "model", "report", "planning", "tuning", "choice", "probe", "fuzz")
"""Folders by how long their files take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: one that comes last would run while the suite's other process has none left.

    Skip what needs a GPU where there is none, with the reason.
    """
    items.sort(key=_turn)
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and (why := _no_gpu()) is not None:
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=why))


def _turn(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


def _no_gpu() -> str | None:
    from harness.probe import gpus as gpu
    from harness.probe.execution_providers import execution_providers

    if (why := gpu.availability()) is not None:
        return why
    (cuda,) = [p for p in execution_providers() if p.name == "CUDAExecutionProvider"] or [None]
    if cuda is None:
        return "the installed onnxruntime has no CUDA provider"
    return None if cuda.usable else f"ONNX Runtime's CUDA provider can't be used: {cuda.reason}"
