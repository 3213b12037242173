"""From a model's configuration in Triton to its session in ONNX Runtime, or a refusal that names the fault.

A part of the backend in `model.py`, beside which Triton finds it; it too runs outside the harness package.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from ort_placement import RECORD, fall_back, placement, told  # type: ignore[import-not-found]
from ort_providers import CPU, TENSORRT, Unsupported, execution_providers  # type: ignore[import-not-found]

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}

# Sections that Triton's core honours by itself, or that this file reads.
HONOURED = {
    "name", "platform", "backend", "runtime", "version_policy", "max_batch_size", "dynamic_batching",
    "default_model_filename", "metric_tags", "model_warmup", "response_cache", "model_repository_agents",
    "input", "output", "instance_group", "parameters", "optimization",
}  # fmt: skip
HONOURED_OF_TENSOR = {"name", "data_type", "dims", "reshape", "format", "label_filename"}
HONOURED_OF_GROUP = {"name", "kind", "count", "gpus", "rate_limiter", "passive"}
HONOURED_OF_OPTIMIZATION = {"graph", "execution_accelerators", "cuda"}
HONOURED_OF_CUDA = {"graphs"}
DEFAULT_OPTIMIZATION = {
    "priority": "PRIORITY_DEFAULT",
    "input_pinned_memory": {"enable": True},
    "output_pinned_memory": {"enable": True},
}

SHRINKAGE = "memory.enable_memory_arena_shrinkage"
DEVICE_INITIALIZERS = "session.use_device_allocator_for_initializers"
PARAMETERS = {
    "intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena",
    "enable_mem_pattern", DEVICE_INITIALIZERS, SHRINKAGE,
    "FORCE_CPU_ONLY_INPUT_TENSORS",  # honoured by Triton's Python backend itself
}  # fmt: skip

ENGINES = Path(__file__).resolve().parents[2] / "tensorrt-engines"
"""In harness's cache, where this file is in `triton/<version>/onnxruntime`."""


def refusal(reason: str) -> Exception:
    failure: Exception = pb_utils.TritonModelException(reason)
    return failure


def refuse_unhonoured(config: dict[str, Any]) -> None:
    """Raise for anything in the model's configuration that would be silently ignored here."""

    def only(section: dict[str, Any], honoured: set[str], where: str) -> None:
        for key, value in section.items():
            if key not in honoured and value not in (None, "", 0, False, [], {}, {"decoupled": False}):
                raise refusal(f"{where}'{key}' is not supported by harness's onnxruntime backend: remove it")

    only(config, HONOURED, "")
    for kind in ("input", "output"):
        for tensor in config[kind]:
            only(tensor, HONOURED_OF_TENSOR, f"{kind} '{tensor['name']}': ")
    for group in config["instance_group"]:
        only(group, HONOURED_OF_GROUP, "instance_group: ")
    optimization = config.get("optimization", {})
    changed = {k: v for k, v in optimization.items() if v != DEFAULT_OPTIMIZATION.get(k)}
    only(changed, HONOURED_OF_OPTIMIZATION, "optimization: ")
    only(optimization.get("cuda") or {}, HONOURED_OF_CUDA, "optimization: cuda: ")
    only(parameters(config), PARAMETERS, "parameter ")


def parameters(config: dict[str, Any]) -> dict[str, str]:
    return {name: value.get("string_value", "") for name, value in config.get("parameters", {}).items()}


def parameter(config: dict[str, Any], name: str, allowed: range) -> int | None:
    """The parameter as a whole number; None where it isn't given."""
    text = parameters(config).get(name)
    if text is None:
        return None
    value = {"true": 1, "false": 0}.get(text.lower()) if allowed == range(2) else None
    if value is None:
        try:
            value = int(text)
        except ValueError:
            value = allowed.start - 1
    if value not in allowed:
        raise refusal(
            f"parameter '{name}' is '{text}': give a number from {allowed.start} to {allowed.stop - 1}"
        )
    return value


def open_session(path: Path, config: dict[str, Any], kind: str, device: int) -> Any:
    """The model on exactly the execution providers that the configuration and the instance's kind name, with
    all its computing there, or an error. ONNX Runtime itself would fall back to the CPU without one."""
    import onnxruntime

    if path.is_dir():
        path /= "model.onnx"
    if not path.is_file():
        raise refusal(f"the model file {path} does not exist")
    try:
        wanted = execution_providers(config, kind)
    except Unsupported as error:
        raise refusal(str(error)) from None
    names = [name for name, _ in wanted]
    if missing := [name for name in names if name not in onnxruntime.get_available_providers()]:
        raise refusal(
            f"KIND_{kind} needs ONNX Runtime's {missing[0]}, which the installed onnxruntime lacks: "
            "install onnxruntime-gpu, or serve on the CPU"
        )
    if names == [CPU]:
        return onnxruntime.InferenceSession(str(path), session_options(config), providers=names)
    if not hasattr(onnxruntime.OrtValue, "from_dlpack"):
        raise refusal(
            f"KIND_GPU needs onnxruntime-gpu 1.26 or newer, and this is {onnxruntime.__version__}: "
            "run `python -m pip install --upgrade onnxruntime-gpu`, or serve on the CPU"
        )
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # the CUDA libraries that pip packages brought
    if TENSORRT in names:
        load_tensorrt()
        options = dict(wanted)[TENSORRT]
        options.update(engine_cache(path) | options)
    asked = session_options(config)
    asked.add_session_config_entry(RECORD, "1")
    placed_on = [(name, {**options, "device_id": str(device)}) for name, options in wanted]
    failed = f"ONNX Runtime could not start its {names[0]} on device {device}"
    try:
        session = onnxruntime.InferenceSession(str(path), asked, providers=placed_on, enable_fallback=0)
    except Exception as error:
        raise refusal(f"{failed}: {str(error).strip().splitlines()[0]}") from None
    if session.get_providers() != [*names, CPU]:
        raise refusal(
            f"{failed} (the server's log says why) and would have run on "
            f"{session.get_providers()[0]} instead: mend CUDA and cuDNN, or serve on the CPU"
        )
    placed = placement(session)
    if reason := fall_back(placed, names[0]):
        raise refusal(reason)
    pb_utils.Logger.log_info(f"{config.get('name', path.name)}: {told(placed)}")
    return session


def load_tensorrt() -> None:
    """Load TensorRT's libraries, of its pip package or the system's, so that ONNX Runtime finds them."""
    import onnxruntime

    with contextlib.suppress(ImportError):
        import tensorrt_libs  # type: ignore[import-not-found]  # noqa: F401  loads what it brings
    try:
        for library in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    except OSError as error:
        cuda = str(getattr(onnxruntime, "cuda_version", "") or "13").split(".")[0]
        raise refusal(
            f"the accelerator 'tensorrt' needs TensorRT 10 ({error}): "
            f'run `python -m pip install "tensorrt-cu{cuda}-libs<11"`, or leave the accelerator out'
        ) from None


def engine_cache(path: Path) -> dict[str, str]:
    """Options by which TensorRT keeps its engines, which take minutes to build, between loads.

    ONNX Runtime names an engine after the graph, not the weights, so each model's content gets a folder.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    weights = path.with_name(path.name + ".data")
    if weights.is_file():
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    folder = ENGINES / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def session_options(config: dict[str, Any]) -> Any:
    from onnxruntime import ExecutionMode, GraphOptimizationLevel, SessionOptions

    options = SessionOptions()
    threads = range(1025)  # 0 leaves the number to ONNX Runtime
    options.intra_op_num_threads = parameter(config, "intra_op_thread_count", threads) or 0
    options.inter_op_num_threads = parameter(config, "inter_op_thread_count", threads) or 0
    if parameter(config, "execution_mode", range(2)) == 1:
        options.execution_mode = ExecutionMode.ORT_PARALLEL
    if (arena := parameter(config, "enable_mem_arena", range(2))) is not None:
        options.enable_cpu_mem_arena = bool(arena)
    if (pattern := parameter(config, "enable_mem_pattern", range(2))) is not None:
        options.enable_mem_pattern = bool(pattern)
    if (initializers := parameter(config, DEVICE_INITIALIZERS, range(2))) is not None:
        options.add_session_config_entry(DEVICE_INITIALIZERS, str(initializers))
    levels = {
        -1: GraphOptimizationLevel.ORT_ENABLE_BASIC,
        0: GraphOptimizationLevel.ORT_ENABLE_ALL,
        1: GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        2: GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    if level not in levels:
        raise refusal(f"optimization: 'graph' level is {level}: give -1, 0, 1 or 2")
    options.graph_optimization_level = levels[level]
    return options


def run_options(config: dict[str, Any]) -> Any:
    from onnxruntime import RunOptions

    options = RunOptions()
    if shrinkage := parameters(config).get(SHRINKAGE):
        options.add_run_config_entry(SHRINKAGE, shrinkage)
    return options


def triton_type(node: Any) -> str:
    if node.type not in TRITON_TYPES:
        raise refusal(
            f"tensor '{node.name}' is a {node.type}, which harness's onnxruntime backend can't serve"
        )
    return TRITON_TYPES[node.type]


def check_tensors(kind: str, said: list[dict[str, Any]], nodes: list[Any], batching: bool) -> None:
    """Raise where config.pbtxt and the ONNX file don't agree."""
    by_name = {node.name: node for node in nodes}
    for tensor in said:
        name = tensor["name"]
        if name not in by_name:
            raise refusal(
                f"{kind} '{name}' of config.pbtxt is not in the ONNX file, which has {sorted(by_name)}"
            )
        node = by_name[name]
        served = triton_type(node)
        if tensor["data_type"] != served:
            raise refusal(
                f"{kind} '{name}' is {tensor['data_type']} in config.pbtxt and {served} in the ONNX file"
            )
        shape = [size if isinstance(size, int) else -1 for size in node.shape]
        if batching and (not shape or shape[0] != -1):
            raise refusal(
                f"{kind} '{name}' has no dynamic batch axis in the ONNX file (its shape is {shape}), "
                "which max_batch_size above 0 needs"
            )
        # Triton's core does a reshape on the way in and out; the model sees what comes of it.
        dims = [int(size) for size in tensor.get("reshape", tensor).get("shape", tensor["dims"])]
        inner = shape[1:] if batching else shape
        if len(dims) != len(inner) or any(m not in (-1, d) for m, d in zip(inner, dims, strict=True)):
            raise refusal(f"{kind} '{name}' has dims {dims} in config.pbtxt and {inner} in the ONNX file")
