"""The shape of load that docs/load.md adds, as an installed package."""

from __future__ import annotations

import re
from pathlib import Path

from tests.extension import installed

DOCS = Path(__file__).parents[2] / "docs/load.md"


def package_with_sine(folder: Path) -> Path:
    """A folder for PYTHONPATH."""
    (source,) = re.findall(r"```python\n([^`]*class Sine[^`]*)```", DOCS.read_text())
    return installed(folder, "load_shapes", {"sine": source}, attribute="Sine")
