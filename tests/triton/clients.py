"""Requests by Triton's own client library, as a user would send them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype

from harness.triton.server import Server


def infer(
    server: Server,
    model: str,
    feeds: dict[str, Any],
    *,
    protocol: str = "http",
    outputs: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The outputs by name."""
    library = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
    port = server.http_port if protocol == "http" else server.grpc_port
    inputs = []
    for name, array in feeds.items():
        inputs.append(library.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    wanted = None if outputs is None else [library.InferRequestedOutput(name) for name in outputs]
    client = library.InferenceServerClient(f"{server.host}:{port}")
    try:
        result = client.infer(model, inputs, outputs=wanted)
    finally:
        client.close()
    response = result.get_response()
    answered = response["outputs"] if protocol == "http" else response.outputs
    names = [output["name"] if protocol == "http" else output.name for output in answered]
    return {name: result.as_numpy(name) for name in names}


def infer_together(server: Server, model: str, feeds: Sequence[dict[str, Any]]) -> list[Any]:
    """The outputs, or the exception, of each of `feeds`, sent at the same time."""

    def one(feed: dict[str, Any]) -> Any:
        try:
            return infer(server, model, feed)
        except tritonclient.http.InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(feeds)) as pool:
        return list(pool.map(one, feeds))


def floats(rows: int, columns: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).random((rows, columns), np.float32)
