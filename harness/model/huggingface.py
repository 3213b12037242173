"""A Hugging Face folder, read without torch: what it takes, and whether harness can export it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.cache import file_sha256
from harness.model.signature import BATCH, Axis, Input, Place, Signature
from harness.schema.errors import InputError

Pooling = Literal["mean", "cls", "max"]

OFFSET_POSITIONS = ("roberta", "camembert", "mpnet", "longformer", "data2vec-text", "esm", "luke")
"""Model types whose positions start after the padding token, so that fewer tokens fit (transformers)."""


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
    config = _json(folder / "config.json")
    if not any(folder.glob("*.safetensors")):
        remedy = (
            "load it once in transformers and `save_pretrained(folder)`, which writes model.safetensors"
            if any(folder.glob("*.bin"))
            else "copy the model's whole folder"
        )
        raise InputError(f"{folder} has no .safetensors file (harness never loads a pickle): {remedy}")
    if "auto_map" in config:
        raise InputError(
            f"{folder} brings code of its own (`auto_map` in config.json), which harness doesn't run: "
            "write a factory (`package.module:factory`) that builds the module"
        )
    if config.get("is_encoder_decoder"):
        raise InputError(
            f"{folder} is an encoder-decoder, which needs decoder inputs: write a factory "
            "(`package.module:factory`) that returns the part you serve"
        )
    head(folder)


def signature(folder: Path) -> Signature:
    """Inputs and limits, of config.json. Raises InputError where it is neither text nor image."""
    check(folder)
    config = _json(folder / "config.json")
    tokenizer = folder / "tokenizer.json"
    if "vocab_size" in config:
        return text_signature(
            config["vocab_size"],
            _positions(folder, config),
            Place(tokenizer) if tokenizer.is_file() else None,
        )
    if "num_channels" in config:
        height, width = _image_size(folder, config)
        return Signature(
            (Input("pixel_values", "FP32", (BATCH, config["num_channels"], height, width), -1, 1),)
        )
    raise InputError(
        f"{folder / 'config.json'} describes neither a text encoder (vocab_size) nor an image model "
        "(num_channels): write a factory (`package.module:factory`) that says what the module takes"
    )


def text_signature(vocabulary: int, positions: int | None, tokenizer: Place | None) -> Signature:
    """Token ids and their mask; the mask of a request is all ones, since it has exactly `tokens` tokens."""
    inputs = (
        Input("input_ids", "INT64", (BATCH, "tokens"), 0, vocabulary),
        Input("attention_mask", "INT64", (BATCH, "tokens"), 1, 2),
    )
    return Signature(inputs, (Axis("tokens", 1, positions),), tokenizer)


def head(folder: Path) -> Head | None:
    """Pooling and normalization, where modules.json says so; None for a bare encoder."""
    if not (folder / "modules.json").is_file():
        return None
    modules = _json(folder / "modules.json")
    types = [str(m.get("type", "")).rsplit(".", 1)[-1] for m in modules]
    unknown = [t for t in types if t not in ("Transformer", "Pooling", "Normalize")]
    if unknown or types[:2] != ["Transformer", "Pooling"]:
        raise InputError(
            f"{folder / 'modules.json'} has the modules {', '.join(types)}, and harness knows Transformer, "
            "Pooling and Normalize: write a factory (`package.module:factory`) that builds them"
        )
    pooling = _json(folder / modules[1]["path"] / "config.json")
    modes = [k.removeprefix("pooling_mode_") for k, v in pooling.items() if v is True]
    modes = [m for m in modes if m not in ("include_prompt",)] or [str(pooling.get("pooling_mode"))]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputError(
            f"{folder / modules[1]['path']} pools by {' and '.join(modes)}, and harness knows one of "
            "mean_tokens, cls_token, max_tokens: write a factory (`package.module:factory`)"
        )
    return Head(_POOLINGS[modes[0]], "Normalize" in types)


def content(folder: Path) -> tuple[str, ...]:
    """Name and SHA-256 of every file that decides the exported function."""
    files = [*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*/config.json")]
    return tuple(f"{f.relative_to(folder)}={file_sha256(f)}" for f in sorted(files))


def _positions(folder: Path, config: dict[str, Any]) -> int | None:
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if limit is not None and any(t in config.get("model_type", "") for t in OFFSET_POSITIONS):
        limit -= (config.get("pad_token_id") or 0) + 1
    file = folder / "tokenizer_config.json"
    longest = _json(file).get("model_max_length") if file.is_file() else None
    limits = [n for n in (limit, longest) if isinstance(n, int) and 0 < n < 10**9]
    return min(limits, default=None)


def _image_size(folder: Path, config: dict[str, Any]) -> tuple[int, int]:
    size = config.get("image_size")
    file = folder / "preprocessor_config.json"
    if size is None and file.is_file():
        said = _json(file)
        size = said.get("crop_size") or said.get("size")
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict):
        side = size.get("shortest_edge")
        height, width = size.get("height", side), size.get("width", side)
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    if isinstance(size, list) and len(size) == 2:
        return size[0], size[1]
    raise InputError(
        f"{folder} doesn't say its image size (image_size in config.json, or preprocessor_config.json): "
        "add it, or write a factory (`package.module:factory`)"
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: give a folder as `save_pretrained` writes it") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): copy the model's folder again") from error
