"""How the GPUs of a server on another machine are observed: `--probe`, `--metrics-url`, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.probe.watch.remote_watch import PORT, Address, RemoteWatch
from harness.probe.watch.triton_metrics import Endpoint, MetricsWatch
from harness.probe.watch.watch import Nothing, Watch
from harness.schema.errors import InputError
from harness.schema.result import GpuEnvironment

UNSEEN = "the server runs on another machine: give --probe or --metrics-url to see its GPUs"


@dataclass(frozen=True, slots=True)
class GpuSource:
    """Where to look for the server's GPUs."""

    source: Address | Endpoint

    @classmethod
    def of(cls, probe: str | None, metrics_url: str | None, *, url: str | None) -> GpuSource | None:
        """None where neither is given. Raises InputError for what is no address, and for one too many."""
        if probe is None and metrics_url is None:
            return None
        if probe is not None and metrics_url is not None:
            raise InputError("a probe sees all that Triton's metrics tell: leave out --metrics-url")
        if url is None:
            raise InputError(
                "--probe and --metrics-url are for a server that runs elsewhere: give its --url too"
            )
        return cls(parsed_address(probe) if probe is not None else Endpoint.of(metrics_url or ""))

    def gpus(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs there now. Raises ServerError where nothing answers."""
        return self.source.machine().devices if isinstance(self.source, Address) else self.source.gpus()

    def watch(self, spool: Path) -> Watch:
        if isinstance(self.source, Address):
            return RemoteWatch(self.source, spool)
        return MetricsWatch(self.source)


def unseen() -> Watch:
    """The watch for a server elsewhere without --probe or --metrics-url: the GPUs here aren't its."""
    return Nothing(UNSEEN)


def parsed_address(text: str, option: str = "--probe") -> Address:
    """ "10.0.0.5" and "10.0.0.5:9400"; IPv6 stands in brackets. Raises InputError."""
    try:
        parts = urlsplit(f"//{text}")
        if (
            parts.hostname
            and parts.netloc == text
            and "@" not in text
            and text.isprintable()
            and " " not in text
        ):
            return Address(parts.hostname, PORT if parts.port is None else parts.port)
    except ValueError:
        pass
    raise InputError(f"{option} {text!r} is no address: give it as host:port")
