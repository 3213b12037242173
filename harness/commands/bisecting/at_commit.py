"""`python -m harness.commands.bisecting.at_commit`: export a model in a process of its own, whose modules are
those of one commit. It reads an `Asked` from stdin, and prints a `Built`."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.commands.export import export_model
from harness.commands.progress import Progress
from harness.schema.errors import HarnessError, InputError
from harness.schema.frozen import Frozen
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype
from harness.terminal import print_json


class Asked(Frozen):
    """What to export."""

    model: str
    base_dir: str
    dtypes: tuple[Dtype | None, ...]
    sizes: tuple[dict[str, int], ...]
    today: str
    """The folder of today's code, of which nothing may be imported."""


class Built(Frozen):
    """A model for each dtype, or why there is none."""

    models: tuple[ModelArtifact, ...]
    fault: str | None


def build(asked: Asked) -> Built:
    progress = Progress(quiet=True)
    try:
        models = tuple(
            export_model(asked.model, Path(asked.base_dir), progress, dtype, asked.sizes)
            for dtype in asked.dtypes
        )
        _check_imports(Path(asked.today))
    except HarnessError as error:
        return Built(models=(), fault=str(error))
    return Built(models=models, fault=None)


def _check_imports(today: Path) -> None:
    """Raises InputError where a module is today's and not the commit's."""
    installed = [Path(sys.prefix), Path(__file__).resolve().parents[2]]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or not (path := Path(file).resolve()).is_relative_to(today):
            continue
        if not any(path.is_relative_to(folder.resolve()) for folder in installed):
            raise InputError(
                f"{name} is imported from {path}, which is today's and not the commit's: install it where "
                "harness runs without -e, or start harness in the folder that it is imported from"
            )


if __name__ == "__main__":
    print_json(build(Asked.model_validate_json(sys.stdin.read())))
