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
        path = (base_dir / model).resolve()
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
    name = servable(path.stem if path.is_file() else path.name)
    if path.is_dir():
        huggingface.check(path)
        return HuggingFaceFolder(name, Place(path), f"Hugging Face folder {path.name}")
    if path.suffix == ".onnx" and path.is_file():
        if (known := ready(path)) is not None:
            return known
        return OnnxFile(name, Place(path), f"ONNX file {path.name}")
    raise InputError(
        f"{model} is not a model harness can read: give an .onnx file, or a Hugging Face folder with "
        "config.json and model.safetensors"
    )


@functools.lru_cache(maxsize=32)
def signature_of(model: str, base_dir: Path) -> Signature:
    """What `model` takes, remembered within the process: a run asks for every point and request class."""
    return resolve(model, base_dir).signature()
