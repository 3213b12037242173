from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ownership


@pytest.fixture
def left() -> Iterator[dict[ownership.OwnerKind, Path]]:
    """Shared memory of a process that is gone."""
    program = "from harness.ownership import *; print(new_name('load'), new_name('triton'))"
    said = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=Path(__file__).parents[1])
    load, triton = (ownership.SHARED_MEMORY / f"{name}x" for name in said.split())
    for path in (load, triton):
        path.write_bytes(b"region")
    yield {"load": load, "triton": triton}
    for path in (load, triton):
        path.unlink(missing_ok=True)


def test_names_are_those_of_this_process_and_no_two_are_the_same() -> None:
    names = [ownership.new_name("load") for _ in range(100)]
    assert len(set(names)) == 100
    assert not any(ownership.orphaned(f"{name}region") for name in names)


@pytest.mark.parametrize(
    "name", ["", "harness_", "harness_load_1_2_3_0123456789a_", "harness_load_x_2_3_0123456789ab_", "other"]
)
def test_other_names_have_no_owner_that_could_be_gone(name: str) -> None:
    assert not ownership.orphaned(name)


def test_each_kind_is_swept_by_who_knows_what_else_to_do_for_it(
    left: dict[ownership.OwnerKind, Path],
) -> None:
    """A region that a server still has mapped must be found by the next load, which has the server let go."""
    assert left["triton"].name in ownership.sweep("triton")
    assert left["load"].exists() and not left["triton"].exists()
    assert left["load"].name in ownership.sweep("load")
    assert not left["load"].exists()
