"""The networks of tests that run at the same time don't take each other's packets."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.network import Link, network

_DIALS = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(9))"


def test_two_networks_that_would_have_the_same_addresses_have_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "SystemRandom", lambda: random.Random(1))  # both try the same first
    with ExitStack() as opened:
        networks = [opened.enter_context(network(["there"], Link(), Link())) for _ in range(2)]
        for made in networks:
            listens = opened.enter_context(socket.create_server((made.here.address, 0)))
            port = str(listens.getsockname()[1])
            with subprocess.Popen(
                made.there[0].command([sys.executable, "-c", _DIALS, made.here.address, port]),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as dials:
                listens.settimeout(5)
                connection, (address, _) = listens.accept()
                with connection:
                    connection.sendall(b"reached")
                assert dials.communicate(timeout=10)[0] == "b'reached'\n"
            assert address == made.there[0].address
    assert networks[0].here.address != networks[1].here.address
