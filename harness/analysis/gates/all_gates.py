"""The gates that there are, in the order in which a point's reasons stand."""

from __future__ import annotations

from functools import cache
from typing import Any

from harness.analysis.gates import answers, client, course, gpu_condition, machine, sample
from harness.analysis.gates.gate import Gate
from harness.extensions import sound_extensions
from harness.schema.errors import InputError
from harness.schema.scenario import Validity

GATES: tuple[Gate, ...] = (
    *course.GATES,
    *answers.GATES,
    *client.GATES,
    *machine.GATES,
    *gpu_condition.GATES,
    *sample.GATES,
)
"""The gates of harness itself."""


@cache
def installed_gates() -> tuple[Gate, ...]:
    """The gates of harness itself, then those that other installed packages add, by name. Raises InputError
    for one that isn't a gate, or has the limit of another."""
    taken = {gate.limit for gate in GATES} | set(Validity.model_fields)

    def fault(_: str, added: Any) -> str | None:
        if not isinstance(added, Gate):
            return f"is no Gate ({type(added).__name__})"
        if added.limit is not None and added.limit in taken:
            return f"has the limit validity.{added.limit}, which is another gate's"
        taken.add(added.limit)
        return None

    return (*GATES, *sound_extensions("gates", fault).values())


def gates_for(validity: Validity) -> tuple[Gate, ...]:
    """The gates that judge a point with these limits. Raises InputError where one of the limits is that of no
    gate which is installed here, so that no point is judged without a gate that its scenario counts on."""
    gates = installed_gates()
    unknown = set(validity.model_extra or ()) - {gate.limit for gate in gates}
    if unknown:
        raise InputError(
            f"the scenario sets validity.{min(unknown)}, and no gate here has that limit: "
            "install the package that adds it"
        )
    return gates
