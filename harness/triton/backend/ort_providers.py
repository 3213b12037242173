"""Which execution providers of ONNX Runtime a model's configuration asks for, and with which options.

Pure: a part of the backend in `model.py` that harness imports too, to say what a server was told. It reads
the configuration as NVIDIA's C++ `onnxruntime` backend does (its README, "ONNX Runtime with TensorRT
optimization" and "with CUDA Execution Provider optimization"), with two differences, both refusals:

- CUDA graphs are asked for by Triton's own `optimization { cuda { graphs: true } }`. The C++ backend doesn't
  read that: it computes without graphs, and rightly. Its way to ONNX Runtime's option `enable_cuda_graph`
  keeps no tensor at a fixed address, which a graph needs (its issue 168 asks for that), so a configuration
  that says it would be wrong there.
- TensorRT with CUDA graphs. ONNX Runtime's TensorRT provider keeps one graph whatever the shape and replays
  it for another (onnxruntime issue 20050), and dynamic batching changes the shape.

It imports only the standard library, because the backend runs outside the harness package.
"""

from __future__ import annotations

from typing import Any

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

Provider = tuple[str, dict[str, str]]

# The C++ backend's parameters that have another name in ONNX Runtime; the others of its table keep theirs.
_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
_SAME_NAME = {
    "trt_max_partition_iterations", "trt_min_subgraph_size", "trt_dla_enable", "trt_dla_core",
    "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix", "trt_dump_subgraphs",
    "trt_force_sequential_engine_build", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "trt_detailed_build_log",
    "trt_build_heuristics_enable", "trt_sparsity_enable", "trt_builder_optimization_level",
    "trt_auxiliary_streams", "trt_tactic_sources", "trt_extra_plugin_lib_paths", "trt_profile_min_shapes",
    "trt_profile_max_shapes", "trt_profile_opt_shapes", "trt_dump_ep_context_model",
    "trt_ep_context_file_path", "trt_ep_context_embed_mode",
}  # fmt: skip
_NO_GRAPHS = {"enable_cuda_graph", "trt_cuda_graph_enable"}


class Unsupported(Exception):
    """One sentence: what of the configuration can't be honoured, and the remedy."""


def execution_providers(config: dict[str, Any], kind: str) -> list[Provider]:
    """(ONNX Runtime's name, options beyond its defaults), most preferred first; a device isn't among them.

    `config` is Triton's ModelConfig in JSON form, `kind` that of the instance: "CPU" or "GPU". TensorRT is
    followed by CUDA, for the nodes that it can't take. Raises Unsupported.
    """
    accelerators = config.get("optimization", {}).get("execution_accelerators") or {}
    if accelerators.get("cpu_execution_accelerator"):
        raise Unsupported(
            "'cpu_execution_accelerator' is not supported by harness's onnxruntime backend: remove it"
        )
    asked = accelerators.get("gpu_execution_accelerator") or []
    if kind == "CPU":
        if asked:
            raise Unsupported("'gpu_execution_accelerator' needs KIND_GPU, and this instance is KIND_CPU")
        if cuda_graphs(config):
            raise Unsupported("optimization: cuda graphs need KIND_GPU, and this instance is KIND_CPU")
        return [(CPU, {})]
    if kind != "GPU":
        raise Unsupported(
            f"KIND_{kind} is not supported by harness's onnxruntime backend: give KIND_CPU or KIND_GPU"
        )
    options: dict[str, dict[str, str]] = {}
    for accelerator in asked:
        name, given = accelerator["name"], accelerator.get("parameters") or {}
        if name not in ("cuda", "tensorrt"):
            raise Unsupported(
                f"the accelerator '{name}' is not supported by harness's onnxruntime backend: remove it"
            )
        for parameter in sorted(_NO_GRAPHS & set(given)):
            raise Unsupported(
                f"accelerator {name}: '{parameter}' is not supported by harness's onnxruntime backend: "
                "say `optimization { cuda { graphs: true } }` without TensorRT instead"
            )
        options[name] = dict(given) if name == "cuda" else _tensorrt(given)
    cuda = options.get("cuda", {})
    if not cuda_graphs(config):
        return [*([(TENSORRT, options["tensorrt"])] if "tensorrt" in options else []), (CUDA, cuda)]
    if "tensorrt" in options:
        raise Unsupported(
            "cuda graphs are not supported with TensorRT, whose provider in ONNX Runtime replays one graph "
            "for every shape: choose one of the two"
        )
    return [(CUDA, {**cuda, "enable_cuda_graph": "1"})]


def cuda_graphs(config: dict[str, Any]) -> bool:
    """Whether the configuration asks for CUDA graphs."""
    return bool((config.get("optimization", {}).get("cuda") or {}).get("graphs"))


def _tensorrt(given: dict[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in given.items():
        if name == "precision_mode":
            if value not in _PRECISIONS:
                raise Unsupported(f"precision_mode is '{value}': give {', '.join(_PRECISIONS)}")
            options |= _PRECISIONS[value]
        elif name in _RENAMED:
            options[_RENAMED[name]] = value
        elif name in _SAME_NAME:
            options[name] = value
        else:
            raise Unsupported(
                f"accelerator tensorrt: '{name}' is not supported by harness's onnxruntime backend: remove it"
            )
    return options
