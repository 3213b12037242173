"""What a run leaves behind: `result.json` and what `harness run --json` prints.

Units stand in the names. A value that was not observed is null, never 0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from harness.schema.answer import Answer
from harness.schema.frozen import Frozen
from harness.schema.model import Model
from harness.schema.percentiles import Percentiles
from harness.schema.point import Point, ServerSettings, Setting

SCHEMA_VERSION: Literal[2] = 2
"""Version 1 has `limiter` for `bottleneck`; it is still read."""

Verdict = Literal["valid", "invalid", "inconclusive"]

Interval = tuple[float, float]
"""Low and high end of a 95% confidence interval."""

StoppedBy = Literal["duration", "precision", "time"]
"""What ended the measured phase: `duration_s`, intervals narrow enough, or `at_most_s` before they were."""

BottleneckName = Literal["client", "network", "batching", "instances", "compute", "load", "nothing"]
"""What holds the throughput back, or the latency up; the rule is in `harness.analysis.bottleneck`."""


class Latency(Percentiles[float]):
    """Seconds from the intended send to the last byte, over the requests that succeeded.

    A percentile that the sample cannot support is null.
    """

    mean: float | None
    min: float | None
    max: float | None
    interval_95: dict[str, Interval]
    """95% intervals by name (`p50`, …, `mean`) for each value above that has one."""
    unsupported: dict[str, str] = Field(default_factory=dict)
    """Why a percentile above is null, by name."""
    sample: dict[str, float] = Field(default_factory=dict)
    """The sample's own value of a percentile above that is null: what it may be, and no more."""
    at_least: dict[str, float] = Field(default_factory=dict)
    """One-sided 95% lower limit of a percentile above that is null: it is over it in 95 of 100 samples."""
    more_s: dict[str, float] = Field(default_factory=dict)
    """Seconds more of this load that would settle a percentile above that is null, about."""


class SteadyState(Frozen):
    """Whether the measured phase reached a steady state, and what was left out before it."""

    steady: bool | None
    """Null where it can't be told, or where the load changes by design."""
    skipped_requests: int
    """First requests of the measured phase that belong to the initial transient, and to no latency figure."""
    skipped_s: float
    """How long the initial transient took."""
    counted_requests: int | None = None
    """Successes after it that the latency figures are of, where the point ended because they were enough:
    those that were due later are none of them. Null: all that came after it."""
    why: str
    """What was tested and what was seen, in words."""

    @property
    def counted(self) -> slice:
        """Where the successes that the latency figures are of stand among all, in the order they were due."""
        first, of = self.skipped_requests, self.counted_requests
        return slice(first, None if of is None else first + of)


class LoadProcess(Frozen):
    """One process that sent load."""

    worker: int
    """The `worker` of its samples."""
    host: str
    pid: int | None
    requests: int
    """Answered or failed in the measured phase."""
    resent: int = 0
    """Of them, those that were sent again on a new connection, because the server or a proxy had closed the
    idle one."""
    cpu_s: float | None
    """CPU seconds in the measured phase, by its own account."""
    clock_offset_s: float | None = None
    """Its clock less that of the machine that leads, when the point ended; null on that machine itself. The
    samples' times are already put right by it."""
    clock_error_s: float | None = None
    """The offset is right to plus or minus this (half the fastest round trip)."""
    lost: str | None = None
    """Why it didn't come to its end, in words."""


class TimeSplit(Frozen):
    """Mean seconds of a request by where it spent them; null where that wasn't observed.

    `client_s` is from the intended send to the actual one, `network_s` what is neither client nor model:
    the wire, Triton's front end, and the client's own handling.
    """

    client_s: float | None
    network_s: float | None
    queue_s: float | None
    input_s: float | None
    compute_s: float | None
    output_s: float | None


class Bottleneck(Frozen):
    """What limits the point, and by which part of the rule."""

    name: BottleneckName
    why: str


class BatchFigures(Frozen):
    """The executions of one size of batch."""

    batch: int
    """Inferences in each."""
    executions: int
    mean_s: float
    """How long one took: input, inference and output together."""


class ServerFigures(Frozen):
    """Differences of Triton's own statistics over the measured phase. Times are means per request."""

    requests: int
    """Requests that reached the model, failures among them."""
    inferences: int
    executions: int
    failures: int
    cache_hits: int
    mean_batch: float | None
    """Inferences per execution: how well the dynamic batcher filled its batches."""
    request_s: float | None
    """The whole time in Triton."""
    queue_s: float | None
    compute_input_s: float | None
    compute_infer_s: float | None
    compute_output_s: float | None
    by_batch: tuple[BatchFigures, ...] = ()
    """Executions by size of batch, ascending; empty where the server doesn't tell."""


class SequenceFigures(Frozen):
    """The sequences that began in the measured phase."""

    whole: int
    """Those that came to their end."""
    cut: int
    """Those that the end of the phase cut short: their last step was sent early."""
    failed: int
    """Those of which a step failed; no other was sent."""
    steps_mean: float | None
    """Of those that came to their end."""
    per_s: float | None
    """How many came to their end in a second."""
    latency_s: Latency
    """Of those that came to their end, from when the first step should have been sent to the last answer."""


class ComposingModel(Frozen):
    """A model that worked for the measured one: of an ensemble, or asked by it (business logic scripting)."""

    model: str
    instances: int | None
    """Of all groups and GPUs together; None where the server doesn't tell."""
    server: ServerFigures
    """Over the measured phase, whoever asked."""
    busy: float | None = None
    """Share of the time in which an instance was executing."""


class GpuFigures(Frozen):
    """One GPU, or one MIG instance of it, over the measured phase."""

    device: int
    mig_instance: int | None = None
    name: str
    utilization_mean: float | None
    memory_bytes_max: int | None
    power_w_mean: float | None
    energy_j: float | None
    energy_j_per_inference: float | None
    temperature_c_max: float | None
    sm_clock_hz_mean: float | None
    throttle_reasons: tuple[str, ...] | None
    foreign_processes: tuple[str, ...] | None = None
    """Other processes that were seen to compute on this GPU."""
    memory_clock_hz_mean: float | None = None
    sm_activity_mean: float | None = None
    """The mean over time of the field of that name in GpuReading, like the five below."""
    sm_occupancy_mean: float | None = None
    tensor_activity_mean: float | None = None
    dram_activity_mean: float | None = None
    pcie_tx_bytes_per_s_mean: float | None = None
    pcie_rx_bytes_per_s_mean: float | None = None
    ecc_errors: int | None = None
    """Uncorrected memory errors in the measured phase."""
    server_memory_bytes_max: int | None = None
    """The most memory that the server's own processes held."""
    idle_power_w: float | None = None
    """Before the load, with the model loaded."""
    idle_energy_j_per_inference: float | None = None
    """The part of `energy_j_per_inference` that the GPU would have used idle, less at a higher throughput."""
    energy_j_by_power: float | None = None
    """The power readings integrated over the measured phase: a check of the counter behind `energy_j`."""
    unsupported: dict[str, str] = Field(default_factory=dict)
    """Why a value above is null, by name."""


class GpuProbe(Frozen):
    """What read the GPUs during a point, and what that cost."""

    source: str
    """ "nvml" for NVIDIA's driver on this machine, else the name of the vendor, or several apart by ", ";
    "remote probe" and "triton metrics" saw the GPUs of another machine."""
    readings: int
    interval_s: float
    """Between readings of the fast values."""
    cpu_cores: float | None
    """CPU seconds a second that the reading took; null where it ran elsewhere."""

    @property
    def elsewhere(self) -> bool:
        """Whether the GPUs are those of another machine."""
        return self.source in ("remote probe", "triton metrics")


class HostFigures(Frozen):
    """The host over the measured phase, server and load generator apart. A core is a core-second a second."""

    cores: int
    host_busy_cores: float | None
    server_cpu_cores: float | None
    client_cpu_cores: float | None
    client_cpu_s_per_request: float | None
    server_memory_bytes: int | None
    client_memory_bytes: int | None
    harness_cpu_cores: float | None = None
    foreign_cpu_cores: float | None = None
    """Cores that processes used which are neither server nor load generator nor harness."""
    stolen_cpu_cores: float | None = None
    """Cores that the hypervisor gave to others."""
    throttled_cpu_cores: float | None = None
    """Cores that a CPU quota withheld."""


class ClassFigures(Frozen):
    """One request class of a point."""

    name: str
    batch: int
    axes: dict[str, int]
    requests: int
    errors: int
    latency_s: Latency


class ReplicaFigures(Frozen):
    """One of several servers that a load was spread over."""

    address: str
    requests: int
    errors: int
    latency_s: Latency
    server: ServerFigures | None
    """Its own statistics; null where they couldn't be read."""


class AnswerCheck(Frozen):
    """Some of a point's answers, compared with the first answer to the same payload in the run, or with what
    the payloads' own file says of them."""

    compared: int
    different: int
    """Those whose error is over the tolerance."""
    largest_error: float | None
    """Over the first answer's largest value, of the worst output; null where shapes or names differ, or one
    has a number where the other has none."""
    tolerance: float
    validated: int = 0
    """Those of `compared` that were compared with what the file says (perf_analyzer's `validation_data`)."""
    wrong: int = 0
    """Those of `different` among them."""

    @property
    def against_first(self) -> int:
        """Those of `compared` that were compared with the first answer to the same payload."""
        return self.compared - self.validated

    @property
    def unlike_first(self) -> int:
        """Those of `different` among these."""
        return self.different - self.wrong


class ObjectiveCheck(Frozen):
    """One line of the objective against what was measured. `met` is null where the data can't tell."""

    name: str
    limit: float
    observed: float | None
    met: bool | None


class PointResult(Frozen):
    """One measured point. `verdict` says whether the figures may be used, `objective` whether they please."""

    id: str
    params: dict[str, str | int | float | bool]
    workload: dict[str, Setting | None] = Field(default_factory=dict)
    """What was given, by dotted path: sizes of data, the client's batch, what the scenario declares."""
    configuration: dict[str, Setting | None] = Field(default_factory=dict)
    """What was chosen, by dotted path: how the model is served."""
    point: Point
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a reader should know that doesn't make the point invalid."""
    started_at: str
    """UTC, ISO 8601."""
    duration_s: float | None
    """Length of the measured phase."""
    stopped_by: StoppedBy | None = None
    steady_state: SteadyState | None = None
    requests: int
    """Requests that ended in the measured phase, errors among them."""
    errors: int
    error_reasons: dict[str, int]
    throughput_requests_per_s: float | None
    throughput_inferences_per_s: float | None
    throughput_interval_95: Interval | None
    latency_s: Latency
    service_s: Latency
    """The same from the actual send: what a closed-loop tool would report."""
    send_lag_p99_s: float | None
    """How late the client itself was; null in a closed loop."""
    classes: tuple[ClassFigures, ...]
    load_processes: tuple[LoadProcess, ...] = ()
    answer_check: AnswerCheck | None = Field(
        default=None, validation_alias=AliasChoices("answer_check", "answers")
    )
    """Whether the model said the same under load as it first did; null where no answers were compared."""
    in_flight_mean: float | None = None
    """Requests in flight on average, by the samples; by Little's law, throughput times service time."""
    server: ServerFigures | None
    sequences: SequenceFigures | None = None
    """None where requests don't belong together."""
    replicas: tuple[ReplicaFigures, ...] = ()
    """The servers that the load was spread over; none where it was one."""
    composing: tuple[ComposingModel, ...] = ()
    """The models that worked for the measured one, in the order of an ensemble's steps."""
    time_s: TimeSplit | None = None
    bottleneck: Bottleneck | None = Field(
        default=None, validation_alias=AliasChoices("bottleneck", "limiter")
    )
    execution_provider: str | None = None
    """What ONNX Runtime computed it with; null where the server doesn't tell."""
    loaded: ServerSettings | None = None
    """How the model was configured on a server that already ran (`--url`), its `instances` those of all its
    groups and GPUs together; null on one of harness's own, which is as `point` says."""
    gpu: tuple[GpuFigures, ...] | None
    gpu_probe: GpuProbe | None = None
    host: HostFigures | None
    objective: tuple[ObjectiveCheck, ...]
    samples: str
    """Folder of the raw samples, relative to the run's."""


class GpuEnvironment(Frozen):
    device: int
    name: str
    uuid: str
    memory_bytes: int | None
    driver: str | None
    cuda_driver: str | None
    power_limit_w: float | None
    persistence: bool | None
    ecc: bool | None
    mig: bool | None
    mig_instance: int | None = None
    """Set for one MIG device of the GPU `device`; its own name, uuid and memory stand above."""
    compute_capability: str | None = None
    vbios: str | None = None
    power_limit_default_w: float | None = None
    sm_clock_max_hz: float | None = None
    memory_clock_max_hz: float | None = None
    application_sm_clock_hz: float | None = None
    """Clocks that were asked for (`nvidia-smi -ac`); the defaults are below."""
    application_memory_clock_hz: float | None = None
    default_sm_clock_hz: float | None = None
    default_memory_clock_hz: float | None = None
    compute_mode: str | None = None
    pcie_generation: int | None = None
    """The link's generation when asked; an idle link may have stepped down. Its maximum is below."""
    pcie_width: int | None = None
    pcie_generation_max: int | None = None
    pcie_width_max: int | None = None
    unsupported: dict[str, str] = Field(default_factory=dict)
    """Why a value is null, by name: of these, and of the readings'."""


class Environment(Frozen):
    """Where a run happened. Runs that differ here are not compared without saying so."""

    host: str
    os: str
    kernel: str
    cpu: str
    cores: int
    memory_bytes: int
    gpus: tuple[GpuEnvironment, ...]
    python: str
    packages: dict[str, str]
    harness_version: str
    git_commit: str | None
    """The commit of the folder the run was started in; "+dirty" is appended for uncommitted changes."""
    triton_version: str | None
    server_mode: str
    """How the server was started, or "remote"."""
    server_url: str
    backend: str
    """Which implementation served the model, in words, e.g. "onnxruntime on Triton's Python backend"."""
    execution_provider: str | None
    provider_options: dict[str, str] | None = None
    """What the execution provider was configured with beyond its defaults."""
    backend_version: str | None = None
    """E.g. ONNX Runtime's; null where the server doesn't tell."""
    server_image: str | None = None
    """The container image with its digest."""
    server_command: tuple[str, ...] | None = None
    """The command line that started the server."""

    @property
    def stands_in(self) -> bool:
        """Whether its backend is in the place of NVIDIA's, rather than what a Python model is served by
        anywhere."""
        backend = self.backend.lower()
        return "python" in backend and "onnxruntime" in backend


def _readable(version: Any) -> Any:
    """A result of version 1 is read as one of today's: its old spelling is understood."""
    return SCHEMA_VERSION if version == 1 else version


class RunResult(Frozen):
    """`result.json`: one run of one scenario."""

    schema_version: Annotated[Literal[2], BeforeValidator(_readable)] = SCHEMA_VERSION
    run_id: str
    path: str
    scenario: str
    """Name of the scenario file, without its folder."""
    started_at: str
    finished_at: str | None
    """Null while points are missing."""
    planned: tuple[str, ...]
    """Ids of every point of the run, in order."""
    model: Model | None
    """The model of the first point; null where the run's folder doesn't say it any more."""
    other_models: tuple[Model, ...] = ()
    """The same model converted to another dtype, for the other points."""
    environment: Environment | None
    """Null where the run's folder doesn't say it any more."""
    points: tuple[PointResult, ...]
    answers: tuple[Answer, ...] = ()
    """One for each workload, in the order in which they were first measured."""
    faults: tuple[str, ...] = ()
    """What isn't whole of the run's folder, a sentence for each file, with what follows from it."""

    @property
    def model_name(self) -> str:
        return self.model.name if self.model is not None else str(self.points[0].point.model)
