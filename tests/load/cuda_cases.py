"""What tests run in a process that meets the double for the CUDA driver.

`python -m tests.load.cuda_cases CASE ARGUMENTS`: each function is a case, what it returns is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.load.coordinator.driver import drive
from harness.load.endpoint import Endpoint
from harness.load.job import Job
from harness.load.shared_memory import cuda_driver
from harness.load.shared_memory.cuda_driver import DeviceMemory
from harness.load.shared_memory.cuda_memory import CudaMemory
from harness.load.shared_memory.regions import SharedMemory, Target
from harness.load.spools import read_spool
from harness.schema.errors import HarnessError
from harness.schema.load import PointLoad
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors
from tests.load.test_drive import endpoint, point
from tests.load.test_shared_memory import files
from tests.load.test_wires_on_triton import values
from tests.load.triton_models import TYPES

FOLDER = Path("/dev/shm")


def target(protocol: Protocol, port: int, http_port: int, model: str = "echo") -> Target:
    return Target(Endpoint(protocol=protocol, host="127.0.0.1", port=port, timeout_s=20), model, http_port)


def written() -> dict[str, str]:
    """Three pieces in one allocation, and what another process then finds behind the handle."""
    memory = DeviceMemory(0, 3_000)
    handle = memory.handle()
    memory.write(0, memoryview(b"begins"))
    memory.write(1_000, memoryview(np.arange(9, dtype=np.int32).tobytes()))
    memory.write(2_000, memoryview(b""))
    memory.write(2_996, memoryview(b"ends"))
    there = (FOLDER / handle[: handle.index(0)].decode()).read_bytes()
    read = memory.read(0, 3_000)
    memory.close()
    return {"there": there.hex(), "read": read.hex()}


def echoes(protocol: Protocol, port: int, http_port: int) -> dict[str, Any]:
    """Every variant of two classes in every slot of memory on GPU 1; the answers are where they should be."""
    rng = np.random.default_rng(3)
    classes: list[list[Tensors]] = [
        [{"X": rng.random((2, 5), np.float32)} for _ in range(3)],
        [{"X": rng.random((1, 40_000), np.float32)} for _ in range(2)],
    ]
    at = target(protocol, port, http_port)
    connection = at.endpoint.open()
    with SharedMemory(at, classes, ["Y"], 3, partial(CudaMemory, gpu=1, there=1)) as cuda:
        for kind, variants in enumerate(classes):
            for slot in range(3):
                for variant, inputs in enumerate(variants):
                    reply = connection.call(cuda.prepared[slot][kind][variant])
                    assert reply.status is Status.OK, reply.reason
                    raw = inputs["X"].tobytes()
                    assert cuda.output(slot, "Y")[: len(raw)] == raw, (kind, slot, variant)
        held = len(files())
        with SharedMemory(at, classes, ["Y"], 3) as system:
            ours, theirs = (memory.prepared[2][1][1] for memory in (cuda, system))
            sizes = [[len(ours), len(theirs)]]
            for request in (ours, theirs):
                reply = connection.call(request)
                sizes.append([reply.sent_bytes, reply.received_bytes])
    connection.close()
    return {"held": held, "left": len(files()), "sizes": sizes}


def types(protocol: Protocol, port: int, http_port: int) -> None:
    inputs = {name: values(name) for name in TYPES}
    at = target(protocol, port, http_port, "types")
    connection = at.endpoint.open()
    with SharedMemory(at, [[inputs]], TYPES, 1, CudaMemory) as memory:
        reply = connection.call(memory.prepared[0][0][0])
        assert reply.status is Status.OK, reply.reason
        for name in TYPES:
            assert memory.output(0, name) == inputs[name].tobytes(), name
    connection.close()


def fails(
    port: int, http_port: int, scripts: list[str], access: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Shared memory under each script in turn: what was raised, and how many names were left."""
    at = replace(target("http", port, http_port), access=access or {})
    inputs: Tensors = {"X": np.ones((1, 2), np.float32)}
    plain = os.environ["CUDA_DOUBLE"]
    seen: list[dict[str, Any]] = []
    for script in scripts:
        os.environ["CUDA_DOUBLE"] = f"{plain} {script}"
        try:
            with SharedMemory(at, [[inputs] * 3], ["Y"], 2, CudaMemory):
                seen.append({"error": None, "left": 0})
        except HarnessError as error:
            seen.append({"error": type(error).__name__, "says": str(error), "left": len(files())})
        os.environ["CUDA_DOUBLE"] = plain
    return seen


def refused(gpu: int, megabytes: int = 1) -> str:
    """The sentence for memory that can't be had."""
    try:
        DeviceMemory(gpu, megabytes * 1_000_000).close()
    except HarnessError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def on_gpu(gpu: int) -> None:
    DeviceMemory(gpu, 1).close()


def no_driver() -> str:
    cuda_driver.LIBRARY = "libcuda.so.absent"
    return refused(0)


def waits_to_be_killed(port: int, http_port: int) -> None:
    inputs: Tensors = {"X": np.ones((1, 2), np.float32)}
    with SharedMemory(target("http", port, http_port), [[inputs]], ["Y"], 1, CudaMemory):
        print(json.dumps(sorted(files())), flush=True)
        time.sleep(60)


def drives(
    protocol: Protocol, port: int, http_port: int, folder: str, load: dict[str, Any]
) -> dict[str, Any]:
    """A whole drive, through real load processes."""
    base = point(protocol, PointLoad(**load), warmup_s=0.3, duration_s=1.0)
    server = base.server.model_copy(update={"gpus": (2, 0)})
    what = base.model_copy(update={"shared_memory": "cuda", "server": server})
    large: dict[str, list[Tensors]] = {
        name: [{"X": np.full((1, 100_000), v, np.float32)} for v in range(2)] for name in ("short", "long")
    }
    at = (Path(folder) / "load", Path(folder))
    outcome = drive(Job(what, "echo", large, ["Y"], endpoint(what, port), *at, http_port=http_port))
    requests, reasons = read_spool(at[0])
    return {
        "ended": outcome.ended,
        "requests": len(requests),
        "reasons": len(reasons),
        "ok": bool((requests["status"] == Status.OK).all()),
        "sent_bytes": int(requests["sent_bytes"].max()),
        "received_bytes": int(requests["received_bytes"].max()),
        "left": len(files()),
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
