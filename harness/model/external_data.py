"""The files in which an ONNX file keeps its weights. Imports onnx: only for heavy commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx.external_data_helper import _get_all_tensors, load_external_data_for_tensor, uses_external_data

from harness.model.own_files import has, own_file
from harness.plain_text import shown
from harness.schema.errors import InputError


def data_files(model: Any, path: Path) -> tuple[Path, ...]:
    """Those of `model`, which was read from `path` without them, in the order of their names; those of its
    branches and constants too. Raises InputError where one is missing or not the model's own."""
    names = sorted({_location(tensor) for tensor in _outside(model)})
    return tuple(data_file(path, name) for name in names)


def data_file(path: Path, name: str) -> Path:
    """The file of that name beside the ONNX file `path`, or beside where `path` leads to, as a link: in the
    cache of Hugging Face both are links, to places with other names.

    Raises InputError where it is missing or not the model's own.
    """
    for folder in (path.parent, path.resolve().parent):
        if has(folder, name):
            return own_file(folder, name)
    raise InputError(f"{path} keeps its weights in {shown(name)[:200]}, which is missing: put it beside it")


def load_data(model: Any, path: Path) -> None:
    """Read what `data_files` names into `model`."""
    for tensor in _outside(model):
        file = data_file(path, _location(tensor)).resolve()  # onnx itself follows no link
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = file.name
        load_external_data_for_tensor(tensor, str(file.parent))
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _outside(model: Any) -> list[Any]:
    return [tensor for tensor in _get_all_tensors(model) if uses_external_data(tensor)]


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
