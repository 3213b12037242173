"""`harness export`: an ONNX file and the proof that it computes the same function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from harness.commands.progress import Progress
from harness.console import TerminalConsole, cells, line
from harness.model.check import file_to_run
from harness.model.export import export
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype


def export_model(
    model: str,
    base_dir: Path,
    progress: Progress | None = None,
    dtype: Dtype | None = None,
    asked: Sequence[Mapping[str, int]] = (),
) -> ModelArtifact:
    """Export `model`, or take it from the cache. Paths are relative to `base_dir`. `asked`: sizes that will
    be sent, which are proven too. Raises HarnessError."""
    progress = progress or Progress()
    say_what_runs(model, base_dir, progress)
    with progress.doing(f"model {model}{f' in {dtype.upper()}' if dtype else ''}"):
        return export(model, base_dir=base_dir, progress=progress.detail, dtype=dtype, asked=asked)


def say_what_runs(model: str, base_dir: Path, progress: Progress) -> None:
    """Which file of the user's is about to be executed, where one is."""
    if (file := file_to_run(model, base_dir=base_dir)) is not None:
        progress.say(f"running {file}, for it makes the model {model}")


def show(model: ModelArtifact) -> None:
    console = TerminalConsole()
    note = f" ({model.note})" if model.note else ""
    console.print(f"{model.name}: {model.source}{note}")
    console.print(model.onnx_path, soft_wrap=True)
    console.print(f"sha256 {model.sha256}", soft_wrap=True)
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            shape = ", ".join(map(str, tensor.axes))
            console.print(f"{kind:>6}  {tensor.name}  {tensor.datatype}  [{shape}]")
    table = Table(title=line(f"parity with {model.parity.reference}, tolerance {model.parity.tolerance:g}"))
    for heading in ("shape", "traced", "largest error", "relative"):
        table.add_column(heading)
    for case in model.parity.cases:
        shape = ", ".join(f"{axis} {size}" for axis, size in case.axes.items()) or "its one size"
        errors = (f"{case.max_abs_error:.2g}", f"{case.max_rel_error:.2g}")
        table.add_row(*cells([shape, "yes" if case.traced else "", *errors]))
    console.print(table)
