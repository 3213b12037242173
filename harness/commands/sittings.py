"""One run, several sittings: what must be the same in all of them, so that one table isn't of two things."""

from __future__ import annotations

from typing import Any

from harness.schema.errors import InputError
from harness.schema.model import Model
from harness.schema.result import Environment
from harness.store.run_folder import RunFolder

SAME = (
    *("host", "cpu", "cores", "gpus", "packages"),
    *("triton_version", "server_mode", "server_image", "backend", "execution_provider"),
)
"""What of the environment must not change between the sittings of one run."""


def check_models(folder: RunFolder, now: tuple[Model, ...], *, measured: bool) -> None:
    """Keep which ONNX files the first sitting served, and refuse to go on with others.

    `measured`: whether the run has points already. Raises InputError.
    """
    before = folder.about(len(now)).models
    if not before and measured:
        raise _untold(folder, "model.json", "model")
    if before and [model.sha256 for model in before] != [model.sha256 for model in now]:
        raise _other(folder, "model")
    if not before or not folder.tells_models:
        folder.write_models(now)


def check_environment(folder: RunFolder, now: Environment, *, measured: bool) -> None:
    """Keep what the first sitting saw, and refuse to go on with another model or on another machine.

    `measured`: whether the run has points already. Raises InputError.
    """
    before = folder.about(1).environment
    if before is None:
        if measured:
            raise _untold(folder, "environment.json", "machine")
        folder.write_environment(now)
        return
    was, is_ = _comparable(before), _comparable(now)
    moved = [name.replace("_", " ") for name in SAME if was[name] != is_[name]]
    if moved:
        raise _other(folder, ", ".join(moved))


def another_harness(folder: RunFolder, now: Environment) -> str | None:
    """What is to be said where another harness began the run. It may go on: no upgrade costs a run."""
    before = folder.about(1).environment
    if before is None or before.harness_version == now.harness_version:
        return None
    return (
        f"the run was begun with harness {before.harness_version} and goes on with {now.harness_version}: "
        "each point from here on has a note of it"
    )


def _comparable(environment: Environment) -> dict[str, Any]:
    found = {name: getattr(environment, name) for name in SAME}
    # An idle link steps down, and why a value is null is no property of the GPU.
    moving: dict[str, Any] = {"pcie_generation": None, "pcie_width": None, "unsupported": {}}
    found["gpus"] = [gpu.model_copy(update=moving) for gpu in environment.gpus]
    # Points may ask for several providers; that one of them computes on the CPU may not come and go.
    found["execution_provider"] = environment.execution_provider == "CPUExecutionProvider"
    return found


def _untold(folder: RunFolder, file: str, what: str) -> InputError:
    return InputError(
        f"{folder.path / file} isn't whole, so nobody can tell whether this is the {what} that the run was "
        f"begun with: start a new run; `harness report {folder.path}` shows what was measured"
    )


def _other(folder: RunFolder, what: str) -> InputError:
    return InputError(
        f"{folder.path} was begun with another {what}: finish it as it was begun, or start a new run"
    )
