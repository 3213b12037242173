"""The gates that there are, in the order in which a point's reasons stand."""

from __future__ import annotations

from functools import cache

from harness.analysis.gates import answers, client, course, gpu_condition, machine, sample
from harness.analysis.gates.gate import Gate
from harness.extensions import extensions
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
    found = list(GATES)
    for name, gate in extensions("gates").items():
        taken = {each.limit for each in found if each.limit is not None} | set(Validity.model_fields)
        if not isinstance(gate, Gate):
            raise InputError(
                f"an installed package adds {name!r} to harness's gates, and it is no Gate "
                f"({type(gate).__name__}): mend or uninstall the package"
            )
        if gate.limit in taken:
            raise InputError(
                f"an installed package adds the gate {name!r} with the limit validity.{gate.limit}, which is "
                "another gate's: mend or uninstall the package"
            )
        found.append(gate)
    return tuple(found)


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
