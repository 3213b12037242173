"""The shape of load that docs/load.md adds, as an installed package."""

from __future__ import annotations

import re
from pathlib import Path

from tests.extension import installed

DOCS = Path(__file__).parents[2] / "docs/load.md"

NOT_IN_A_LOAD_PROCESS = """
import sys
if "locust" in sys.modules and "pytest" not in sys.modules:  # where the tests of the load ran before
    raise RuntimeError("a load process needs no shape")
"""


def package_with_sine(folder: Path) -> Path:
    """A folder for PYTHONPATH. Its module can't be imported where the load is sent."""
    (source,) = re.findall(r"```python\n([^`]*class Sine[^`]*)```", DOCS.read_text())
    source += NOT_IN_A_LOAD_PROCESS
    return installed(folder, "load_shapes", {"sine": source}, attribute="Sine")
