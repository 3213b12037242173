"""Whether an ONNX file of ours is what it was; the onnx package isn't needed to know."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.cache import file_sha256

DATA = ".data"
"""Weights that one file has no room for are in a second one, beside it, with this after its name."""


def onnx_sha256(path: Path) -> str:
    """SHA-256 of the file; with weights beside it, of both files' hashes."""
    data = path.with_name(path.name + DATA)
    if not data.exists():
        return file_sha256(path)
    return hashlib.sha256(f"{file_sha256(path)}{file_sha256(data)}".encode()).hexdigest()
