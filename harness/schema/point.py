"""One fully specified measurement."""

from __future__ import annotations

from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.load import PointLoad
from harness.schema.roles import Role, role_of
from harness.schema.scenario import (
    Compression,
    DeviceKind,
    Dtype,
    Measure,
    Objective,
    Parameter,
    PayloadSource,
    Protocol,
    Provider,
    Range,
    Shape,
    SharedMemory,
    Validity,
)
from harness.schema.sequence_length import SequenceLength
from harness.schema.served_model import Served

Setting = str | int | float | bool


AXES = ("tokens", "height", "width")
"""Axes that a request class of a scenario has a key for; the others stand under `axes`."""


class ServerSettings(Frozen):
    """One configuration of the model in Triton. `harness.schema.scenario.Server` has a key for each field.

    None, or of `kind` "auto", is what a server that already runs keeps as it is loaded there; for one that
    harness starts the first four are always given. A field that is added must default to None: another
    default would change the id of every point.
    """

    max_batch: int | None
    queue_delay_us: int | None
    instances: int | None
    threads: int | None
    kind: DeviceKind
    response_cache: bool | None
    gpus: tuple[int, ...] | None = None
    provider: Provider | None = None
    cuda_graph: bool | None = None
    preferred_batch: int | None = None

    @classmethod
    def kept(cls) -> ServerSettings:
        """Nothing is asked for: everything stays as it is loaded."""
        nothing = dict.fromkeys(("max_batch", "queue_delay_us", "instances", "threads", "response_cache"))
        return cls(kind="auto", **nothing)


FIXED_SETTINGS = ("gpus", "response_cache")
VARIED_SETTINGS = tuple(key for key in ServerSettings.model_fields if key not in FIXED_SETTINGS)
"""What a scenario may give a list of, in the order in which it is varied: the first varies slowest."""


class PointClass(Frozen):
    """One request class with every size fixed."""

    name: str
    weight: float
    batch: int
    axes: dict[str, int]
    """Sizes of the model's dynamic axes, by name (`tokens`, `height`, …), batch not among them."""
    payload: PayloadSource | None
    folder: str | None
    low: float | None
    high: float | None
    ranges: dict[str, Range] | None = None
    """By input, where they aren't those of the class."""
    model: Served | None = None
    sequence: SequenceLength | None = None
    parameters: dict[str, Parameter] | None = None
    outputs: tuple[str, ...] | None = None
    data: str | None = None
    shapes: dict[str, Shape] | None = None
    string_length: int | None = None


class Point(Frozen):
    """A scenario with every list resolved to one value."""

    id: str
    """The same for the same specification in every run and on every machine."""
    params: dict[str, Setting]
    """What the scenario varies, and what a caller of `point_at` named, by its dotted path. Of a scenario's
    single point, empty."""
    model: str | Served
    dtype: Dtype | None = None
    """None: as the model is."""
    protocol: Protocol
    compression: Compression | None = None
    shared_memory: SharedMemory = "none"
    server: ServerSettings
    requests: tuple[PointClass, ...]
    load: PointLoad
    measure: Measure
    objective: Objective
    validity: Validity = Validity()
    seed: int
    given: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    """Paths of settings that the scenario declares to be given, or chosen, where that isn't as usual."""

    @property
    def settings(self) -> dict[str, Setting | None]:
        """Every setting that a scenario may vary, by its dotted path."""
        found: dict[str, Setting | None] = {"dtype": self.dtype}
        found |= {f"server.{key}": getattr(self.server, key) for key in VARIED_SETTINGS}
        found |= {"protocol": self.protocol, "shared_memory": self.shared_memory}
        for each in self.requests:
            found[f"requests.{each.name}.batch"] = each.batch
            for axis, size in each.axes.items():
                found[f"requests.{each.name}.{axis if axis in AXES else f'axes.{axis}'}"] = size
        return found | self.load.settings

    @property
    def workload(self) -> dict[str, Setting | None]:
        """The settings that are given: what users send."""
        return self._in_role("workload")

    @property
    def configuration(self) -> dict[str, Setting | None]:
        """The settings that are chosen: how the model is served."""
        return self._in_role("configuration")

    def _in_role(self, role: Role) -> dict[str, Setting | None]:
        return {p: v for p, v in self.settings.items() if role_of(p, self.given, self.chosen) == role}

    @property
    def label(self) -> str:
        """What tells this point from its neighbours, for a table row."""
        return ", ".join(f"{k.split('.')[-1]} {v}" for k, v in self.params.items()) or self.load.label


def check_provider(server: ServerSettings) -> None:
    """Raise InputError for CUDA graphs with TensorRT. The server's backend refuses them by itself, too."""
    if server.provider == "tensorrt" and server.cuda_graph:
        raise InputError(
            "server.cuda_graph can't be had with provider tensorrt, which in ONNX Runtime replays one graph "
            "for every shape of input: choose one of the two"
        )
