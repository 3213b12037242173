"""Hugging Face folders, built on the fly: what is exported, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.model.check import inputs_of
from harness.model.export import export
from harness.model.resolve import resolve
from harness.model.runtime import Session
from harness.schema.errors import InputError

pytestmark = pytest.mark.usefixtures("empty_cache")

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_bert(folder: Path) -> Any:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=50, max_position_embeddings=40, **TINY)).eval()
    model.save_pretrained(folder)
    return model


def pool(folder: Path, modules: list[str], **modes: bool) -> None:
    paths = ["", "1_Pooling", "2_Normalize"]
    listed = [
        {"idx": i, "path": paths[i], "type": f"sentence_transformers.models.{m}"}
        for i, m in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def asked(rows: int, tokens: int) -> dict[str, Any]:
    ids = np.random.default_rng(5).integers(0, 50, (rows, tokens))
    mask = np.ones_like(ids)
    mask[0, tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def hidden_of(model: Any, feeds: dict[str, Any]) -> Any:
    import torch

    with torch.no_grad():
        return model(**{n: torch.from_numpy(v) for n, v in feeds.items()}).last_hidden_state.numpy()


def mean(hidden: Any, mask: Any) -> Any:
    return (hidden * mask).sum(1) / mask.sum(1)


def normalized(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("modules", "mode", "wanted"),
    [
        (["Transformer", "Pooling"], "mean_tokens", mean),
        (["Transformer", "Pooling", "Normalize"], "cls_token", lambda h, _: normalized(h[:, 0])),
        (["Transformer", "Pooling"], "max_tokens", lambda h, m: np.where(m == 0, -np.inf, h).max(1)),
    ],
)
def test_pooling_is_the_one_that_modules_json_names(
    modules: list[str], mode: str, wanted: Callable[[Any, Any], Any], tmp_path: Path
) -> None:
    import torch

    from harness.model.modules import from_folder

    model = tiny_bert(tmp_path / "bert")
    pool(tmp_path / "bert", modules, **{f"pooling_mode_{mode}": True, "pooling_mode_lasttoken": False})
    feeds = asked(3, 11)
    module = from_folder(tmp_path / "bert").module
    with torch.no_grad():
        got = module(*(torch.from_numpy(feeds[n]) for n in ("input_ids", "attention_mask"))).numpy()
    mask = feeds["attention_mask"][:, :, None]
    np.testing.assert_allclose(got, wanted(hidden_of(model, feeds), mask), atol=1e-6)


def test_a_bare_encoder_gives_its_last_hidden_state_and_takes_its_own_number_of_tokens(
    tmp_path: Path,
) -> None:
    model = tiny_bert(tmp_path / "bert")
    artifact = export("bert", base_dir=tmp_path, progress=lambda _: None)
    assert artifact.outputs[0].axes == ("batch", "tokens", 16)
    assert artifact.note == "left out of the export: output pooler_output, input token_type_ids"
    assert max(case.axes["tokens"] for case in artifact.parity.cases) == 40
    assert inputs_of("bert", base_dir=tmp_path).axis("tokens").most == 40
    feeds = asked(2, 9)
    got = Session(artifact.path).run(feeds)["last_hidden_state"]
    kept = feeds["attention_mask"] == 1
    np.testing.assert_allclose(got[kept], hidden_of(model, feeds)[kept], atol=1e-5)


@pytest.mark.parametrize(
    ("said", "most"), [({"pad_token_id": 1}, 512), ({}, 512), ({"pad_token_id": 0}, 513)], ids=str
)
def test_positions_after_the_padding_token_lower_the_limit_as_in_roberta(
    said: dict[str, int], most: int, tmp_path: Path
) -> None:
    folder = tmp_path / "roberta"
    folder.mkdir()
    config = {"model_type": "roberta", "vocab_size": 9, "max_position_embeddings": 514, **said}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    assert inputs_of("roberta", base_dir=tmp_path).axis("tokens").most == most


def test_an_image_model_takes_pixels_of_its_own_size(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(image_size=32, patch_size=8, **TINY)).save_pretrained(tmp_path / "vit")
    artifact = export("vit", base_dir=tmp_path, progress=lambda _: None)
    assert artifact.inputs[0].axes == ("batch", 3, 32, 32)
    assert artifact.outputs[0].axes == ("batch", 17, 16)
    assert {case.axes["batch"] for case in artifact.parity.cases} == {1, 2, 5}


def test_changed_weights_are_another_model(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tiny_bert(tmp_path / "bert")
    first = resolve("bert", tmp_path).content()
    assert resolve("bert", tmp_path).content() == first
    weights = load_file(tmp_path / "bert" / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] = weights["embeddings.LayerNorm.bias"] + 1
    save_file(weights, tmp_path / "bert" / "model.safetensors", metadata={"format": "pt"})
    assert resolve("bert", tmp_path).content() != first


@pytest.mark.parametrize(
    ("config", "files", "words"),
    [
        (None, [], "config.json is missing"),
        ({"vocab_size": 9}, ["pytorch_model.bin"], "never loads a pickle.*save_pretrained"),
        ({"vocab_size": 9}, [], "has no .safetensors file"),
        ({"vocab_size": 9, "auto_map": {"AutoModel": "m.M"}}, ["model.safetensors"], "code of its own"),
        ({"vocab_size": 9, "is_encoder_decoder": True}, ["model.safetensors"], "encoder-decoder"),
        ({"model_type": "x"}, ["model.safetensors"], "neither a text encoder"),
        ({"num_channels": 3}, ["model.safetensors"], "doesn't say its image size"),
        ({"model_type": "bert", "vocab_size": 9}, ["model.safetensors"], "transformers can't load"),
    ],
)
def test_a_folder_that_cannot_be_loaded_safely_is_refused_saying_why(
    config: dict[str, Any] | None, files: list[str], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    for name in files:
        (folder / name).write_bytes(b"no tensors")
    with pytest.raises(InputError, match=words) as raised:
        export("given", base_dir=tmp_path, progress=lambda _: None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("modules", "modes", "words"),
    [
        (
            ["Transformer", "Pooling", "Dense"],
            {"pooling_mode_mean_tokens": True},
            "Transformer, Pooling, Dense",
        ),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pools by lasttoken"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "pools by mean_tokens and cls_token",
        ),
    ],
)
def test_a_head_that_harness_does_not_know_is_refused(
    modules: list[str], modes: dict[str, bool], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "config.json").write_text('{"vocab_size": 9}')
    (folder / "model.safetensors").write_bytes(b"")
    pool(folder, modules, **modes)
    with pytest.raises(InputError, match=words):
        inputs_of("given", base_dir=tmp_path)
