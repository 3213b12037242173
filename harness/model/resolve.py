"""From what the user wrote in `model:` to the source it means."""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path

from harness.model import huggingface
from harness.model.catalog import CATALOG
from harness.model.factory import Factory
from harness.model.ready import ReadyExport, ready
from harness.model.signature import Place, Signature, servable
from harness.model.sources import AnySource, HuggingFaceFolder, OnnxFile
from harness.schema.errors import InputError

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def resolve(model: str, base_dir: Path) -> AnySource | ReadyExport:
    """The source named `model`: of the catalog, a path from `base_dir`, or `package.module:factory`.

    Raises InputError for what is none of them, with the nearest name of the catalog.
    """
    if model in CATALOG:
        return CATALOG[model]
    if FACTORY.fullmatch(model):
        return Factory(model, base_dir)
    try:
        path, real = _named(base_dir, model)
        found = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"model {model[:80]!r} is not a path: {error}; write a name or a path") from error
    if path.suffix in PICKLES:
        raise InputError(
            f"{model} is a pickle, and loading one can run any code: save the model as safetensors "
            "(`save_pretrained(folder)`) and name that folder"
        )
    if not found:
        near = difflib.get_close_matches(model, CATALOG, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"name one of {', '.join(CATALOG)},"
        also = " (an .onnx file, a Hugging Face folder or `package.module:factory` also works)"
        raise InputError(f"there is no model {model!r}: {hint}{also}")
    name = servable(_name_of(path))
    if path.is_dir():
        huggingface.check(path)
        return HuggingFaceFolder(name, Place(path), f"Hugging Face folder {path.name}")
    if ".onnx" in (path.suffix, real.suffix) and path.is_file():
        if (known := ready(path)) is not None:
            return known
        return OnnxFile(name, Place(path), f"ONNX file {path.name}")
    raise InputError(
        f"{model} is not a model harness can read: give an .onnx file, or a Hugging Face folder with "
        "config.json and model.safetensors"
    )


def _name_of(path: Path) -> str:
    """What the model is called: in a repository of Triton's, `NAME/VERSION/model.onnx`, as it is served."""
    if path.is_dir():
        return path.name
    in_repository = path.name == "model.onnx" and path.parent.name.isdecimal() and path.parent.parent.name
    return path.parent.parent.name if in_repository else path.stem


def _named(base_dir: Path, model: str) -> tuple[Path, Path]:
    """The path as it was written, whose own name is the model's, and where its links lead: in the cache of
    Hugging Face a file's name is only that of a link."""
    path, real = (base_dir / model).absolute(), (base_dir / model).resolve()
    return (real if path.name in ("", "..") else path), real


@functools.lru_cache(maxsize=32)
def signature_of(model: str, base_dir: Path) -> Signature:
    """What `model` takes, remembered within the process: a run asks for every point and request class."""
    return resolve(model, base_dir).signature()
