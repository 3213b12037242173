"""Heads of Hugging Face folders: those that config.json names are exported, and what is left out is told."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.model.check import inputs_of
from harness.model.export import export
from harness.model.huggingface import OFFSET_POSITIONS
from harness.model.resolve import resolve
from harness.model.runtime import Session
from harness.model.shapes import proving_feeds
from harness.schema.errors import InputError

pytestmark = pytest.mark.usefixtures("empty_cache")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXT = {"vocab_size": 100, "max_position_embeddings": 64, **SMALL}
GPT = {"vocab_size": 100, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
IMAGE = {"image_size": 32, "patch_size": 8, **SMALL}
PAGE = {**TEXT, "max_position_embeddings": 66, "coordinate_size": 6, "shape_size": 4, "input_size": 32}
CONVOLUTIONS = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}


def saved(folder: Path, architecture: str, config: dict[str, Any], **changed: Any) -> Any:
    """A small model of transformers in `folder`; `changed` are keys of its config.json."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind: Any = getattr(transformers, architecture)
    model = kind(kind.config_class(**config)).eval()
    model.save_pretrained(folder)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, **changed}))
    return model


def rewritten(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def loaded(folder: Path) -> Any:
    from harness.model.modules import from_folder

    return from_folder(folder)


def refused(folder: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        loaded(folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("architecture", "config", "outputs", "left_out"),
    [
        (
            "BertForSequenceClassification",
            {**TEXT, "num_labels": 3},
            {"logits": (2, 3)},
            "input token_type_ids",
        ),
        (
            "DistilBertForQuestionAnswering",
            {"vocab_size": 100, "max_position_embeddings": 64, "dim": 32, "n_layers": 2, "n_heads": 2},
            {"start_logits": (2, 24), "end_logits": (2, 24)},
            None,
        ),
        (
            "BertForTokenClassification",
            {**TEXT, "num_labels": 5, "type_vocab_size": 1},
            {"logits": (2, 24, 5)},
            None,
        ),
        ("RobertaForMaskedLM", {**PAGE, "type_vocab_size": 1}, {"logits": (2, 24, 100)}, None),
        (
            "BertForPreTraining",
            {**TEXT, "type_vocab_size": 1},
            {"prediction_logits": (2, 24, 100), "seq_relationship_logits": (2, 2)},
            None,
        ),
        ("GPT2LMHeadModel", GPT, {"logits": (2, 24, 100)}, None),
        ("GPT2ForSequenceClassification", {**GPT, "pad_token_id": 0}, {"logits": (2, 2)}, None),
        ("FNetForSequenceClassification", {**TEXT, "type_vocab_size": 1}, {"logits": (2, 2)}, None),
        ("DPRQuestionEncoder", {**TEXT, "type_vocab_size": 1}, {"pooler_output": (2, 32)}, None),
        ("CLIPTextModelWithProjection", TEXT, {"text_embeds": (2, 512)}, "output last_hidden_state"),
        (
            "T5EncoderModel",
            {"vocab_size": 100, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
            {"last_hidden_state": (2, 24, 32)},
            None,
        ),
        ("BertModel", TEXT, {"last_hidden_state": (2, 24, 32)}, "output pooler_output, input token_type_ids"),
        (
            "LayoutLMv3ForTokenClassification",
            {**PAGE, "num_labels": 4, "type_vocab_size": 1},
            {"logits": (2, 24, 4)},
            "input pixel_values",
        ),
        ("ViTForImageClassification", {**IMAGE, "num_labels": 4}, {"logits": (2, 4)}, None),
        ("BeitForImageClassification", {**IMAGE, "num_labels": 4}, {"logits": (2, 4)}, None),
        (
            "YolosForObjectDetection",
            {**IMAGE, "image_size": [32, 48], "num_detection_tokens": 5, "num_labels": 3},
            {"logits": (2, 5, 4), "pred_boxes": (2, 5, 4)},
            "output last_hidden_state",
        ),
    ],
)
def test_the_head_that_config_json_names_is_exported(
    architecture: str, config: dict[str, Any], outputs: dict[str, Any], left_out: str | None, tmp_path: Path
) -> None:
    import torch

    model = saved(tmp_path / "m", architecture, config)
    signature = resolve("m", tmp_path).signature()
    made = loaded(tmp_path / "m")
    sizes = {"batch": 2, **dict.fromkeys(signature.dynamic, 24)}
    feeds = {n: torch.from_numpy(v) for n, v in proving_feeds(signature, sizes, seed=1).items()}
    with torch.no_grad():
        got, wanted = made.module(*feeds.values()), model(**feeds)
    assert {n: tuple(v.shape) for n, v in zip(made.outputs, got, strict=True)} == outputs
    for name, value in zip(made.outputs, got, strict=True):
        np.testing.assert_allclose(value.numpy(), wanted[name].numpy(), atol=1e-6)
    assert made.remarks == ((f"left out of the export: {left_out}",) if left_out else ())


def test_a_detector_with_a_backbone_gives_its_classes_and_its_boxes(tmp_path: Path) -> None:
    from transformers import ResNetConfig

    detr = {
        **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5, "num_labels": 3},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2},
        **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
        "backbone_config": ResNetConfig(**CONVOLUTIONS, out_features=["stage2"]),
    }
    saved(tmp_path / "m", "DetrForObjectDetection", detr, image_size=64)
    assert resolve("m", tmp_path).signature().inputs[0].axes == ("batch", 3, 64, 64)
    assert loaded(tmp_path / "m").outputs == ("logits", "pred_boxes")


def test_the_export_has_the_logits_and_says_what_it_left_out(tmp_path: Path) -> None:
    import torch

    model = saved(tmp_path / "m", "BertForSequenceClassification", {**TEXT, "num_labels": 3})
    artifact = export("m", base_dir=tmp_path, progress=lambda _: None)
    assert [(o.name, o.axes) for o in artifact.outputs] == [("logits", ("batch", 3))]
    assert artifact.note == "left out of the export: input token_type_ids"
    assert export("m", base_dir=tmp_path, progress=lambda _: None) == artifact, "out of the cache"
    ids = np.random.default_rng(0).integers(0, 100, (3, 17))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with torch.no_grad():
        wanted = model(**{n: torch.from_numpy(v) for n, v in feeds.items()}).logits.numpy()
    np.testing.assert_allclose(Session(artifact.path).run(feeds)["logits"], wanted, atol=1e-5)


HEADED = ("BertForSequenceClassification", {**TEXT, "type_vocab_size": 1})


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (lambda n: ".layer.1." not in n, r"lack 16 of the model's weights, bert\.encoder\.layer\.1, and"),
        (lambda n: "pooler" not in n, r"lack 2 of the model's weights, bert\.pooler, and"),
        (
            lambda n: "classifier" not in n,
            r"weights, classifier, and .*correct `architectures` .*names BertFor",
        ),
        (
            lambda n: not n.endswith("LayerNorm.bias"),
            r"lack 5 .*embeddings\.LayerNorm\.bias, .*\.layer\.0\.attention\.output\.LayerNorm\.bias",
        ),
    ],
)
def test_weights_that_are_missing_are_named(kept: Callable[[str], bool], words: str, tmp_path: Path) -> None:
    saved(tmp_path / "m", *HEADED)
    rewritten(tmp_path / "m", lambda weights: {n: v for n, v in weights.items() if kept(n)})
    refused(tmp_path / "m", words)


@pytest.mark.parametrize("prefix", ["module", "model", "_orig_mod"])
@pytest.mark.parametrize("architecture", ["BertForSequenceClassification", "BertModel"])
def test_names_with_a_prefix_of_what_the_model_was_wrapped_in_are_refused(
    prefix: str, architecture: str, tmp_path: Path
) -> None:
    saved(tmp_path / "m", architecture, TEXT)
    rewritten(tmp_path / "m", lambda weights: {f"{prefix}.{n}": v for n, v in weights.items()})
    refused(tmp_path / "m", f"lack .* have others instead, {prefix}: their names begin with '{prefix}'")


def test_names_with_or_without_the_prefix_of_the_base_model_are_the_same_weights(tmp_path: Path) -> None:
    import torch

    saved(tmp_path / "m", *HEADED)
    first = loaded(tmp_path / "m").module.state_dict()
    rewritten(tmp_path / "m", lambda weights: {n.removeprefix("bert."): v for n, v in weights.items()})
    again = loaded(tmp_path / "m").module.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"vocab_size": 120}, r"have bert\.embeddings\.word_embeddings\.weight as \[100, 32\].* \[120, 32\]"),
        ({"id2label": {str(n): str(n) for n in range(7)}}, r"classifier\.bias as \[2\].* \[7\], and 1 more"),
        ({"num_hidden_layers": 1}, r"no place for by config\.json, bert\.encoder\.layer\.1: correct config"),
        ({"num_hidden_layers": 3}, r"lack 16 of the model's weights, bert\.encoder\.layer\.2"),
        (
            {"architectures": ["MyOwnBert"]},
            "names the architecture MyOwnBert, which transformers .* doesn't have",
        ),
        ({"architectures": ["Trainer"]}, "names the architecture Trainer"),
        ({"architectures": "BertModel"}, "`architectures` is no list of classes"),
        ({"architectures": [7]}, "`architectures` is no list of classes"),
        ({"num_attention_heads": "two"}, "can't load .*field 'num_attention_heads': .*expected int"),
    ],
    ids=str,
)
def test_a_config_that_is_not_that_of_the_weights_is_refused(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    saved(tmp_path / "m", *HEADED, **changed)
    refused(tmp_path / "m", words)


@pytest.mark.parametrize(
    ("architecture", "config", "words"),
    [
        ("BertForMultipleChoice", TEXT, "BertForMultipleChoice of .* fails on input_ids and attention_mask"),
        (
            "LxmertModel",
            {**TEXT, "l_layers": 1, "x_layers": 1, "r_layers": 1},
            "LxmertModel of .* takes visual_feats, and harness has input_ids and attention_mask",
        ),
        (
            "VideoMAEModel",
            {**IMAGE, "num_frames": 4},
            "VideoMAEModel of .* fails on pixel_values .*write a factory",
        ),
    ],
)
def test_a_model_that_takes_something_else_is_refused(
    architecture: str, config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    saved(tmp_path / "m", architecture, config)
    refused(tmp_path / "m", words)


def test_weights_of_another_head_are_left_out_and_told(tmp_path: Path) -> None:
    saved(
        tmp_path / "m",
        "BertForPreTraining",
        {**TEXT, "type_vocab_size": 1},
        architectures=["BertForMaskedLM"],
        **{"return_dict": False, "output_hidden_states": True},
    )
    made = loaded(tmp_path / "m")
    assert made.outputs == ("logits",)
    assert made.remarks == ("left out of the export: weights bert.pooler, weights cls.seq_relationship",)


def test_a_folder_that_names_no_architecture_is_taken_without_its_head(tmp_path: Path) -> None:
    saved(tmp_path / "m", *HEADED, architectures=None)
    made = loaded(tmp_path / "m")
    assert made.outputs == ("last_hidden_state",)
    assert made.remarks == ("left out of the export: output pooler_output, weights classifier",)


def described(folder: Path, **config: Any) -> Path:
    """A folder of which only config.json is looked at."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"architectures": ["Wav2Vec2ForCTC"], "vocab_size": 32, "conv_dim": [8]},
            r"a model of sound \(conv_dim\)",
        ),
        ({"architectures": ["ParakeetForCTC"], "vocab_size": 32}, r"a model of sound \(ParakeetForCTC\)"),
        ({"model_type": "audio-spectrogram-transformer", "num_mel_bins": 128}, "a model of sound"),
        (
            {"model_type": "clap", "audio_config": {"a": 1}, "text_config": {"vocab_size": 9}},
            "a model of sound",
        ),
        (
            {"model_type": "clip", "vision_config": {"image_size": 32}, "text_config": {"vocab_size": 9}},
            r"text and images at once \(vision_config\)",
        ),
        (
            {"model_type": "llava", "vocab_size": 9, "vision_config": {"image_size": 32}},
            "text and images at once",
        ),
        (
            {"model_type": "vilt", "vocab_size": 9, "image_size": 32, "num_channels": 3},
            "text and images at once",
        ),
        ({"model_type": "whisper", "vocab_size": 9, "is_encoder_decoder": True}, "an encoder-decoder"),
        (
            {"model_type": "resnet", "num_channels": 3},
            "doesn't say its image size.*add `image_size` to config.json",
        ),
        ({"model_type": "vit", "image_size": 32}, "how many channels.*add `num_channels`"),
    ],
    ids=str,
)
def test_what_is_no_text_is_not_taken_for_text(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    described(tmp_path / "m", **config)
    with pytest.raises(InputError, match=words) as raised:
        inputs_of("m", base_dir=tmp_path)
    assert "\n" not in str(raised.value)


def test_all_models_whose_positions_begin_after_the_padding_are_known() -> None:
    """Of this transformers' text models: they count up from the padding token's id."""
    import transformers

    models = Path(transformers.__file__).parent / "models"
    counted = {
        file.name.removeprefix("modeling_").removesuffix(".py").replace("_", "-")
        for file in models.glob("*/modeling_*.py")
        if re.search(
            r"create_position_ids_from_input_ids\(\s*input_ids, self\.padding_idx", file.read_text("utf-8")
        )
    }
    others = {"altclip", "bridgetower", "clap", "evolla", "kosmos2", "kosmos2-5", "m2m-100", "nllb-moe"}
    speech = {"seamless-m4t", "seamless-m4t-v2", "speech-to-text", "speecht5", "trocr", "pp-doclayout-v2"}
    assert counted - others - speech <= set(OFFSET_POSITIONS)
    assert {"layoutlmv3", "lilt", "roberta"} <= counted


@pytest.mark.parametrize(
    ("architecture", "padding"), [("LayoutLMv3Model", 1), ("LiltModel", 1), ("LayoutLMModel", None)]
)
def test_a_page_takes_boxes_and_as_many_tokens_as_it_has_positions(
    architecture: str, padding: int | None, tmp_path: Path
) -> None:
    import torch

    width = {"hidden_size": 48} if padding else {}
    config = {**PAGE, **width, **({"pad_token_id": padding} if padding else {})}
    if architecture == "LayoutLMv3Model":
        config |= {"hidden_size": 32}
    saved(tmp_path / "m", architecture, config)
    signature = inputs_of("m", base_dir=tmp_path)
    most = signature.axis("tokens").most
    assert most == (64 if padding else 66)
    feeds = proving_feeds(signature, {"batch": 2, "tokens": most}, seed=0)
    left, top, right, bottom = np.moveaxis(feeds["bbox"], -1, 0)
    assert (left <= right).all() and (top <= bottom).all() and 900 < feeds["bbox"].max() <= 1000
    with torch.no_grad():
        (hidden,) = loaded(tmp_path / "m").module(*(torch.from_numpy(v) for v in feeds.values()))
    assert hidden.shape[:2] == (2, most)


def test_a_folder_is_named_by_the_link_that_leads_to_it(tmp_path: Path) -> None:
    saved(tmp_path / "v3", "BertModel", TEXT)
    (tmp_path / "current").symlink_to("v3")
    source = resolve("current", tmp_path)
    assert (source.name, source.words) == ("current", "Hugging Face folder current")
    assert source.content() == resolve("v3", tmp_path).content()
    shutil.rmtree(tmp_path / "v3")
    with pytest.raises(InputError, match="there is no model 'current'"):
        resolve("current", tmp_path)
