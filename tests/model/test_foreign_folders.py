"""A model's folder that somebody sent: it names nothing outside, runs nothing, and is never mistaken."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.model.check import inputs_of
from harness.model.export import export
from harness.model.resolve import resolve
from harness.schema.errors import InputError

pytestmark = pytest.mark.usefixtures("empty_cache")

TINY = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
INDEX = "model.safetensors.index.json"


def bert(folder: Path, shards: tuple[str, ...] = (), **config: Any) -> Path:
    """A tiny BERT in `folder`, its weights in one file, or shared out among `shards`."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    BertModel(BertConfig(**TINY)).save_pretrained(folder)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    if shards:
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        names = list(weights)
        placed = {name: shards[i % len(shards)] for i, name in enumerate(names)}
        for shard in shards:
            (folder / shard).parent.mkdir(parents=True, exist_ok=True)
            part = {n: weights[n].clone() for n in names if placed[n] == shard}
            save_file(part, folder / shard, metadata={"format": "pt"})
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))
    return folder


def change(shard: Path) -> None:
    """Other weights under the same name."""
    from safetensors.torch import load_file, save_file

    weights = {name: value + 1 for name, value in load_file(shard).items()}
    save_file(weights, shard, metadata={"format": "pt"})


def taken(folder: Path) -> Any:
    return export(folder.name, base_dir=folder.parent, progress=lambda _: None)


def refused(folder: Path, words: str) -> str:
    with pytest.raises(InputError, match=words) as raised:
        taken(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_changed_weights_of_a_shard_in_a_subfolder_are_another_model(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", ("a.safetensors", "sub/b.safetensors"))
    first = resolve("m", tmp_path).content()
    change(folder / "sub/b.safetensors")
    assert resolve("m", tmp_path).content() != first


@pytest.mark.parametrize("name", ["../b.safetensors", "sub/../../b.safetensors", "{top}/b.safetensors"])
def test_an_index_that_names_a_shard_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", ("a.safetensors", "b.safetensors"))
    (folder / "b.safetensors").rename(tmp_path / "b.safetensors")
    (folder / "sub").mkdir()
    index = (folder / INDEX).read_text().replace("b.safetensors", name.format(top=tmp_path))
    (folder / INDEX).write_text(index)
    refused(folder, "outside")
    with pytest.raises(InputError, match="outside"):  # before anything is exported, as for --dry-run
        inputs_of("m", base_dir=tmp_path)


@pytest.mark.parametrize("name", ["sub/../b.safetensors", "{top}/m/b.safetensors"])
def test_an_index_names_its_shards_as_they_are_from_the_folder(name: str, tmp_path: Path) -> None:
    """It would be another folder's when this one is moved, or when `sub` becomes a link."""
    folder = bert(tmp_path / "m", ("a.safetensors", "b.safetensors"))
    (folder / "sub").mkdir()
    index = (folder / INDEX).read_text().replace("b.safetensors", name.format(top=tmp_path))
    (folder / INDEX).write_text(index)
    refused(folder, "outside")


@pytest.mark.parametrize("linked", ["a.safetensors", "config.json", "sub", INDEX, "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(linked: str, tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", ("a.safetensors", "sub/b.safetensors"))
    (folder / "tokenizer.json").write_text("{}")
    (tmp_path / "else").mkdir()
    shutil.move(folder / linked, tmp_path / "else")
    (folder / linked).symlink_to(tmp_path / "else" / linked)
    refused(folder, "outside")


def test_a_link_within_the_folder_is_followed_and_counts(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m")
    (folder / "real").mkdir()
    (folder / "model.safetensors").rename(folder / "real" / "weights")
    (folder / "model.safetensors").symlink_to("real/weights")
    first = resolve("m", tmp_path).content()
    change(folder / "real" / "weights")
    assert resolve("m", tmp_path).content() != first


def test_the_layout_of_hugging_faces_own_cache_works_and_is_known_by_content(tmp_path: Path) -> None:
    made = bert(tmp_path / "made", ("a.safetensors", "b.safetensors"))
    repo = tmp_path / "models--org--name"
    snapshot = repo / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, file in enumerate(sorted(made.iterdir())):
        shutil.copy(file, repo / "blobs" / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    first = taken(snapshot)
    assert first.outputs[0].axes == ("batch", "tokens", 16)
    known = resolve(snapshot.name, snapshot.parent).content()
    change((snapshot / "a.safetensors").resolve())
    assert resolve(snapshot.name, snapshot.parent).content() != known


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"weight_map": {"a": "w.bin"}}, "w.bin.*no .safetensors"),
        ({"weight_map": {"a": "gone.safetensors"}}, "gone.safetensors.*missing"),
        ({"weight_map": {"a": "a\0.safetensors"}}, "null byte"),
        ({"weight_map": {"a": 7}}, "weight_map"),
        ({"weight_map": ["a"]}, "weight_map"),
        ({}, "weight_map"),
        ([], "no JSON object"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(index: Any, words: str, tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", ("a.safetensors",))
    (folder / "w.bin").write_bytes(b"pickle")
    (folder / INDEX).write_text(json.dumps(index))
    refused(folder, words)


def test_weights_that_the_config_names_count_too(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", transformers_weights="sub/w.safetensors")
    (folder / "sub").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "sub/w.safetensors")
    first = resolve("m", tmp_path).content()
    change(folder / "sub/w.safetensors")
    assert resolve("m", tmp_path).content() != first


def test_the_pooling_of_a_folder_within_counts_and_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m")

    def pool(path: Any, mode: str) -> None:
        types = [("", "Transformer"), (path, "Pooling")]
        (folder / "modules.json").write_text(json.dumps([{"path": p, "type": f"s.{t}"} for p, t in types]))
        (folder / str(path)).mkdir(parents=True, exist_ok=True)
        (folder / str(path) / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))

    pool("deep/1_Pooling", "mean_tokens")
    first = resolve("m", tmp_path).content()
    pool("deep/1_Pooling", "cls_token")
    assert resolve("m", tmp_path).content() != first
    for path in ("../pool", str(tmp_path / "pool")):
        pool(path, "mean_tokens")
        refused(folder, "outside")


KERNELS = ["org/kernel", "org/kernel:name", "org/kernel@rev:name", "paged|org/kernel", "flash_attention_2"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"]
)
def test_attention_from_elsewhere_is_refused_at_any_depth(key: str, kernel: str, tmp_path: Path) -> None:
    for number, config in enumerate(
        ({key: kernel}, {"text_config": {key: kernel}}, {key: {"": "sdpa", "vision_config": kernel}})
    ):
        folder = bert(tmp_path / f"m{number}", **config)
        assert key in refused(folder, "brings code|not in the folder")


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "m.M"}},
        {"text_config": {"auto_map": {"AutoModel": "org/repo--m.M"}}},
        {"experts_implementation": "deepgemm"},
        {"_experts_implementation": "org/kernel"},
        {"quantization_config": {"quant_method": "fp8"}},
        {"configuration_files": ["config.4.0.0.json"]},
        {"transformers_weights": "../w.safetensors"},
        {"transformers_weights": "w.bin"},
        {"transformers_weights": 7},
        {"backbone": "org/repo"},
        {"backbone_config": {"backbone": "hf-hub:org/repo"}},
        {"architecture": "local-dir:/tmp"},
        {"model_args": {"checkpoint_path": "w.pth"}},
    ],
    ids=str,
)
def test_a_config_that_would_fetch_or_run_something_is_refused(
    config: dict[str, Any], tmp_path: Path
) -> None:
    refused(
        bert(tmp_path / "m", **config),
        "in the folder|brings code|outside|no .safetensors|is no name|other configurations",
    )


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": None, "quantization_config": None, "backbone": "resnet50", "use_timm_backbone": True},
        {"_attn_implementation": "sdpa", "experts_implementation": None},
        {"attn_implementation": "eager", "text_config": {"_attn_implementation": None}},
    ],
    ids=str,
)
def test_an_honest_config_is_taken(config: dict[str, Any], tmp_path: Path) -> None:
    assert inputs_of(bert(tmp_path / "m", **config).name, base_dir=tmp_path).axis("tokens").most == 40


def test_an_adapter_is_refused_and_the_remedy_named(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/repo"}')
    refused(folder, "merge_and_unload")


def test_the_hub_is_out_of_reach_while_a_folder_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever key of a config was forgotten above."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled
    from transformers import BertModel

    def fetching(*_: Any, **__: Any) -> Any:
        asked.append(constants.is_offline_mode())
        HfApi(endpoint="http://127.0.0.1:9").model_info("org/repo")

    asked: list[bool] = []
    monkeypatch.setattr(BertModel, "from_pretrained", fetching)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match="offline mode is enabled") as raised:
        taken(bert(tmp_path / "m"))
    assert isinstance(raised.value.__cause__, OfflineModeIsEnabled)
    assert asked == [True] and constants.HF_HUB_OFFLINE is False


GARBAGE: dict[str, Callable[[], bytes]] = {
    "a brace": lambda: b"{",
    "nothing in it": lambda: b"{}",
    "a list": lambda: b"[]",
    "a number": lambda: b"7",
    "null": lambda: b"null",
    "no text": lambda: b"\xff\xfe\x00",
    "brackets": lambda: b"[" * 100_000,
    "braces": lambda: b'{"a":' * 100_000,
    "10 MB": lambda: b'{"a": "' + b"x" * 10_000_000 + b'"}',
    "10 MB of brackets": lambda: b"[" * 10_000_000,
    "a long number": lambda: b'{"vocab_size": 1' + b"0" * 5000 + b"}",
}
FILES = ("config.json", INDEX, "modules.json", "tokenizer_config.json", "tokenizer.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_as_any_file_is_one_sentence(what: str, file: str, tmp_path: Path) -> None:
    from harness.model.payloads import payloads
    from harness.schema.point import PointClass

    folder = bert(tmp_path / "m", ("a.safetensors",))
    (folder / file).write_bytes(GARBAGE[what]())
    began = time.monotonic()
    request = PointClass(
        name="c", batch=1, axes={"tokens": 8}, weight=1, payload=None, folder=None, low=None, high=None
    )
    try:
        assert resolve("m", tmp_path).content()
        payloads("m", request, base_dir=tmp_path, count=1, seed=0)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        assert file in str(error) or file in ("config.json", "tokenizer.json")
    else:
        assert (file, what) in {
            ("tokenizer_config.json", "nothing in it"),
            ("tokenizer_config.json", "a long number"),
        }
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9},
        {"text_config": {"n_layer": 10**9}},
        {"depths": [2, 10**9]},
        {"num_labels": 10**9},
    ],
    ids=str,
)
def test_a_model_of_endless_parts_is_refused_before_it_is_built(
    config: dict[str, Any], tmp_path: Path
) -> None:
    refused(bert(tmp_path / "m", **config), "no machine has room")


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    """transformers draws them, each time others: the export would be of no model at all."""
    folder = bert(tmp_path / "m", ("a.safetensors", "b.safetensors"))
    placed = json.loads((folder / INDEX).read_text())
    kept = {n: shard for n, shard in placed["weight_map"].items() if shard == "a.safetensors"}
    (folder / INDEX).write_text(json.dumps({**placed, "weight_map": kept}))
    refused(folder, "lack \\d+ of the model's weights")
    refused(bert(tmp_path / "deep", num_hidden_layers=2), "lack 16 of the model's weights, encoder.layer.1")


def test_a_folder_without_the_pooler_that_nothing_is_made_with_is_taken(tmp_path: Path) -> None:
    from harness.model.modules import from_folder

    folder = bert(tmp_path / "m", ("a.safetensors",))
    placed = json.loads((folder / INDEX).read_text())
    kept = {n: shard for n, shard in placed["weight_map"].items() if not n.startswith("pooler.")}
    (folder / INDEX).write_text(json.dumps({**placed, "weight_map": kept}))
    assert from_folder(folder).outputs == ("last_hidden_state",)


def test_a_file_of_json_is_read_only_so_far(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", filler="x" * 7 * 2**20)
    assert resolve("m", tmp_path).content()
    bert(folder, filler="x" * 9 * 2**20)
    refused(folder, "more than 8 MiB")


@pytest.mark.parametrize(
    "config",
    [
        {"vocab_size": "many"},
        {"vocab_size": 0},
        {"vocab_size": 10**30},
        {"vocab_size": True},
        {"model_type": 7},
        {"model_type": "roberta", "max_position_embeddings": "many"},
        {"model_type": "roberta", "max_position_embeddings": 40, "pad_token_id": "x"},
        {"is_encoder_decoder": "yes"},
    ],
    ids=str,
)
def test_a_text_config_of_other_types_is_one_sentence_or_has_no_limit(
    config: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TINY, **config}))
    (folder / "model.safetensors").write_bytes(b"")
    try:
        assert inputs_of("m", base_dir=tmp_path).inputs
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("channels", [0, -3, "3", None, True, 3])
@pytest.mark.parametrize("size", [0, -1, "a", [1], [1, "a"], [0, 5], {"height": 5}, {"a": 1}, 10**9, None])
def test_an_image_config_without_a_size_is_one_sentence(channels: Any, size: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_channels": channels, "image_size": size}))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError):
        inputs_of("m", base_dir=tmp_path)


HEADERS = {
    "2 to the 60": (2**60).to_bytes(8, "little") + b"{}",
    "beyond the file": (1000).to_bytes(8, "little") + b"{}",
    "no JSON": (2).to_bytes(8, "little") + b"[[",
    "offsets beyond": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}',
    "offsets that overlap": (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}'
    ),
    "a shape that overflows": (
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}'
    ),
    "nothing": b"",
}


@pytest.mark.parametrize("what", HEADERS)
def test_an_absurd_header_of_a_safetensors_file_is_one_sentence(what: str, tmp_path: Path) -> None:
    folder, header = bert(tmp_path / "m"), HEADERS[what]
    if header[:1] == b"{":
        header = len(header).to_bytes(8, "little") + header + bytes(6)
    (folder / "model.safetensors").write_bytes(header)
    refused(folder, "transformers can't load")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "modules.json", "m.onnx", "extra.json"])
def test_a_pipe_in_place_of_a_file_does_not_hang(file: str, tmp_path: Path) -> None:
    folder = bert(tmp_path / "m")
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    named = f"m/{file}" if file == "m.onnx" else "m"
    with pytest.raises(InputError, match=r"no regular file|not a model"):
        export(named, base_dir=tmp_path, progress=lambda _: None)
