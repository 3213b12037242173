"""What a request costs beyond its service, by a plain client of another make than the one under test.

HTTP: the standard library's blocking client. gRPC: Google's own, on its C core; its message is built once.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable

import numpy as np

from harness.schema.errors import ServerError
from harness.schema.scenario import Protocol
from harness.triton.truth import SERVED, SERVICE


def wire_s(
    protocol: Protocol, host: str, port: int, model: str, *, service_s: float, pause_s: float, requests: int
) -> float:
    """Median seconds beyond the service of so many requests of `service_s`, one at a time.

    `pause_s` is slept between two: a machine that was idle takes longer to wake up, and it is idle in the
    pauses of the load that this is for.

    Raises ServerError when the model doesn't answer.
    """
    call = (_http if protocol == "http" else _grpc)(host, port, model, service_s)
    took_s = []
    for _ in range(requests):
        time.sleep(pause_s)
        began = time.perf_counter()
        call()
        took_s.append(time.perf_counter() - began - service_s)
    return statistics.median(took_s)


def _http(host: str, port: int, model: str, service_s: float) -> Callable[[], None]:
    import tritonclient.http as triton

    body, header_length = triton.InferenceServerClient.generate_request_body([_tensor(triton, service_s)])
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {"Inference-Header-Content-Length": str(header_length)}

    def call() -> None:
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise ServerError(f"{model} answered {answer.status} ({said[:200]!r}): see the server's log")

    return call


def _grpc(host: str, port: int, model: str, service_s: float) -> Callable[[], None]:
    import grpc
    from tritonclient.grpc import service_pb2 as messages

    request = messages.ModelInferRequest(model_name=model)
    request.inputs.add(name=SERVICE, datatype="FP64", shape=[1, 1])
    request.outputs.add(name=SERVED)
    request.raw_input_contents.append(np.array([[service_s]], np.float64).tobytes())
    body = request.SerializeToString()
    infer = grpc.insecure_channel(f"{host}:{port}").unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def call() -> None:
        try:
            infer(body)  # bytes in, bytes out: what a message costs to build isn't the wire's
        except grpc.RpcError as error:
            raise ServerError(f"{model} answered {error}: see the server's log") from error

    return call


def _tensor(triton: object, service_s: float) -> object:
    made = triton.InferInput(SERVICE, [1, 1], "FP64")  # type: ignore[attr-defined]
    made.set_data_from_numpy(np.array([[service_s]], np.float64))
    return made
