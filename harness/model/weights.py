"""The files that hold the weights of a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.model.own_files import has, own_file, own_object
from harness.schema.errors import InputError

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """Names of all that transformers may read weights from, relative to `folder`: the safetensors files in
    it, and those that its index or config.json names.

    Raises InputError where one of them isn't the folder's own, or is a pickle.
    """
    named = config.get("transformers_weights")
    if named is None:
        named = INDEX if not has(folder, ONE_FILE) and has(folder, INDEX) else None
    elif not isinstance(named, str):
        raise InputError(f"{folder / 'config.json'}: `transformers_weights` is no name of a file: remove it")
    found = {file.name for file in folder.glob("*.safetensors")}
    if named is not None and named.endswith(".safetensors.index.json"):
        found |= {named, *_shards(folder, named)}
    elif named is not None:
        found.add(_safetensors(folder, named))
    for name in found:
        own_file(folder, name)
    return tuple(sorted(found))


def _shards(folder: Path, index: str) -> set[str]:
    placed = own_object(folder, index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise InputError(
            f"{folder / index} doesn't say which file holds which weights (weight_map): copy the folder again"
        )
    where = Path(index).parent  # transformers takes the names from the folder, wherever the index is
    if where != Path():
        raise InputError(f"{folder / index} is an index in a subfolder: move it beside config.json")
    return {_safetensors(folder, name) for name in placed.values()}


def _safetensors(folder: Path, name: str) -> str:
    if not name.endswith(".safetensors"):
        raise InputError(
            f"{folder} has weights in {name[:200]!r}, which is no .safetensors file (harness never loads a "
            "pickle): load it once in transformers and `save_pretrained(folder)`"
        )
    return name
