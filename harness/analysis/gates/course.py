"""Gates that ask whether the point ran its course: with all its load, on one server, on GPUs that stayed."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate
from harness.analysis.gpu import gpu_name, may_use


@gate("the server or the load process ended, or stopped answering", without_requests=True)
def ended_early(evidence: Evidence) -> Iterator[str]:
    if evidence.observed.ended is not None:
        yield evidence.observed.ended


@gate("a load process was lost", without_requests=True)
def lost_load_process(evidence: Evidence) -> Iterator[str]:
    for process in evidence.observed.load_processes:
        if process.lost is not None and process.lost not in (
            evidence.observed.ended or ""
        ):  # else it is said
            yield (
                f"load process {process.worker} on {process.host or 'this host'} was lost, and its share of "
                f"the load with it: {process.lost}"
            )


@gate(
    "the server, its model or a model instance was started anew: Triton's counters fell, or a process of it "
    "ended",
    without_requests=True,
)
def restarted(evidence: Evidence) -> Iterator[str]:
    how = evidence.observed.server_restarted
    if how is not None:
        yield f"the server or its model was started anew during the point: {how}"


@gate("a GPU was lost during the point", without_requests=True)
def lost_gpu(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.facts.gpu_watch:
        if watch.lost and may_use(evidence.point, watch.device, evidence.observed.execution_provider):
            yield (
                f"{gpu_name(watch)} was lost during the point: "
                "the kernel's log has the driver's reason, and it comes back with a reset or a reboot"
            )


@gate("no request ended in the measured phase", without_requests=True)
def no_requests(evidence: Evidence) -> Iterator[str]:
    if evidence.facts.requests == 0:
        yield "no request ended in the measured phase"


GATES = (ended_early, lost_load_process, restarted, lost_gpu, no_requests)
