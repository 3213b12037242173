"""The backend's own modules, imported by a test as Triton's stub imports them, with a double for Triton's."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.schema.model import ModelArtifact
from harness.triton.install import BACKEND_SOURCE
from harness.triton.repository import model_config
from tests.triton.models import settings

DOUBLE = Path(__file__).parent / "backend_double"
HERE = ("cpu", 0)
"""A device of the backend whose memory is the host's own."""

Feed = dict[str, Any]


@contextmanager
def imported() -> Iterator[SimpleNamespace]:
    """Each module by its bare name, and the double as `pb`."""
    names = [path.stem for path in BACKEND_SOURCE.glob("*.py") if path.stem != "__init__"]
    sys.path[:0] = [str(BACKEND_SOURCE), str(DOUBLE)]
    try:
        modules = {name: __import__(name) for name in names}
        yield SimpleNamespace(**modules, pb=__import__("triton_python_backend_utils"))
    finally:
        sys.path[:2] = []
        for name in [*names, "triton_python_backend_utils"]:
            sys.modules.pop(name, None)


def instance(backend: Any, artifact: ModelArtifact, **changed: Any) -> Any:
    """The model on the host, as Triton would start it."""
    config = model_config(artifact, settings(**changed), gpu=False)
    config["default_model_filename"] = artifact.path.name
    made = backend.model.TritonPythonModel()
    made.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(artifact.path.parent),
            "model_version": ".",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return made


def options(backend: Any) -> Callable[[], Any]:
    return lambda: backend.ort_session.run_options({})


def on_device(backend: Any, artifact: ModelArtifact, **changed: Any) -> Any:
    made = instance(backend, artifact, **changed)
    made.runner = backend.ort_run.DeviceRunner(made.session, options(backend), HERE)
    return made


def with_graphs(backend: Any, artifact: ModelArtifact, **changed: Any) -> Any:
    made = instance(backend, artifact, **changed)
    made.runner = backend.ort_run.GraphRunner(
        made.session, options(backend), HERE, backend.pb.Logger.log_info
    )
    return made


def answers(
    backend: Any, model: Any, feeds: list[Feed], *, device: Any = (), wanted: list[str] | None = None
) -> list[Any]:
    """What the model answers to the feeds at once; those at the indices `device` are on the device."""
    requests = []
    for index, feed in enumerate(feeds):
        tensors = [
            backend.pb.Tensor(name, array.copy(), on_device=index in device) for name, array in feed.items()
        ]
        requests.append(backend.pb.InferenceRequest(tensors, wanted or model.outputs))
    return [
        response.error.message()
        if response.error
        else {name: tensor.array.copy() for name, tensor in response.outputs.items()}
        for response in model.execute(requests)
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    """Bit for bit, type for type."""
    return len(one) == len(other) and all(
        a == b
        if isinstance(a, str)
        else a.keys() == b.keys()
        and all(
            a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes()
            for n in a
        )
        for a, b in zip(one, other, strict=True)
    )


def nothing_is_lent(backend: Any) -> bool:
    gc.collect()
    return not backend.device_memory._lent


class Recorded:
    """A session that keeps what it was run with."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.graph_ids: list[str] = []
        self.shapes: list[tuple[int, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run_with_iobinding(self, binding: Any, run_options: Any) -> None:
        self.graph_ids.append(run_options.get_run_config_entry("gpu_graph_id"))
        self.session.run_with_iobinding(binding, run_options)

    def run(self, names: list[str], feed: Feed, run_options: Any) -> Any:
        self.shapes.append(feed["x"].shape)
        return self.session.run(names, feed, run_options)
