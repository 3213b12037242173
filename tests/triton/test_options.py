"""Options for GPUs, as far as the real Triton shows them without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.schema.errors import ServerError
from harness.schema.model import ModelArtifact
from harness.triton import repository
from harness.triton.embedded import EmbeddedServer
from tests.triton.clients import floats, infer
from tests.triton.models import settings

pytestmark = pytest.mark.triton


def configured(monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]) -> None:
    plain = repository.model_config
    monkeypatch.setattr(repository, "model_config", lambda *a, **k: plain(*a, **k) | changed)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "graphs on a cpu": ({"optimization": {"cuda": {"graphs": True}}}, "cuda graphs need KIND_GPU"),
    "graph specification": (
        {"optimization": {"cuda": {"graphs": True, "graph_spec": [{"batch_size": 4}]}}},
        "optimization: cuda: 'graph_spec'",
    ),
    "busy waiting": ({"optimization": {"cuda": {"busy_wait_events": True}}}, "'busy_wait_events'"),
    "output copy stream": ({"optimization": {"cuda": {"output_copy_stream": True}}}, "'output_copy_stream'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_option_for_a_gpu_that_is_not_honoured_is_refused_by_its_name(
    server: EmbeddedServer,
    artifacts: dict[str, ModelArtifact],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    changed, reason = REFUSED[what]
    configured(monkeypatch, changed)
    with pytest.raises(ServerError, match=reason):
        server.serve(artifacts["double"], settings())


def test_options_that_change_nothing_on_a_cpu_are_accepted(
    server: EmbeddedServer, artifacts: dict[str, ModelArtifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(
        monkeypatch,
        {
            "parameters": {"FORCE_CPU_ONLY_INPUT_TENSORS": {"string_value": "no"}},
            "optimization": {"cuda": {"graphs": False}},
        },
    )
    name = server.serve(artifacts["double"], settings())
    x = floats(2, 3)
    assert np.array_equal(infer(server, name, {"x": x})["y"], x * 2)
