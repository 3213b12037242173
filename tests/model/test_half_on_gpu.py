"""What a GPU really computes in FP16, beside what the proof on the CPU says of it. Needs a GPU."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from harness.model import half
from harness.model.comparison import difference
from harness.model.configured import Configured, Size
from harness.model.export import export, export_source
from harness.model.parity import HALF_TOLERANCE
from harness.model.resolve import resolve
from harness.model.runtime import Session
from harness.model.shapes import proving_feeds
from harness.model.signature import Signature
from harness.schema.model import ModelArtifact
from harness.schema.tensors import Tensors

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("empty_cache")]

HERE = Path(__file__).parent
PROVIDER = "CUDAExecutionProvider"


def quiet(_: str) -> None: ...


class OnGpu:
    """An ONNX file in a CUDA session; it must not fall back to the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        onnxruntime.preload_dlls()
        self.session: Any = onnxruntime.InferenceSession(str(path), providers=[PROVIDER])
        assert self.session.get_providers()[0] == PROVIDER

    def run(self, feeds: Tensors) -> Tensors:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))


def largest_error(found: OnGpu, wanted: ModelArtifact, signature: Signature, path: Path) -> float:
    """Against the FP32 file on a CPU, over its proving shapes, as the proof has it."""
    reference = Session(wanted.path)
    sure = half.probabilities(onnx.load(path, load_external_data=False))
    worst = 0.0
    for number, case in enumerate(wanted.parity.cases):
        feeds = proving_feeds(signature, case.axes, seed=number)
        worst = max(worst, difference(found.run(feeds), reference.run(feeds), sure).relative)
    return worst


@pytest.mark.parametrize("name", ["minilm", "ocr-detector", "bert", "vit"])
def test_fp16_on_a_gpu_is_within_the_tolerance_that_the_cpu_proved(name: str) -> None:
    if name in ("bert", "vit"):
        size = Size(layers=4, width=192, heads=4, vocabulary=1000, positions=512)
        source: Any = Configured(name, name, size)  # type: ignore[arg-type]
    else:
        source = resolve(name, HERE)
    wide, made = (export_source(source, quiet, dtype) for dtype in ("fp32", "fp16"))
    error = largest_error(OnGpu(made.path), wide, source.signature(), made.path)
    proven = max(case.max_rel_error for case in made.parity.cases)
    print(f"{name}: {error:.2g} on the GPU, {proven:.2g} in the proof")
    assert 0 < error < HALF_TOLERANCE
    # Another order of sums, and fused kernels; not another kind of error.
    assert error < 5 * proven


def test_fp32_on_a_gpu_is_the_proven_function_as_far_as_tf32_goes() -> None:
    wide = export("minilm", base_dir=HERE, progress=quiet)
    error = largest_error(OnGpu(wide.path), wide, resolve("minilm", HERE).signature(), wide.path)
    print(f"minilm in FP32: {error:.2g} on the GPU")
    assert error < 5e-3


def test_what_the_proof_refuses_a_gpu_computes_wrong(tmp_path: Path) -> None:
    wide = export("magika", base_dir=HERE, progress=quiet)
    path = tmp_path / "half.onnx"
    onnx.save(half.converted(onnx.load(wide.path), "magika"), path)
    error = largest_error(OnGpu(path), wide, resolve("magika", HERE).signature(), path)
    print(f"magika in FP16: {error:.2g} on the GPU")
    assert error > 10 * HALF_TOLERANCE
