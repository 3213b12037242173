"""Hosts on one machine: network namespaces with host names of their own, joined by links that delay and lose.

Each host has a TUN device; a process of its own carries the packets from one to the other. Delay and loss are
those of `tc … netem` on each device where the kernel has it, else of the carrier. This machine itself is one
of the hosts.

`python tests/network.py` is the carrier.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import secrets
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 1, 0x1000
_PACKET = 1 << 16
_NAMED = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'


@dataclass(frozen=True, slots=True)
class Link:
    """From one host to the others, one way."""

    delay_s: float = 0.0
    loss: float = 0.0


@dataclass
class Host:
    name: str
    address: str
    space: str | None
    """Its network namespace; None for this machine's."""
    device: str
    file: int

    @property
    def within(self) -> list[str]:
        """What `ip` is told to work there."""
        return [] if self.space is None else ["-netns", self.space]

    def command(self, command: Sequence[str]) -> list[str]:
        """`command`, to be run on this host."""
        if self.space is None:
            return list(command)
        named = ["unshare", "--uts", "sh", "-c", _NAMED, self.name]
        return ["ip", "netns", "exec", self.space, *named, *command]


@dataclass
class Network:
    here: Host
    there: list[Host]
    carrier: subprocess.Popen[str]
    netem: bool
    links: dict[str, Link] = field(default_factory=dict)

    def cut(self, *pairs: tuple[Host, Host]) -> None:
        """No packet passes between these from now on, either way."""
        self._tell(cut=[[a.address, b.address] for a, b in pairs])

    def also(self, address: str, host: Host) -> None:
        """Carry packets for `address` to `host`."""
        self._tell(hosts={address: host.file})

    def _tell(self, **words: Any) -> None:
        assert self.carrier.stdin is not None
        self.carrier.stdin.write(json.dumps(words) + "\n")
        self.carrier.stdin.flush()


@contextmanager
def network(names: Sequence[str], out: Link, back: Link) -> Iterator[Network]:
    """This machine and hosts of these names. `out`: packets from here to there; `back`: from there.

    Skips the test where namespaces or TUN devices can't be made.
    """
    import pytest  # which the carrier starts without

    mark = secrets.token_hex(3)
    hosts: list[Host] = []
    carrier: subprocess.Popen[str] | None = None
    try:
        try:
            here = _host(os.uname().nodename, None, f"h{mark}n0")
            hosts.append(here)
            subnet = _own_subnet(here)
            for number, name in enumerate(names, 1):
                host = _host(name, f"h{mark}-{name}", f"h{mark}n{number}")
                hosts.append(host)
                host.address = f"{subnet}.{number + 1}"
                _ip(*host.within, "address", "add", f"{host.address}/24", "dev", host.device)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or error
            pytest.skip(f"no network namespaces or TUN devices here: {said}")
        there = hosts[1:]
        links = {host.address: out if host is here else back for host in hosts}
        netem = all([_netem(host, links[host.address]) for host in hosts])
        if netem:
            links = {}
        files = [host.file for host in hosts]
        carrier = subprocess.Popen(
            [sys.executable, __file__, *map(str, files)],
            pass_fds=files,
            stdin=subprocess.PIPE,
            text=True,
        )
        made = Network(here, there, carrier, netem)
        made._tell(
            hosts={host.address: host.file for host in hosts},
            links={address: [link.delay_s, link.loss] for address, link in links.items()},
        )
        yield made
    finally:
        if carrier is not None:
            carrier.kill()
            carrier.wait()
        for host in hosts:
            os.close(host.file)
            if host.space is not None:
                _ip("netns", "delete", host.space)


def _host(name: str, space: str | None, device: str) -> Host:
    """A host without an address, its device up."""
    if space is not None:
        _ip("netns", "add", space)
    host = Host(name, "", space, device, os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
    fcntl.ioctl(host.file, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    if space is not None:
        _ip("link", "set", device, "netns", space)
        _ip(*host.within, "link", "set", "lo", "up")
    _ip(*host.within, "link", "set", device, "up")
    return host


def _own_subnet(here: Host) -> str:
    """Give this machine its address in a subnet that no other network has; the first three of its numbers.

    Networks of tests that run at the same time meet on this machine. It takes an address twice, and sends
    what is for the subnet to the older network only. A route it takes once, so the route is the claim.
    """
    # The range of RFC 2544, for benchmarks.
    subnets = [f"198.{second}.{third}" for second in (18, 19) for third in range(256)]
    random.SystemRandom().shuffle(subnets)
    for subnet in subnets:
        here.address = f"{subnet}.1"
        try:
            _ip("route", "add", f"{subnet}.0/24", "dev", here.device)
        except subprocess.CalledProcessError as error:
            if "File exists" in error.stderr:
                continue
            raise
        _ip("address", "add", f"{here.address}/24", "dev", here.device, "noprefixroute")
        return subnet
    raise OSError("every subnet of 198.18.0.0/15 is in use")


def _netem(host: Host, link: Link) -> bool:
    """Have the kernel delay and lose what leaves the host; whether it can."""
    qdisc = ["tc", "qdisc", "add", "dev", host.device, "root", "netem", "limit", "100000"]
    qdisc += ["delay", f"{link.delay_s * 1e3:g}ms", "loss", f"{link.loss * 100:g}%"]
    within = [] if host.space is None else ["ip", "netns", "exec", host.space]
    return subprocess.run([*within, *qdisc], capture_output=True, check=False).returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


def carry(files: Sequence[int]) -> None:
    """Take each packet to the host it is for, late or never as its sender's link has it."""
    hosts: dict[str, int] = {}
    links: dict[str, tuple[float, float]] = {}
    cut: set[frozenset[str]] = set()
    chance = random.Random(1)
    underway: list[tuple[float, int, int, bytes]] = []
    count = 0
    told = b""
    selector = selectors.DefaultSelector()
    for file in files:
        selector.register(file, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        due_s = max(0.0, underway[0][0] - time.monotonic()) if underway else None
        for key, _ in selector.select(due_s):
            if key.fileobj is sys.stdin:
                if not (come := os.read(key.fd, _PACKET)):
                    return
                *lines, told = (told + come).split(b"\n")  # several, where this process was late
                for words in map(json.loads, lines):
                    hosts.update(words.get("hosts", {}))
                    links.update(words.get("links", {}))
                    cut |= {frozenset(pair) for pair in words.get("cut", [])}
                continue
            packet = os.read(key.fd, _PACKET)
            if packet[0] >> 4 != 4:
                continue
            source, target = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
            delay_s, loss = links.get(source, (0.0, 0.0))
            if target not in hosts or frozenset((source, target)) in cut or chance.random() < loss:
                continue
            count += 1
            heapq.heappush(underway, (time.monotonic() + delay_s, count, hosts[target], packet))
        while underway and underway[0][0] <= time.monotonic():
            _, _, file, packet = heapq.heappop(underway)
            try:
                os.write(file, packet)
            except OSError:  # its queue is full, or the device is down
                continue


if __name__ == "__main__":
    carry([int(argument) for argument in sys.argv[1:]])
