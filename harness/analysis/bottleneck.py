"""The bottleneck of a point: one name, by a rule that is written down.

The first line that applies names it; docs/measurement.md has the same as a table.

1. `client`: a load process used at least 9 tenths of `validity.client_cpu`, or a quarter of the mean latency
   or more went by before the client sent.
2. The instances are *busy* (at least 80% of the time) or *waited for* in an open loop (the queue is at least
   half as long as the model's own time), and requests do wait (a fifth of the model's own time or more):
   `compute` where the cores or the GPU have no room, else `instances`, more of which would help.
3. `batching`: the queue is the batcher's delay: batches are not full, the mean queue time lies between half
   and one and a half times `queue_delay_us`, and it is a quarter of the service time or more.
4. The instances are busy and nothing waits: `compute`, the model's own time.
5. `network`: wire, Triton's front end and the client's handling are half of the service time or more.
6. `compute`: the cores or the GPU have no room, whoever uses them.
7. A closed loop is limited by its `load`: more users would raise the throughput. An open loop is limited by
   `nothing`: it keeps up, and the queue is short.

Of an ensemble, and of classes that ask several models, the rule is asked of the model whose instances are the
busiest, and so it is of a model that asks others where one of those is busy; `why` begins with its name.

How busy instances are is executions times the mean time of one (input, inference and output), over instances
times the length of the phase. Triton's mean counts an execution once for each request in it, so long batches
weigh more and the share comes out rather too high than too low; it is cut off at 1. In a closed loop line 2
doesn't look at waiting alone: a few users who come at the same moment wait for each other on idle instances.

Cores have no room when at least 90% of them are busy. A GPU has none when its SMs are active at least 90% of
the time or at least 80% of its memory bandwidth is used; where it reports neither, when it runs kernels at
least 90% of the time, though a kernel that runs may leave most of it idle. On a GPU that has room, instances
that are busy all the time run kernels too small to fill it, or wait for launches and copies, as `why` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.facts import Facts
from harness.analysis.gpu import may_use, on_cpu
from harness.analysis.window import mean
from harness.schema.observed import Observed
from harness.schema.point import Point, ServerSettings
from harness.schema.result import Bottleneck, BottleneckName, ComposingModel, ServerFigures

CLIENT_NEAR = 0.9
CLIENT_LAG = 0.25
BUSY = 0.8
WAITS = 0.2
WAITED_FOR = 0.5
SATURATED = 0.9
MEMORY_SATURATED = 0.8
DELAY = (0.5, 1.5)
DELAY_SHARE = 0.25
NETWORK_SHARE = 0.5


def bottleneck(point: Point, observed: Observed, facts: Facts) -> Bottleneck | None:
    """The point's bottleneck; None where too little was observed to say."""
    client = _client(point, observed, facts)
    if client is not None:
        return Bottleneck(name="client", why=client)
    composing = composing_models(observed, facts.seconds)
    limiting = max(composing, key=lambda each: each.busy or 0.0, default=None)
    # An ensemble has no instances of its own; a model that asks others is busy while it waits for them.
    if limiting is not None and (observed.several or (limiting.busy or 0.0) >= BUSY):
        signals = _Signals.of(point, observed, facts, limiting)
        served, of_whom = ServerSettings.kept(), f"{limiting.model}: "
    else:
        signals, served, of_whom = _Signals.of(point, observed, facts), observed.loaded or point.server, ""
    if signals is None:
        return None
    name, why = _rule(point, served, signals)
    return Bottleneck(name=name, why="; ".join([of_whom + why, *signals.unobserved]))


def composing_models(observed: Observed, seconds: float | None) -> tuple[ComposingModel, ...]:
    """The models that worked for the measured one, with how busy each was."""
    return tuple(each.model_copy(update={"busy": _busy(each, seconds)}) for each in observed.composing)


def _busy(each: ComposingModel, seconds: float | None) -> float | None:
    model_s = _model_s(each.server)
    if not seconds or not each.instances or model_s is None:
        return None
    return min(1.0, each.server.executions * model_s / (each.instances * seconds))


@dataclass(frozen=True, slots=True)
class _Signals:
    """What the rule weighs. Seconds are means per request."""

    busy: float
    """Share of the time in which an instance was executing."""
    instances: int
    model_s: float
    """Time for input, inference and output."""
    queue_s: float
    service_s: float
    network_s: float | None
    mean_batch: float | None
    saturated: str | None
    """The device that has no room, in words."""
    room: str
    """What is known of the devices' room, in words."""
    gpu: _Level | None
    unobserved: tuple[str, ...]
    """What the rule had to do without, in words."""

    @classmethod
    def of(
        cls, point: Point, observed: Observed, facts: Facts, composing: ComposingModel | None = None
    ) -> _Signals | None:
        """Of the measured model, or of one that worked for it."""
        seconds, service_s = facts.seconds, facts.service_mean_s
        server = facts.server if composing is None else composing.server
        if server is None or not seconds or not service_s or server.queue_s is None:
            return None
        model_s = _model_s(server)
        if model_s is None:
            return None
        on_gpu = not on_cpu(point, observed.execution_provider) and (
            point.server.kind == "gpu" or bool(observed.gpus)
        )
        if composing is not None:
            instances = composing.instances or 1
        elif observed.loaded is not None:
            instances = observed.loaded.instances or 1
        else:
            instances = (point.server.instances or 1) * (_gpu_count(point, observed) if on_gpu else 1)
        network_s = facts.time_s.network_s
        gpu = _gpu_level(point, observed, facts) if on_gpu else None
        levels = (*([gpu] if gpu else []), *_host_levels(observed, facts))
        return cls(
            busy=min(1.0, server.executions * model_s / (instances * seconds)),
            instances=instances,
            model_s=model_s,
            queue_s=server.queue_s,
            service_s=service_s,
            network_s=network_s,
            mean_batch=server.mean_batch,
            saturated=next((level.words for level in levels if level.full), None),
            room=" and ".join(level.words for level in levels) or "its cores and GPU may have room",
            gpu=gpu,
            unobserved=tuple(
                words
                for words, known in (
                    ("how busy the server's cores and GPU were was not observed", levels),
                    ("how long a request was on the wire was not observed", network_s is not None),
                )
                if not known
            ),
        )


def _model_s(server: ServerFigures) -> float | None:
    if server.executions == 0:
        return 0.0  # the response cache answered everything
    parts = (server.compute_input_s, server.compute_infer_s, server.compute_output_s)
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _gpu_count(point: Point, observed: Observed) -> int:
    """How many GPUs there are for the server: Triton makes its instances on each."""
    if point.server.gpus is not None:
        return len(point.server.gpus)
    return max(1, sum(gpu.mig_instance is None for gpu in observed.gpus))


@dataclass(frozen=True, slots=True)
class _Level:
    """How busy a device is, in words, and whether that leaves it no room."""

    full: bool
    words: str
    in_depth: bool = True
    """Whether it is known how much of the device was used, and not only that it was."""


def _gpu_level(point: Point, observed: Observed, facts: Facts) -> _Level | None:
    """How busy the GPUs are on which the server's memory was seen, or else all that it may use; None where
    that wasn't observed."""
    provider = observed.execution_provider
    mine = [gpu for gpu in facts.gpu or () if may_use(point, gpu.device, provider)]
    mine = [gpu for gpu in mine if gpu.server_memory_bytes_max is not None] or mine
    sm = mean(gpu.sm_activity_mean for gpu in mine)
    if sm is None:
        running = mean(gpu.utilization_mean for gpu in mine)
        words = f"the GPU ran kernels {running:.0%} of the time" if running is not None else ""
        return None if running is None else _Level(running >= SATURATED, words, in_depth=False)
    tensor, memory = mean(g.tensor_activity_mean for g in mine), mean(g.dram_activity_mean for g in mine)
    parts = [f"the GPU's SMs were active {sm:.0%} of the time"]
    parts += [f"its tensor cores {tensor:.0%}"] if tensor is not None else []
    parts += [f"{memory:.0%} of its memory bandwidth was used"] if memory is not None else []
    full = sm >= SATURATED or (memory is not None and memory >= MEMORY_SATURATED)
    return _Level(full, ", ".join(parts))


def _host_levels(observed: Observed, facts: Facts) -> Iterator[_Level]:
    """How busy the cores are that the server runs on, where it can be seen."""
    host = facts.host
    if host is None or host.server_cpu_cores is None:  # a server elsewhere has other cores
        return
    if host.host_busy_cores is not None:
        cores = observed.host_cores or observed.cores
        yield _Level(
            host.host_busy_cores >= SATURATED * cores,
            f"{host.host_busy_cores:.1f} of {cores} cores were busy, {host.server_cpu_cores:.1f} of them "
            "with the server",
        )
    if host.server_cpu_cores >= SATURATED * observed.cores:  # a quota of fewer cores than the machine has
        yield _Level(
            True, f"the server used {host.server_cpu_cores:.1f} of the {observed.cores} cores it may use"
        )


def _client(point: Point, observed: Observed, facts: Facts) -> str | None:
    near = CLIENT_NEAR * point.validity.client_cpu
    for process in observed.load_processes:
        if process.cpu_s is not None and facts.seconds and process.cpu_s / facts.seconds >= near:
            return f"load process {process.worker} used {process.cpu_s / facts.seconds:.0%} of a core"
    lag_s, service_s = facts.time_s.client_s, facts.service_mean_s
    if lag_s is not None and service_s is not None and lag_s >= CLIENT_LAG * (lag_s + service_s) > 0:
        return (
            f"{lag_s / (lag_s + service_s):.0%} of the mean latency of {_ms(lag_s + service_s)} had gone by "
            "before the client sent"
        )
    return None


def _rule(point: Point, served: ServerSettings, signals: _Signals) -> tuple[BottleneckName, str]:
    which = "the instance was" if signals.instances == 1 else f"the {signals.instances} instances were"
    busy = f"{which} busy {signals.busy:.0%} of the time"
    waits = f"a request waits {_ms(signals.queue_s)} for {_ms(signals.model_s)} of the model's own time"
    is_busy = signals.busy >= BUSY
    waited_for = point.load.open_loop and signals.queue_s >= WAITED_FOR * signals.model_s > 0
    delayed = _delayed(served, signals)
    if (is_busy or (waited_for and not delayed)) and signals.queue_s >= WAITS * signals.model_s:
        if signals.saturated is not None:
            return "compute", f"{busy}, {waits}, and {signals.saturated}"
        return "instances", f"{busy} and {waits}, while {signals.room}"
    if delayed:
        return "batching", delayed
    if is_busy:
        own = f"{busy} and hardly anything waits ({_ms(signals.queue_s)}): the model's own time"
        return "compute", own + _filled(signals.gpu)
    if signals.network_s is not None and signals.network_s >= NETWORK_SHARE * signals.service_s:
        return "network", (
            f"{_ms(signals.network_s)} of {_ms(signals.service_s)} went to the wire, Triton's front end and "
            f"the client's handling, and {busy}"
        )
    if signals.saturated is not None:
        return "compute", f"{signals.saturated}, though {busy}"
    if point.load.open_loop:
        return "nothing", f"the server keeps up: {busy} and {waits}"
    users = point.load.shape.users
    return "load", f"{busy} with {users} user{'' if users == 1 else 's'}: more would raise the throughput"


def _filled(gpu: _Level | None) -> str:
    """What the model's own time is on a GPU, in words."""
    if gpu is None or not gpu.in_depth:
        return ""
    if gpu.full:
        return f", and {gpu.words}"
    return f", while {gpu.words}: its kernels are too small to fill it, or wait for launches and copies"


def _delayed(served: ServerSettings, signals: _Signals) -> str | None:
    """How the queue is the batcher's delay, in words; None where it isn't."""
    delay_s, largest = (served.queue_delay_us or 0) / 1e6, served.max_batch or 1
    if delay_s == 0 or signals.mean_batch is None or signals.mean_batch >= SATURATED * largest:
        return None
    low, high = DELAY
    if (
        not low * delay_s <= signals.queue_s <= high * delay_s
        or signals.queue_s < DELAY_SHARE * signals.service_s
    ):
        return None
    return (
        f"a request waits {_ms(signals.queue_s)} of its {_ms(signals.service_s)} for others to share its "
        f"batch (queue_delay_us is {_ms(delay_s)}), and batches hold {signals.mean_batch:.1f} of "
        f"{largest}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
