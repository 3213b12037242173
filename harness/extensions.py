"""What other installed packages add to harness: a load shape, a server mode, a gate, a vendor of GPUs.

A package names what it adds as an entry point of the group `harness.<kind>`, e.g. in its pyproject.toml

    [project.entry-points."harness.gates"]
    hot-inlet = "my_package:hot_inlet"

so that it is there for the command, for Python, and for every child process alike. What is installed in this
environment is trusted as harness is; nothing that a scenario, a run folder or another machine sends can name
code to import. Source: PyPA, "Entry points specification".
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal

from harness.schema.errors import InputError

ExtensionKind = Literal["load_shapes", "server_modes", "gates", "gpu_vendors"]


@cache
def extensions(kind: ExtensionKind) -> dict[str, Any]:
    """By name, in the order of the names. Raises InputError for one that can't be imported."""
    found: dict[str, Any] = {}
    for entry in sorted(entry_points(group=f"harness.{kind}"), key=lambda entry: entry.name):
        try:
            found[entry.name] = entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist is not None else entry.value
            raise InputError(
                f"the package {package} adds {entry.name!r} to harness's {kind.replace('_', ' ')}, and it "
                f"can't be imported ({type(error).__name__}: {error}): mend or uninstall the package"
            ) from error
    return found
