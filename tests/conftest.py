from __future__ import annotations

import pytest
from hypothesis import settings

# Timings are the benchmarks' business; a busy machine must not fail a property.
settings.register_profile("harness", deadline=None, max_examples=100)
settings.load_profile("harness")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, with the reason."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and (why := _no_gpu()) is not None:
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=why))


def _no_gpu() -> str | None:
    from harness.probe import gpu
    from harness.probe.execution_providers import execution_providers

    if (why := gpu.availability()) is not None:
        return why
    (cuda,) = [p for p in execution_providers() if p.name == "CUDAExecutionProvider"] or [None]
    if cuda is None:
        return "the installed onnxruntime has no CUDA provider"
    return None if cuda.usable else f"ONNX Runtime's CUDA provider can't be used: {cuda.reason}"
