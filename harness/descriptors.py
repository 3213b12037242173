"""How many files and connections a process may have open: the limit is raised, and what can't fit is refused.

A connection takes one in the process that makes it and one in the server. Many systems let a process have
1,024 until it asks for more, and a server that has none left stops answering (getrlimit(2), RLIMIT_NOFILE).
"""

from __future__ import annotations

import resource
from collections.abc import Iterable

from harness.schema.errors import InputError
from harness.schema.point import Point

ENOUGH = 1 << 16
"""More than any point takes; a limit without bound costs programs that close all that could be open."""
OF_A_PROCESS = 128
"""What a load process has open beside its connections, and more."""
OF_A_SERVER = 256
OF_AN_INSTANCE = 16
SHARED_BY = 6
"""Users that share a connection over gRPC, unless their requests are large. Triton's C++ client has it so
(TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT), and with it perf_analyzer."""


def raise_limit() -> None:
    """Let this process, and what it starts from now on, have as many open as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def check_fits(points: Iterable[Point], *, load_here: bool, server_here: bool) -> None:
    """Raise InputError for users whose connections can't all be open in a process of this machine."""
    raise_limit()
    most = limit()
    for point in points:
        users = point.load.shape.users
        if users is None:  # an open loop has as many as there is room for
            continue
        connections = users if point.protocol == "http" else -(-users // SHARED_BY)
        in_load = -(-connections // point.load.workers) + OF_A_PROCESS if load_here else 0
        in_server = OF_A_SERVER + OF_AN_INSTANCE * (point.server.instances or 1) + connections
        if in_load > most or (server_here and in_server > most):
            raise InputError(
                f"{users} users take {connections} connections, and a process on this machine may have "
                f"{most} files and connections open, some of which load process and server need themselves: "
                "raise the hard limit (`ulimit -Hn`; LimitNOFILE of systemd, --ulimit of docker), or lower "
                "load.concurrency"
            )
