"""The shapes of Triton's answers, as far as harness reads them; whatever else stands in them is passed over.

The names are those of Triton's protobufs (model_config.proto) and of the KServe v2 protocol in JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.http_json import parsed
from harness.plain_text import quoted
from harness.schema.errors import ServerError

Shape = TypeVar("Shape")
Each = TypeVar("Each")


def _printable(text: str) -> str:
    if text != quoted(text, len(text) + 1):
        raise ValueError("text that can't be shown")
    return text


def _of_text(options: dict[str, Any]) -> dict[str, Any]:
    for text in options.values():
        if not isinstance(text, str):
            raise ValueError("an option that is no text")
        _printable(text)
    return options


_Many = Annotated[list[Each], FailFast()]
"""What is wrong is said once, and not of each of a million."""
_ANY = ConfigDict(extra="allow")
_Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
_Word = Annotated[str, Field(max_length=256), AfterValidator(_printable)]
_Options = Annotated[dict[str, Any], AfterValidator(_of_text)]


class Metadata(TypedDict):
    """What a server says of itself."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    version: _Word


class _Described(TypedDict):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    name: _Word
    datatype: _Word
    shape: _Many[_Whole]


class ModelMetadata(TypedDict):
    """What a model takes and gives, by the protocol's own names."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    versions: NotRequired[_Many[_Word]]
    platform: NotRequired[_Word]
    inputs: NotRequired[_Many[_Described]]
    outputs: NotRequired[_Many[_Described]]


class Indexed(TypedDict):
    """A model of the repository index; `state` and `reason` once it was loaded."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    name: str
    state: NotRequired[str]


class _Group(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    kind: _Word
    count: _Whole
    gpus: _Many[_Whole]
    passive: bool


class _Tensor(TypedDict):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    name: str
    data_type: str
    dims: _Many[_Whole]
    optional: NotRequired[bool]


class _Batching(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    max_queue_delay_microseconds: _Whole
    preferred_batch_size: _Many[_Whole]


class _Parameter(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    string_value: str


class _Parameters(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    intra_op_thread_count: _Parameter


class _Cache(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    enable: bool


class _Accelerator(TypedDict):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    name: _Word
    parameters: NotRequired[_Options]


class _Accelerators(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    gpu_execution_accelerator: _Many[_Accelerator]
    cpu_execution_accelerator: _Many[_Accelerator]


class _Cuda(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    graphs: bool


class _Optimization(TypedDict, total=False):
    __pydantic_config__ = _ANY  # type: ignore[misc]
    execution_accelerators: _Accelerators
    cuda: _Cuda


class ModelConfig(TypedDict, total=False):
    """The configuration of a loaded model."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    max_batch_size: _Whole
    input: _Many[_Tensor]
    output: _Many[_Tensor]
    instance_group: _Many[_Group]
    dynamic_batching: _Batching
    optimization: _Optimization
    parameters: _Parameters
    response_cache: _Cache


MODEL_METADATA: TypeAdapter[ModelMetadata] = TypeAdapter(ModelMetadata)
OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
METADATA: TypeAdapter[Metadata] = TypeAdapter(Metadata)
INDEX: TypeAdapter[list[Indexed]] = TypeAdapter(_Many[Indexed])
MODEL_CONFIG: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def read(shape: TypeAdapter[Shape], body: bytes, asked: str) -> Shape:
    """What an answer says, in this shape; `asked` names the question. ServerError for another answer."""
    try:
        return shape.validate_python(parsed(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}" if where else first["msg"]
    except ValueError as error:
        why = str(error)
    raise ServerError(f"{asked} was answered as no Triton does ({quoted(why, 200)}): see what listens there")
