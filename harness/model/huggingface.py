"""A Hugging Face folder, read without torch: what it takes, and whether harness can export it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.cache import file_sha256
from harness.model.modality import modality
from harness.model.own_files import has, keys, own_file, own_json, own_object, within
from harness.model.self_contained import check_self_contained
from harness.model.signature import BATCH, Axis, Input, Place, Signature
from harness.model.weights import weight_files
from harness.plain_text import shown
from harness.schema.errors import InputError

Pooling = Literal["mean", "cls", "max"]

MODULES = "modules.json"
"""What sentence-transformers puts after the encoder."""

OFFSET_POSITIONS = (
    *("camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm"),
    *("mluke", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Model types whose positions start after the padding token, so that fewer tokens fit (transformers)."""

_USUAL_PADDING = 1
"""The padding token's id in those, where config.json doesn't say it."""

_BOXES = ("layoutlm", "layoutlmv3", "lilt")
"""Model types that take where on the page each token stands."""
_LARGEST_BOX = 1000
"""Boxes are in thousandths of the page, by the models' own documents."""

_NO_MASK = ("fnet", "xlstm")
"""Model types that mix all tokens, padding too."""

LARGEST_IMAGE = 2**28
"""Values of one image, all channels."""

_MOST = {"layer": 1000, "depth": 1000, "num_labels": 10**6}
"""By a part of a key of config.json. transformers makes that many before it looks at a weight."""

_POOLINGS: dict[str, Pooling] = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "max_tokens": "max",
    "mean": "mean",
    "cls": "cls",
    "max": "max",
}


@dataclass(frozen=True, slots=True)
class Head:
    """What sentence-transformers' modules.json puts after the encoder."""

    pooling: Pooling
    normalize: bool


def check(folder: Path) -> None:
    """Raise InputError, with the remedy, where the folder can't be loaded safely."""
    config = _config(folder)
    weights = weight_files(folder, config)
    if not weights:
        remedy = (
            "load it once in transformers and `save_pretrained(folder)`, which writes model.safetensors"
            if any(folder.glob("*.bin"))
            else "copy the model's whole folder"
        )
        raise InputError(f"{folder} has no .safetensors file (harness never loads a pickle): {remedy}")
    check_self_contained(folder, config)
    _check_counts(folder, config)
    if has(folder, "adapter_config.json"):
        raise InputError(
            f"{folder} has an adapter (adapter_config.json), which is only applied where peft is installed: "
            "merge it (`merge_and_unload()`) and `save_pretrained` the whole model, or remove the file"
        )
    if config.get("is_encoder_decoder") and "vocab_size" in config and not _only_encodes(config):
        raise InputError(
            f"{folder} is an encoder-decoder, which needs decoder inputs: write a factory "
            "(`package.module:factory`) that returns the part you serve"
        )
    head(folder)


def signature(folder: Path) -> Signature:
    """Inputs and limits, of config.json. Raises InputError where it is neither text nor image."""
    check(folder)
    config = _config(folder)
    if modality(folder, config) == "image":
        shape = _image_shape(folder, config)
        return Signature((Input("pixel_values", "FP32", (BATCH, *shape), -1, 1),))
    vocabulary = _size(config["vocab_size"])
    if vocabulary is None:
        raise InputError(f"{folder / 'config.json'}: vocab_size is no number of tokens: correct it")
    tokenizer = "tokenizer.json"
    place = Place(own_file(folder, tokenizer)) if has(folder, tokenizer) else None
    text = text_signature(vocabulary, _positions(folder, config), place)
    if config.get("model_type") in _NO_MASK:
        text = replace(text, inputs=text.inputs[:1])
    if config.get("model_type") in _BOXES:
        largest = min(_LARGEST_BOX + 1, _size(config.get("max_2d_position_embeddings")) or _LARGEST_BOX)
        text = replace(text, inputs=(*text.inputs, Input("bbox", "INT64", (BATCH, "tokens", 4), 0, largest)))
    return text


def text_signature(vocabulary: int, positions: int | None, tokenizer: Place | None) -> Signature:
    """Token ids and their mask; the mask of a request is all ones, since it has exactly `tokens` tokens."""
    inputs = (
        Input("input_ids", "INT64", (BATCH, "tokens"), 0, vocabulary),
        Input("attention_mask", "INT64", (BATCH, "tokens"), 1, 2),
    )
    return Signature(inputs, (Axis("tokens", 1, positions),), tokenizer)


def head(folder: Path) -> Head | None:
    """Pooling and normalization, where modules.json says so; None for a bare encoder."""
    if not has(folder, MODULES):
        return None
    modules = own_json(folder, MODULES)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise InputError(f"{folder / MODULES} is no list of modules: copy the model's folder again")
    types = [str(m.get("type", "")).rsplit(".", 1)[-1] for m in modules]
    unknown = [t for t in types if t not in ("Transformer", "Pooling", "Normalize")]
    if unknown or types[:2] != ["Transformer", "Pooling"]:
        raise InputError(
            f"{folder / MODULES} has the modules {shown(', '.join(types))[:200]}, and harness knows "
            "Transformer, Pooling and Normalize: write a factory (`package.module:factory`) that builds them"
        )
    where = _pooling_file(folder, modules)
    pooling = own_object(folder, where)
    modes = [k.removeprefix("pooling_mode_") for k, v in pooling.items() if v is True]
    modes = [m for m in modes if m not in ("include_prompt",)] or [str(pooling.get("pooling_mode"))]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputError(
            f"{folder / where} pools by {shown(' and '.join(modes))[:200]}, and harness knows one of "
            "mean_tokens, cls_token, max_tokens: write a factory (`package.module:factory`)"
        )
    return Head(_POOLINGS[modes[0]], "Normalize" in types)


def architecture(folder: Path) -> str | None:
    """The class that made the folder, its head with it, where config.json names one."""
    named = _config(folder).get("architectures")
    if not named:
        return None
    if not isinstance(named, list) or not isinstance(named[0], str) or not named[0].isidentifier():
        raise InputError(
            f"{folder / 'config.json'}: `architectures` is no list of classes of transformers: correct it, "
            "or remove the key, for the model without its head"
        )
    return named[0]


def content(folder: Path) -> tuple[str, ...]:
    """Name and SHA-256 of every file that decides the exported function: of all that is read, and of the
    other JSON files, which another transformers may read."""
    names = {file.name for file in folder.glob("*.json")} | set(weight_files(folder, _config(folder)))
    if has(folder, MODULES):
        names.add(_pooling_file(folder, own_json(folder, MODULES)))
    return tuple(f"{name}={file_sha256(own_file(folder, name))}" for name in sorted(names))


def _config(folder: Path) -> dict[str, Any]:
    if not has(folder, "config.json"):
        raise InputError(f"{folder / 'config.json'} is missing: give a folder as `save_pretrained` writes it")
    return own_object(folder, "config.json")


def _check_counts(folder: Path, config: dict[str, Any]) -> None:
    for key, value in keys(config):
        most = next((n for part, n in _MOST.items() if part in key), None)
        if most is not None and any(isinstance(n, int) and n > most for n in within(value)):
            raise InputError(
                f"{folder / 'config.json'} has {shown(key)[:80]} above {most:,}, for which no machine has "
                "room: correct it"
            )


def _pooling_file(folder: Path, modules: list[dict[str, Any]]) -> str:
    path = modules[1].get("path")
    if not isinstance(path, str):
        raise InputError(
            f"{folder / MODULES} doesn't say where its Pooling is: copy the model's folder again"
        )
    return f"{path}/config.json" if path else "config.json"


def _only_encodes(config: dict[str, Any]) -> bool:
    """Whether config.json names the encoder of an encoder-decoder alone, as T5EncoderModel."""
    named = config.get("architectures")
    return isinstance(named, list) and bool(named) and str(named[0]).endswith("EncoderModel")


def _size(value: Any) -> int | None:
    """A number of something, where it is one that can be."""
    return value if isinstance(value, int) and value is not True and 0 < value < 10**9 else None


def _positions(folder: Path, config: dict[str, Any]) -> int | None:
    limit = _size(config.get("max_position_embeddings")) or _size(config.get("n_positions"))
    if limit is not None and config.get("model_type") in OFFSET_POSITIONS:
        limit -= (_size(config.get("pad_token_id", _USUAL_PADDING)) or 0) + 1
    file = "tokenizer_config.json"
    longest = own_object(folder, file).get("model_max_length") if has(folder, file) else None
    return min((n for n in (_size(limit), _size(longest)) if n is not None), default=None)


def _image_shape(folder: Path, config: dict[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width."""
    size = config.get("image_size")
    file = "preprocessor_config.json"
    if size is None and has(folder, file):
        said = own_object(folder, file)
        size = said.get("crop_size") or said.get("size")
    if isinstance(size, dict):
        side = size.get("shortest_edge")
        size = [size.get("height", side), size.get("width", side)]
    sides = size if isinstance(size, list) else [size, size]
    backbone = config.get("backbone_config")
    inner = backbone.get("num_channels") if isinstance(backbone, dict) else None
    channels = _size(config.get("num_channels") or inner)
    if channels is None:
        raise InputError(
            f"{folder / 'config.json'} doesn't say how many channels an image has: add "
            "`num_channels` (3 for colours)"
        )
    shape = [n for n in map(_size, sides) if n is not None]
    if len(shape) == 2 and channels * shape[0] * shape[1] <= LARGEST_IMAGE:
        return channels, shape[0], shape[1]
    raise InputError(
        f"{folder} doesn't say its image size, one side or [height, width]: add `image_size` to config.json "
        "(for example 224), or preprocessor_config.json"
    )
