"""A page that a command writes where the user says."""

from __future__ import annotations

from pathlib import Path

from harness.schema.errors import HarnessError


def write_page(page: str, file: Path) -> None:
    """Write it, and the folder it is in. Raises HarnessError where that can't be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise HarnessError(
            f"{file} can't be written ({error.strerror}): give --write a file in a folder you can write"
        ) from error
