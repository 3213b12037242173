"""The keys that a scenario file may have here: harness's own, and the limits of installed gates."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, create_model

from harness.analysis.gates.all_gates import installed_gates
from harness.analysis.gates.gate import Gate
from harness.schema.scenario import Scenario, Validity

Limit = Annotated[float, Field(ge=0, le=1e12)]


class _Closed(Validity):
    model_config = ConfigDict(extra="forbid")


@cache
def accepted() -> type[Scenario]:
    """`Scenario` with each key of `validity` named, so that one which nobody knows is refused."""
    added = {
        gate.limit: _field(gate)
        for gate in installed_gates()
        if gate.limit is not None and gate.limit not in Validity.model_fields
    }
    validity: Any = create_model("Validity", __base__=_Closed, __doc__=Validity.__doc__, **added)
    return create_model(
        "Scenario", __base__=Scenario, __doc__=Scenario.__doc__, validity=(validity, validity())
    )


def _field(gate: Gate) -> Any:
    kind: Any = bool if isinstance(gate.default, bool) else Limit
    return (kind, Field(default=gate.default, description=f"A point is not valid where {gate.refuses}."))
