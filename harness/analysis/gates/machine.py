"""Gates that ask whether the machine's cores were there for the server and its load."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate
from harness.schema.scenario import Validity

DEFAULTS = Validity()

THROTTLED_SHARE = 0.02
"""Share of the cores that a CPU quota may withhold: a hundredth or two is the end of some burst."""


@gate(
    f"other processes used more than {DEFAULTS.foreign_cpu:.0%} of the machine's cores", limit="foreign_cpu"
)
def foreign_cpu(evidence: Evidence) -> Iterator[str]:
    host, limit, cores = evidence.facts.host, evidence.point.validity.foreign_cpu, _cores(evidence)
    foreign = host.foreign_cpu_cores if host is not None else None
    if foreign is not None and limit < 1 and foreign > limit * cores:
        yield (
            f"other processes used {foreign / cores:.1%} of this machine's {cores} cores, over "
            f"{limit:.0%}: end them, or raise validity.foreign_cpu"
        )


@gate(
    f"the hypervisor gave more than {DEFAULTS.stolen_cpu:.0%} of the machine's cores to others",
    limit="stolen_cpu",
)
def stolen_cpu(evidence: Evidence) -> Iterator[str]:
    host, limit, cores = evidence.facts.host, evidence.point.validity.stolen_cpu, _cores(evidence)
    stolen = host.stolen_cpu_cores if host is not None else None
    if stolen is not None and limit < 1 and stolen > limit * cores:
        yield (
            f"the hypervisor gave {stolen / cores:.1%} of this machine's {cores} cores to others, over "
            f"{limit:.0%}: measure on a machine that isn't shared, or raise validity.stolen_cpu"
        )


@gate(
    f"the CPU quota of harness's control group withheld more than {THROTTLED_SHARE:.0%} of the cores it may "
    "use"
)
def throttled_cpu(evidence: Evidence) -> Iterator[str]:
    host = evidence.facts.host
    throttled = host.throttled_cpu_cores if host is not None else None
    if throttled is not None and throttled > THROTTLED_SHARE * evidence.observed.cores:
        yield (
            f"the CPU quota of this control group held its processes back, by {throttled:.2f} cores: "
            "raise the quota, or load the server less"
        )


@gate("readings of the machine or of its GPUs were made and can't be had any more", verdict="inconclusive")
def lost_readings(evidence: Evidence) -> Iterator[str]:
    yield from evidence.lost


def _cores(evidence: Evidence) -> int:
    """The cores of the whole machine where they are known, else those that harness may use."""
    return evidence.observed.host_cores or evidence.observed.cores


GATES = (foreign_cpu, stolen_cpu, throttled_cpu, lost_readings)
