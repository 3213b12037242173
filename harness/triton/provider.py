"""What a loaded model computes with, read from its configuration in Triton."""

from __future__ import annotations

from typing import Any

from harness.triton.backend.ort_providers import Unsupported, execution_providers


def provider_of(config: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    """ONNX Runtime's name for the provider that `config` asks for first, and its options beyond the defaults.

    `config` is Triton's ModelConfig in JSON form, as its HTTP endpoint gives it. The options have ONNX
    Runtime's names, in the order of the configuration. (None, {}) where it names something that harness
    can't read: another kind of instance, or another accelerator. Triton's C++ `onnxruntime` backend has no
    CUDA graphs: "enable_cuda_graph" is true of harness's own backend only.
    """
    groups = config.get("instance_group") or [{}]
    kind = str(groups[0].get("kind", "")).removeprefix("KIND_")
    try:
        (name, options), *_ = execution_providers(config, kind)
    except Unsupported:
        return None, {}
    return name, options
