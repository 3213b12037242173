"""A user's file of hardware, with prices and power."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from harness import yaml_file
from harness.schema.errors import InputError
from harness.schema.faults import explained
from harness.schema.hardware import HardwareFile


def read(path: Path) -> HardwareFile:
    """Raises InputError, with the line, for a file that isn't one."""
    document = yaml_file.read(path, "hardware file")
    if not isinstance(document.data, dict):
        raise InputError(f"{path}:1: a hardware file is a mapping with `hardware:`, a list")
    try:
        return HardwareFile.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        found = explained(HardwareFile, document.data, error)
        lines = [f"{path}:{document.line(where) or 1}: {sentence}" for where, sentence in found]
        raise InputError(*lines[:5]) from None
