"""The file in which `harness calibrate --record` keeps its parts, each as soon as it is whole."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from harness import atomic
from harness.schema.calibration import Calibration
from harness.schema.errors import HarnessError, InputError
from harness.schema.result import Environment

_DIRTY = "+dirty"


def read(file: Path, *, quick: bool) -> Calibration | None:
    """What is kept there; None where there is no file. Raises InputError for a file of something else."""
    try:
        found = Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{file} can't be read ({error.strerror}): give --record another file") from error
    except ValidationError as error:
        raise InputError(
            f"{file} isn't a calibration that this harness recorded: give --record another file"
        ) from error
    if found.quick != quick:
        raise InputError(
            f"{file} is of a {'quick' if found.quick else 'full'} calibration: "
            f"give --record another file, or {'add' if found.quick else 'leave out'} --quick"
        )
    return found


def same_place(file: Path, kept: Environment, now: Environment) -> Environment:
    """Where both were measured. Raises InputError where that isn't one machine and one harness.

    Uncommitted changes are no difference, because the page that a calibration writes may be one; the place
    says that there were some.
    """
    different = [
        f"{name} {getattr(kept, name)} there and {getattr(now, name)} here"
        for name in Environment.model_fields
        if name not in ("server_url", "git_commit") and getattr(kept, name) != getattr(now, name)
    ]
    there, here = (each.git_commit or "unknown" for each in (kept, now))
    if there.removesuffix(_DIRTY) != here.removesuffix(_DIRTY):
        different.append(f"commit {there} there and {here} here")
    if different:
        raise InputError(
            f"{file} is of another machine or another harness ({'; '.join(different)}): "
            "give --record another file"
        )
    return kept if there.endswith(_DIRTY) else now


def write(file: Path, found: Calibration) -> None:
    """Raises HarnessError where it can't be written; what was there before is whole then."""
    remedy = "make room, or give --record a file in a folder you can write"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{file} can't be written ({error.strerror}): {remedy}") from error
    atomic.write_text(file, found.model_dump_json(indent=1), remedy)
