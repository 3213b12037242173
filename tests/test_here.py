from __future__ import annotations

import pytest

from harness.here import is_here


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_here(address: str) -> None:
    assert is_here(address)


def test_what_is_elsewhere_or_nowhere_is_not() -> None:
    assert not is_here("192.0.2.1"), "kept for documentation"
    assert not is_here("no-such-host.invalid")
