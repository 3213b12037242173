"""Libraries in C that stand in for NVIDIA's own, below the binding that opens them by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

FLAGS = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")


def built(sources: Sequence[Path], name: str, folder: Path) -> Path:
    """The library `name` in `folder`. Without a C compiler the test is skipped, or fails where CI is true."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        reason = f"the double for {name} needs a C compiler: install gcc"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    library = folder / name
    command = [compiler, *FLAGS, f"-Wl,-soname,{name}", "-o", str(library), *map(str, sources)]
    subprocess.run(command, check=True)
    return library
