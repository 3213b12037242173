"""Which of the options of a comparison are the baseline's, and which the candidate's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.schema.errors import InputError

OF_STARTED = {"server", "image", "shm_size", "network", "host", "repository", "model_repository"}
OF_RUNNING = {
    "url",
    "grpc_port",
    "grpc_tls",
    "grpc_ca",
    "grpc_cert",
    "grpc_key",
    "http_ca",
    "http_cert",
    "http_key",
    "header_file",
    "probe",
    "metrics_url",
}
"""Options that only such a Triton has."""


def sides_of(both: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the baseline and of the candidate: `both`, but for what `candidate` has in their place.

    Either may run already while the other is started here; each then has those of its own kind. Raises
    InputError for a gRPC port of the candidate's own where its server is the baseline's.
    """
    given = {name for name, value in both.items() if value not in (None, False)}
    baseline, changed = dict(both), {**both, **candidate}
    if candidate.get("url") is not None:
        if "url" not in given:  # what there is of a running server is the candidate's
            baseline = {name: value for name, value in both.items() if name not in OF_RUNNING}
        changed = {name: value for name, value in changed.items() if name not in OF_STARTED}
    elif "url" in given and {"server", "image"} & candidate.keys():
        changed = {name: value for name, value in changed.items() if name not in OF_RUNNING}
    elif "url" in given and "grpc_port" in candidate:
        raise InputError("--candidate-grpc-port is of another server: give its --candidate-url too")
    return baseline, changed
