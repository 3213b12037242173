"""What a user asks for: the YAML file under `scenarios/`, parsed once, then frozen.

A list is varied, one point for each value; a plain value is fixed. This file says what is well-formed,
`harness.schema.load` for the load; `harness.schema.expansion` expands it, and the model says which axes
exist.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, create_model, model_validator

from harness.schema.frozen import Frozen
from harness.schema.load import Load
from harness.schema.percentiles import PERCENTILES, Percentiles, limit_key
from harness.schema.plan_section import Plan
from harness.schema.quantities import (
    MANY,
    AxisSize,
    FileName,
    GpuIndex,
    Instances,
    MaxBatch,
    Microseconds,
    Milliseconds,
    Name,
    PrecisionShare,
    PreferredBatch,
    RatePerS,
    Seconds,
    SettingPath,
    Threads,
)
from harness.schema.regression_section import Regression
from harness.schema.sequence_length import SequenceLength
from harness.schema.served_model import Served
from harness.schema.tune_section import Tune

Protocol = Literal["http", "grpc"]
DeviceKind = Literal["auto", "cpu", "gpu"]
SharedMemory = Literal["none", "system", "cuda"]
Compression = Literal["gzip", "deflate"]
Dtype = Literal["fp32", "fp16"]
Provider = Literal["cuda", "tensorrt"]
PayloadSource = Literal["text", "bytes", "random"]


class Server(Frozen):
    """How Triton serves the model. Every key but `gpus` and `response_cache` may be varied.

    What is left out stays as it is loaded on a server that already runs (`--url`); one that harness starts
    has the default.
    """

    max_batch: MaxBatch | Annotated[tuple[MaxBatch, ...], MANY] | None = None
    """`max_batch_size` of config.pbtxt: the largest batch, of one request or made of several. Default: 8."""
    queue_delay_us: Microseconds | Annotated[tuple[Microseconds, ...], MANY] | None = None
    """`max_queue_delay_microseconds` of the dynamic batcher: how long it waits for a larger batch.
    Default: 0."""
    instances: Instances | Annotated[tuple[Instances, ...], MANY] | None = None
    """`instance_group.count`: how many copies of the model run at once (on each GPU, for `gpu`).
    Default: 1."""
    threads: Threads | Annotated[tuple[Threads, ...], MANY] | None = None
    """`intra_op_thread_count`: CPU threads of one instance. Default: 1."""
    kind: DeviceKind | Annotated[tuple[DeviceKind, ...], MANY] = "auto"
    """`cpu`, `gpu`, or `auto`: a GPU where there is one."""
    gpus: Annotated[tuple[GpuIndex, ...], MANY] | None = None
    """`instance_group.gpus`: the GPUs that get instances, by their index in NVML's order. Left out: all."""
    provider: Provider | Annotated[tuple[Provider, ...], MANY] | None = None
    """What ONNX Runtime computes with on a GPU: `cuda`, or `tensorrt` (with CUDA for what TensorRT can't).
    Left out: `cuda`."""
    cuda_graph: bool | Annotated[tuple[bool, ...], MANY] | None = None
    """Capture the model's kernels into a CUDA graph, one for each shape of input, and replay it."""
    preferred_batch: PreferredBatch | Annotated[tuple[PreferredBatch, ...], MANY] | None = None
    """`preferred_batch_size` of the dynamic batcher, a single size: a batch of it goes at once, whatever the
    queue delay. 0, or left out: none but `max_batch` itself."""
    response_cache: bool | None = None
    """Triton's response cache. Identical payloads are then answered without computing: for null tests.
    Default: false."""

    def with_defaults(self) -> Server:
        """As a server that harness starts has it."""
        left_out = {key: value for key, value in DEFAULTS.items() if getattr(self, key) is None}
        return self.model_copy(update=left_out)


DEFAULTS: dict[str, Any] = {
    "max_batch": 8,
    "queue_delay_us": 0,
    "instances": 1,
    "threads": 1,
    "response_cache": False,
}
"""What a server that harness starts has where the scenario leaves it out."""


RESERVED = ("sequence_id", "sequence_start", "sequence_end", "headers", "binary_data_output")
"""Parameters that aren't a user's ("Parameters Extension" of Triton's protocol)."""
Parameter = bool | Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | float | str
Shape = Annotated[tuple[AxisSize | Name, ...], Field(max_length=8)]
OutputName = Annotated[str, Field(min_length=1, max_length=256)]


class Range(Frozen):
    """Valid values of an input: `low` is one, `high` is the first that isn't."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"`low` ({self.low:g}) must be under `high` ({self.high:g})")
        return self


class RequestClass(Frozen):
    """One kind of request. Several classes are drawn by weight within a point."""

    name: Name
    model: Served | None = None
    """Another model of the same server, by `{served: NAME}`, which this class asks: what shares a machine is
    measured together. Left out: the scenario's. For served models."""
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    batch: MaxBatch | Annotated[tuple[MaxBatch, ...], MANY] = 1
    """Inferences in one request."""
    tokens: AxisSize | Annotated[tuple[AxisSize, ...], MANY] | None = None
    """Sequence length of a text model."""
    height: AxisSize | Annotated[tuple[AxisSize, ...], MANY] | None = None
    width: AxisSize | Annotated[tuple[AxisSize, ...], MANY] | None = None
    axes: dict[Name, AxisSize | Annotated[tuple[AxisSize, ...], MANY]] = Field(default_factory=dict)
    """Sizes of any other dynamic axes, by the name they have in the ONNX file."""
    payload: PayloadSource | None = None
    """`text`: real sentences, tokenized; `bytes`: real file contents; `random`: seeded, in the model's
    valid range. Left out: what suits the model."""
    folder: FileName | None = None
    """Files (text, or raw bytes, as the payload says) to draw from, relative to the scenario file."""
    sequence: SequenceLength | None = None
    """Its requests are steps of sequences, for a served model with a sequence batcher: `concurrency` is then
    of sequences, and `rate_per_s` says how many begin. An empty mapping has the defaults."""
    parameters: Annotated[dict[Name, Parameter], Field(min_length=1, max_length=64)] | None = None
    """Parameters of each request, which a backend of Triton may read. For served models."""
    outputs: Annotated[tuple[OutputName, ...], Field(min_length=1)] | None = None
    """The outputs to ask for, by name. Left out: all of them. For served models."""
    data: FileName | None = None
    """The payloads themselves, relative to the scenario file: perf_analyzer's JSON or folder
    (`--input-data`), an .npz file with an array for each input, or an .npy file for the only one. For a
    served model."""
    shapes: Annotated[dict[str, Shape], Field(min_length=1)] | None = None
    """The shape of an input of a served model, by its name: a size for each of its `dims`, so without the
    batch, or the name of an axis that `tokens`, `height`, `width` or `axes` give a size."""
    string_length: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Characters of each string that is made up. Default: 128, as perf_analyzer's."""
    low: float | None = None
    high: float | None = None
    """Range of `random` values, half open; for models whose valid range harness doesn't know."""
    ranges: Annotated[dict[str, Range], Field(min_length=1)] | None = None
    """As `low` and `high`, for single inputs by their names: ids of two vocabularies in one class."""

    @model_validator(mode="after")
    def _coherent(self) -> RequestClass:
        if self.folder is not None and self.payload == "random":
            raise ValueError(
                "`folder` gives real files, and `payload: random` makes them up: keep one of them"
            )
        if (self.low is None) != (self.high is None):
            raise ValueError("`low` and `high` go together")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"`low` ({self.low:g}) must be under `high` ({self.high:g})")
        return self


class Precision(Percentiles[PrecisionShare]):
    """How narrow a 95% interval must be, as half its width over its value: 0.05 is plus or minus 5%."""

    mean: PrecisionShare | None = None
    throughput: PrecisionShare | None = None

    @model_validator(mode="after")
    def _something(self) -> Precision:
        if not any(value is not None for _, value in self):
            raise ValueError(f"name what shall be precise: one of {', '.join(type(self).model_fields)}")
        return self


class Measure(Frozen):
    """How long a point is measured."""

    warmup_s: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """Load before the measurement, in a phase of its own; its requests are kept, marked, and not counted."""
    duration_s: Seconds = 10.0
    """Length of the measured phase, at least."""
    at_most_s: Seconds | None = None
    """A point goes on past `duration_s`, up to this, until its intervals are as narrow as `precision` asks;
    without `precision`, until its sample supports a p99."""
    precision: Precision | None = None
    """Stop when these 95% intervals are this narrow. Needs `at_most_s`."""
    timeout_s: Seconds = 30.0
    """A request without an answer for this long is an error."""

    @model_validator(mode="after")
    def _ordered(self) -> Measure:
        if self.at_most_s is not None and self.at_most_s < self.duration_s:
            raise ValueError(f"`at_most_s` ({self.at_most_s:g}) is under `duration_s` ({self.duration_s:g})")
        if self.precision is not None and self.at_most_s is None:
            raise ValueError("`precision` needs `at_most_s`: how long may it take?")
        return self


_LIMITS: dict[str, Any] = {limit_key(name): (Milliseconds | None, None) for name in PERCENTILES}
_LatencyLimits = create_model("_LatencyLimits", __base__=Frozen, **_LIMITS)


class Objective(_LatencyLimits):
    """What the deployment must hold. A point that misses one ends the run with exit code 1."""

    errors: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest share of requests that may fail."""
    throughput_per_s: RatePerS | None = None
    """Smallest number of inferences a second."""


class Validity(Frozen):
    """Limits past which a point is not valid. The defaults suit a machine that does nothing else."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | bool] = Field(init=False)
    """Limits of gates that other installed packages add. A scenario file may only have those."""

    errors: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of failed requests over which the others no longer stand for the load."""
    client_cpu: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a core that one load process may use: Locust runs on one."""
    send_lag_ms: Annotated[float, Field(gt=0, le=86_400_000)] = 5.0
    """Send lag (p99) of an open loop; a lag under a tenth of the median latency is accepted."""
    idle_users: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of its time for which a user of a closed loop may have no request in flight: the throughput falls
    short of what the users could ask by as much. 1 switches this gate off."""
    different_answers: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the compared answers that may differ from the first one to the same payload by more than the
    export's tolerance. 1 switches this gate off."""
    wrong_answers: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the answers to payloads with `validation_data` that may be others than it says. 1 switches
    this gate off."""
    foreign_cpu: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of this machine's cores that other processes may use. 1 switches this gate off."""
    stolen_cpu: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of this machine's cores that its hypervisor may give to others. 1 switches this gate off."""
    foreign_gpu: bool = False
    """Let other processes use the GPU."""
    drift: Annotated[float, Field(gt=0, le=1000)] = 0.25
    """Change of latency from begin to end of the measured phase, over its mean, past which a point was never
    steady, if it is no chance. The default is an eighth to either side of the mean, about what perf_analyzer
    lets pass between its windows (10%), and less than a shared machine's own slow changes."""


class Scenario(Frozen):
    """One YAML file: a model, server settings, request classes, load, how to measure, what must hold."""

    model: Annotated[str, Field(min_length=1, max_length=1024)] | Served
    """What `harness models` lists, an .onnx file, a Hugging Face folder, or `package.module:factory`; or, by
    `{served: NAME}`, a model that is on the server (`--url`) or in a repository (`--model-repository`)."""
    dtype: Dtype | Annotated[tuple[Dtype, ...], MANY] | None = None
    """The numbers that the model computes with: `fp16` converts the export (inputs and outputs keep their
    types) and proves it again, with a tolerance of its own. Left out: as the model is."""
    protocol: Protocol | Annotated[tuple[Protocol, ...], MANY] = "http"
    compression: Compression | None = None
    """Of each request, as it is prepared: `gzip` or `deflate`, over both wires. Answers come as they are."""
    shared_memory: SharedMemory | Annotated[tuple[SharedMemory, ...], MANY] = "none"
    """`system`: tensors go through shared memory instead of the wire; for a server on this machine. `cuda`:
    through memory of the GPU."""
    server: Server = Server()
    requests: Annotated[tuple[RequestClass, ...], Field(min_length=1, max_length=64)]
    load: Load
    measure: Measure = Measure()
    objective: Objective = Objective()
    given: Annotated[tuple[SettingPath, ...], Field(max_length=64)] = ()
    """Settings that are given though harness would take them for chosen or found, by their dotted path:
    `[protocol, load.rate_per_s]`. There is one answer for each combination of what is given."""
    chosen: Annotated[tuple[SettingPath, ...], Field(max_length=64)] = ()
    """Settings that may be chosen though harness would take them for given: `[requests.text.tokens]`, where
    texts can be padded to any of the lengths."""
    validity: Validity = Validity()
    tune: Tune = Tune()
    """What `harness tune` searches for."""
    regression: Regression = Regression()
    """How `harness ab` and `harness nightly` compare."""
    plan: Plan = Plan()
    """What `harness plan` says the replicas of."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    """Everything that is drawn (payloads, classes, arrivals) is drawn from this: the same in every run."""

    def with_defaults(self) -> Scenario:
        """As it is on a server that harness starts. A model that is served by itself keeps its own."""
        if isinstance(self.model, Served):
            return self
        return self.model_copy(update={"server": self.server.with_defaults()})

    @model_validator(mode="after")
    def _of_served(self) -> Scenario:
        if isinstance(self.model, Served):
            if self.dtype is not None:
                raise ValueError("`dtype` converts an export, and a served model is as it is: leave it out")
            self._check_served()
            return self
        for request in self.requests:
            for key in ("model", "sequence", "parameters", "outputs", "data", "shapes", "string_length"):
                if getattr(request, key) is not None:
                    raise ValueError(
                        f"`{key}` of request class {request.name!r} is for a model that is served by itself, "
                        "by `model: {served: NAME}`: leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _compressed(self) -> Scenario:
        if self.compression is not None and self.shared_memory != "none":
            raise ValueError("`compression` is of what goes over the wire: leave it or `shared_memory` out")
        if self.compression is not None and any(request.sequence for request in self.requests):
            raise ValueError(
                "the steps of a sequence differ in a few bytes, so they can't be compressed beforehand: "
                "leave `compression` out"
            )
        return self

    def _check_served(self) -> None:
        in_sequence = [request.sequence is not None for request in self.requests]
        if any(in_sequence) and not all(in_sequence):
            raise ValueError("classes with and without `sequence` don't mix: give it to all or to none")
        if any(in_sequence) and self.shared_memory != "none":
            raise ValueError("sequences don't go through shared memory: leave out `shared_memory`")
        for request in self.requests:
            if self.shared_memory != "none" and (request.model or request.parameters or request.outputs):
                raise ValueError(
                    "`shared_memory` goes with requests to one model, without `parameters` or `outputs`: "
                    "leave it out"
                )
            for name, value in (request.parameters or {}).items():
                if name in RESERVED:
                    raise ValueError(
                        f"`parameters` of request class {request.name!r} sets {name}, which Triton keeps for "
                        "itself: leave it out"
                    )
                if name in ("priority", "timeout") and (type(value) is not int or value < 0):
                    raise ValueError(
                        f"`parameters.{name}` of request class {request.name!r} must be a whole number"
                    )

    @model_validator(mode="after")
    def _class_names(self) -> Scenario:
        names = [r.name for r in self.requests]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"two request classes are named {sorted(twice)[0]!r}")
        return self
