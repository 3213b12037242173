"""An installed package that adds something to harness, as pip leaves one: modules and their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.extensions import ExtensionKind


def installed(folder: Path, kind: ExtensionKind, modules: Mapping[str, str], attribute: str) -> Path:
    """A folder for PYTHONPATH. Each module's source by the name of what it adds, which is its `attribute`."""
    package = folder / f"extension-{kind}"
    metadata = package / "harness_extension-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-extension\nVersion: 1.0\n")
    lines = [f"[harness.{kind}]"]
    for name, source in modules.items():
        module = f"harness_extension_{kind}_{name.replace('-', '_')}"
        (package / f"{module}.py").write_text(source)
        lines.append(f"{name} = {module}:{attribute}")
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return package
