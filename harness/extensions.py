"""What other installed packages add to harness: a load shape, a server mode, a gate, a vendor of GPUs.

A package names what it adds as an entry point of the group `harness.<kind>`, e.g. in its pyproject.toml

    [project.entry-points."harness.gates"]
    hot-inlet = "my_package:hot_inlet"

so that it is there for the command, for Python, and for every child process alike. What is installed in this
environment is trusted as harness is; nothing that a scenario, a run folder or another machine sends can name
code to import. Source: PyPA, "Entry points specification".
"""

from __future__ import annotations

from collections.abc import Callable
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
                f"the package {package} adds {entry.name!r} to harness's {_words(kind)}, and it "
                f"can't be imported ({type(error).__name__}: {error}): mend or uninstall the package"
            ) from error
    return found


def sound_extensions(kind: ExtensionKind, fault: Callable[[str, Any], str | None]) -> dict[str, Any]:
    """As `extensions`, and raises InputError for the first that can't be used.

    `fault` gets a name and what was added by it. It says what is wrong, to stand after "it", or None.
    """
    for name, added in extensions(kind).items():
        if (what := fault(name, added)) is not None:
            raise InputError(
                f"an installed package adds {name!r} to harness's {_words(kind)}, and it {what}: mend or "
                "uninstall the package"
            )
    return extensions(kind)


def _words(kind: ExtensionKind) -> str:
    return kind.replace("_", " ")
