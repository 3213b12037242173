"""What a gRPC call to Triton says: the ModelInfer message, and the status that its trailers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.load.wire.compression import compressed
from harness.load.wire.connection import Fault
from harness.load.wire.grpc.http2 import Headers
from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.samples import Status
from harness.schema.scenario import Compression
from harness.schema.tensors import Tensors

_CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


_FIELDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
"""Of protobuf's InferParameter, by the type of a value."""


LARGEST_MESSAGE = 2**31 - 1 - (1 << 20)
"""Bytes of tensors: protobuf's own limit (protobuf docs, "Encoding": 2 GiB), less what stands beside them."""


def prepare(
    model: str,
    inputs: Tensors,
    outputs: Sequence[str],
    *,
    version: str = "",
    parameters: Mapping[str, Any] | None = None,
    compression: Compression | None = None,
) -> bytes:
    """A serialized ModelInferRequest, its tensors in `raw_input_contents`; no outputs means all of them."""
    import tritonclient.grpc as triton
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    message = request(model, tensors, wanted, version, parameters)
    return message if compression is None else compressed(compression, message)


def request(
    model: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    version: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """The same of tritonclient's own InferInput and InferRequestedOutput objects. Raises InputError for more
    than a message may have."""
    from tritonclient.grpc import service_pb2

    size = sum(len(tensor._get_content() or b"") for tensor in inputs)
    if size > LARGEST_MESSAGE:
        raise InputError(
            f"a request with {size:,} bytes of tensors is more than the 2 GB that a gRPC message may have: "
            "make it smaller, or set protocol to http"
        )
    made = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, value in (parameters or {}).items():
        field = "uint64_param" if name == "priority" else _FIELDS[type(value)]
        setattr(made.parameters[name], field, value)
    for tensor in inputs:
        made.inputs.append(tensor._get_tensor())
        content = tensor._get_content()
        if content is not None:  # in shared memory it has none
            made.raw_input_contents.append(content)
    made.outputs.extend(output._get_tensor() for output in outputs)
    message: bytes = made.SerializeToString()
    return message


def decoded(message: bytes) -> Tensors:
    """The outputs of a serialized ModelInferResponse."""
    import tritonclient.grpc as triton
    from tritonclient.grpc import service_pb2

    response = service_pb2.ModelInferResponse.FromString(message)
    result = triton.InferResult(response)
    return {each.name: result.as_numpy(each.name) for each in response.outputs}


def refusal(first: Headers | None, last: Headers | None) -> str | None:
    """What an ended answer's first and last header blocks say went wrong; None for success.

    Raises Fault where they are no answer of gRPC's.
    """
    if first is None or last is None:
        raise Fault(Status.PROTOCOL, "an answer without headers")
    if last.grpc_status is None:
        if first.http_status != "200":
            return quoted(f"HTTP {first.http_status}", 100)
        raise Fault(Status.PROTOCOL, "an answer without a grpc-status")
    if last.grpc_status == 0:
        return None
    code = last.grpc_status
    name = _CODES[code] if 0 <= code < len(_CODES) else f"status {code}"
    return quoted(f"{name}: {last.grpc_message}") if last.grpc_message else name
