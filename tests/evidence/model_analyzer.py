"""NVIDIA's Model Analyzer on the same model, server and objective, in an environment of its own.

It searches `max_batch_size` and the instance count, with the client's concurrency; it knows no threads of a
CPU's instance and, unless it is told values, no queue delay: those stay as the scenario's first value says.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from harness.calibration.perf_analyzer import PerfAnalyzer
from harness.measurement.workload import workload
from harness.schema.model import ModelArtifact
from harness.schema.point import Point
from harness.triton.embedded import environment_of
from harness.triton.install import provision
from harness.triton.repository import write_model
from tests.ports import free_port

VERSION = "1.58.0"
LIMIT_S = 7200.0

SearchMode = Literal["quick", "optuna"]


@dataclass(frozen=True)
class Found:
    """The configuration that it names the best under the constraint; None where none satisfied it."""

    max_batch: int | None
    instances: int | None
    throughput_per_s: float | None
    p99_s: float | None
    took_s: float
    measurements: int


def installed(folder: Path) -> Path:
    """Its command, in a virtual environment under `folder`."""
    command = folder / "bin" / "model-analyzer"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        package = f"triton-model-analyzer=={VERSION}"
        subprocess.run([folder / "bin" / "pip", "install", "-q", package], check=True)
    return command


def search(
    command: Path,
    folder: Path,
    mode: SearchMode,
    model: ModelArtifact,
    point: Point,
    *,
    base_dir: Path,
    p99_ms: float,
    max_batch: int,
    instances: int,
) -> Found:
    """One whole search, in an empty `folder`."""
    triton = provision()
    repository = folder / "repository"
    repository.mkdir(parents=True)
    write_model(repository, model, point.server, gpu=False)
    data = folder / "data.json"
    requests = _requests(model, point, base_dir)
    data.write_text(json.dumps({"data": requests}))
    shapes = [f"{name}:{','.join(map(str, each['shape']))}" for name, each in requests[0].items()]
    http, grpc, metrics = (free_port() for _ in range(3))
    (cudart,) = triton.libs.glob("libcudart-*.so.12*")
    client = PerfAnalyzer(cudart, folder / "perf_analyzer")
    environment = environment_of(triton)
    asked = {
        "model_repository": str(repository),
        "checkpoint_directory": str(folder / "checkpoints"),
        "output_model_repository_path": str(folder / "variants"),
        "export_path": str(folder / "export"),
        "triton_launch_mode": "local",
        "triton_server_path": str(triton.server),
        "triton_server_flags": {
            "backend-directory": str(triton.backends),
            "backend-config": f"python,shm-region-prefix-name=model_analyzer_{os.getpid()}_",
            "allow-gpu-metrics": False,
        },
        "triton_server_environment": dict(environment),
        "triton_http_endpoint": f"127.0.0.1:{http}",
        "triton_grpc_endpoint": f"127.0.0.1:{grpc}",
        "triton_metrics_url": f"http://127.0.0.1:{metrics}/metrics",
        "triton_output_path": str(folder / "triton.log"),
        "perf_analyzer_path": str(_wrapped(client, folder / "perf_analyzer.sh")),
        "client_protocol": "grpc",
        "gpus": ["[]"],
        "run_config_search_mode": mode,
        "run_config_search_max_model_batch_size": max_batch,
        "run_config_search_max_instance_count": instances,
        "skip_detailed_reports": True,
        "profile_models": {
            model.name: {
                "cpu_only": True,
                "objectives": ["perf_throughput"],
                "constraints": {"perf_latency_p99": {"max": p99_ms}},
                "perf_analyzer_flags": {"input-data": str(data), "shape": shapes},
            }
        },
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(asked, sort_keys=False))
    began = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        subprocess.run(
            [command, "profile", "-f", config],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
            check=True,
        )
    took_s = time.monotonic() - began
    with (folder / "export" / "results" / "metrics-model-inference.csv").open() as table:
        return best(list(csv.DictReader(table)), took_s)


def _wrapped(client: PerfAnalyzer, script: Path) -> Path:
    """perf_analyzer with its libraries: Model Analyzer starts it in an environment of its own."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in client.environment.items())
    script.write_text(f'#!/bin/sh\nexec env {settings} {shlex.quote(str(client.binary))} "$@"\n')
    script.chmod(0o755)
    return script


def best(rows: Sequence[Mapping[str, str]], took_s: float) -> Found:
    """Of its table: the row of the largest throughput that satisfies the constraint."""
    good = [row for row in rows if row["Satisfies Constraints"] == "Yes"]
    if not good:
        return Found(None, None, None, None, took_s, len(rows))
    row = max(good, key=lambda each: float(each["Throughput (infer/sec)"]))
    return Found(
        max_batch=int(row["Max Batch Size"]),
        instances=int(row["Instance Group"].split(":")[0]),
        throughput_per_s=float(row["Throughput (infer/sec)"]),
        p99_s=float(row["p99 Latency (ms)"]) / 1e3,
        took_s=took_s,
        measurements=len(rows),
    )


def _requests(model: ModelArtifact, point: Point, base_dir: Path) -> list[dict[str, Any]]:
    """The scenario's own payloads, as perf_analyzer reads them: without the batch's axis."""
    (kind,) = point.requests
    made = workload(point, model, base_dir).payloads[kind.name]
    return [
        {
            name: {"content": value.ravel().tolist(), "shape": list(value.shape[1:])}
            for name, value in each.items()
        }
        for each in made
    ]
