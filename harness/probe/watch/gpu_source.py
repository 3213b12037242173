"""How the GPUs of a server on another machine are observed: `--probe`, `--metrics-url`, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.address import of_option
from harness.probe.watch.remote_watch import PORT, RemoteProbe, RemoteWatch
from harness.probe.watch.triton_metrics import MetricsPage, MetricsWatch
from harness.probe.watch.watch import Nothing, Watch
from harness.schema.errors import InputError
from harness.schema.result import GpuEnvironment

UNSEEN = "the server runs on another machine: give --probe or --metrics-url to see its GPUs"


@dataclass(frozen=True, slots=True)
class GpuSource:
    """Where to look for the server's GPUs."""

    source: RemoteProbe | MetricsPage

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
        if probe is not None:
            return cls(RemoteProbe(*of_option("--probe", probe, PORT)))
        return cls(MetricsPage.of(metrics_url or ""))

    def gpus(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs there now. Raises ServerError where nothing answers."""
        return self.source.machine().devices if isinstance(self.source, RemoteProbe) else self.source.gpus()

    def watch(self, spool: Path) -> Watch:
        if isinstance(self.source, RemoteProbe):
            return RemoteWatch(self.source, spool)
        return MetricsWatch(self.source)


def unseen() -> Watch:
    """The watch for a server elsewhere without --probe or --metrics-url: the GPUs here aren't its."""
    return Nothing(UNSEEN)
