"""The models of the ONNX project's own backend test generator, each taken through harness's export.

    python -m tests.bench.onnx_generator                       # prints the table of docs/models.md
    python -m tests.bench.onnx_generator --write docs/models.md

Each model is exported twice: as it is generated (its sizes are fixed), and, where all of its tensors have the
same first size, with that axis made dynamic. Whether ONNX Runtime batches such a variant rightly is asked of
ONNX Runtime alone, on the generator's own inputs: each row of the answer is what the row gives by itself.

What is exported runs in a process of its own: one that crashes, takes 30 s or holds 4 GB is counted as that.
Such a model, and one that ONNX Runtime batches rightly and harness doesn't, is named at the end: exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.console import TerminalConsole
from tests.written import show_and_write

LIMIT_S = 30.0
LIMIT_BYTES = 4e9
BEGIN, END = "<!-- the generator's models -->", "<!-- end of the generator's models -->"

SERVED, ALONE, REFUSED, FAILED, SLOW = (
    "served, with batches",
    "served, a request at a time",
    "refused in a sentence",
    "a traceback or a crash",
    f"over {LIMIT_S:g} s or {LIMIT_BYTES / 1e9:g} GB",
)


ENDINGS = (SERVED, ALONE, REFUSED, FAILED, SLOW)
REASONS = {
    "newer than this ONNX Runtime": "reads up to",
    "ONNX Runtime doesn't load it": "doesn't load",
    "a type that is not sent (text, 8-bit floats, sequences, …)": "can't send",
    "rows depend on each other": "depends on the rows",
    "a result is always empty": "always empty",
    "random": "is random",
    "the valid values of its inputs aren't known": "which values it takes",
    "ONNX Runtime doesn't run it": "fails to run",
    "other": "",
}
"""What is refused, and by which words of the sentence that says so one tells."""


@dataclass(frozen=True)
class Outcome:
    name: str
    dynamic: bool
    """Whether its first axis was made dynamic."""
    batches: bool
    """Whether ONNX Runtime by itself gives each row of a batch what the row gives alone."""
    ending: str
    said: str
    seconds: float


def write_models(folder: Path) -> list[Path]:
    """A file for each model and each variant, and one for its inputs where they are tensors."""
    import onnx

    files = []
    for name, model, given in _models():
        if not model.graph.input:
            continue
        files.append(folder / f"{name}.onnx")
        onnx.save(model, files[-1])
        if variant := _dynamic(model, given):
            files.append(folder / f"{name}-dynamic.onnx")
            onnx.save(variant, files[-1])
            np.savez(files[-1].with_suffix(".npz"), **dict(zip(_fed(model), given, strict=False)))
    return files


def _models() -> Iterator[tuple[str, Any, list[Any]]]:
    """(name, model, inputs) of what the generator makes, and of the files that come with it."""
    import onnx
    from onnx.backend import test
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is not None:
            yield case.name, case.model, list(case.data_sets[0][0]) if case.data_sets else []
    data = Path(test.__file__).parent / "data"
    for file in sorted([*data.glob("*/*/model.onnx"), *data.glob("light/*.onnx")]):
        name = file.parent.name if file.name == "model.onnx" else file.stem
        tensors = sorted(file.parent.glob("test_data_set_0/input_*.pb"))
        try:
            given = [onnx.numpy_helper.to_array(onnx.load_tensor(str(each))) for each in tensors]
        except Exception:  # a sequence
            given = []
        yield f"{file.parts[-3] if file.name == 'model.onnx' else 'light'}-{name}", onnx.load(file), given


def _fed(model: Any) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def _dynamic(model: Any, given: list[Any]) -> Any:
    """The model with a dynamic first axis; None where its tensors have no first axis in common."""
    import onnx

    fed = _fed(model)
    values = [*(value for value in model.graph.input if value.name in fed), *model.graph.output]
    shapes = [value.type.tensor_type.shape.dim for value in values]
    if not all(
        value.type.HasField("tensor_type") and shape for value, shape in zip(values, shapes, strict=True)
    ):
        return None
    first = {shape[0].dim_value for shape in shapes}
    numbers = all(isinstance(each, np.ndarray) and each.dtype.kind in "biuf" for each in given)
    if len(first) != 1 or first <= {0} or len(given) != len(fed) or not numbers:
        return None
    variant = onnx.ModelProto()
    variant.CopyFrom(model)
    for value in [*(v for v in variant.graph.input if v.name in fed), *variant.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return variant


def _batches(file: Path) -> bool:
    """Whether ONNX Runtime gives each row what it gives alone, on the generator's inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with np.load(file.with_suffix(".npz")) as kept:
        given = dict(kept)
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    if len(next(iter(given.values()))) > 1:
        return _rows_are_independent(session, given)
    # A single row, and beside it one with other integers: what says how to compute is no part of a batch.
    return any(
        _rows_are_independent(session, {n: np.concatenate([v, _other(v, step)]) for n, v in given.items()})
        for step in (1, -1)
    )


def _other(value: Any, step: int) -> Any:
    return (value.astype(np.int64) + step).astype(value.dtype) if value.dtype.kind in "iu" else value


def _rows_are_independent(session: Any, given: dict[str, Any]) -> bool:
    try:
        whole = session.run(None, given)
        for row in range(len(next(iter(given.values())))):
            alone = session.run(None, {name: value[row : row + 1] for name, value in given.items()})
            for one, every in zip(alone, whole, strict=True):
                mine = every[row : row + 1]
                if one.shape != mine.shape or not np.allclose(
                    one.astype(float), mine.astype(float), rtol=1e-4, atol=1e-5, equal_nan=True
                ):
                    return False
    except Exception:
        return False
    return True


def _exported(file: Path) -> Outcome:
    from harness.model.export import export
    from harness.schema.errors import HarnessError

    dynamic, began, said = file.stem.endswith("-dynamic"), time.monotonic(), ""
    batches = dynamic and _batches(file)
    try:
        artifact = export(file.name, base_dir=file.parent, progress=lambda _: None)
        ending, said = (SERVED if artifact.batching else ALONE), artifact.note or ""
    except HarnessError as error:
        ending, said = REFUSED, str(error)
        if "\n" in said or "bug in harness" in said:
            ending = FAILED
    except Exception:
        ending, said = FAILED, traceback.format_exc()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.monotonic() - began
    if held > LIMIT_BYTES or seconds > LIMIT_S:
        ending, said = SLOW, f"{seconds:.1f} s, {held / 1e9:.1f} GB"
    return Outcome(file.stem, dynamic, batches, ending, said, seconds)


def outcomes(files: list[Path], cache: Path) -> Iterator[Outcome]:
    """Of each file, from a process that is another one after each that ended badly."""
    waiting = list(files)
    while waiting:
        command = [sys.executable, "-m", "tests.bench.onnx_generator", "--export"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"HARNESS_CACHE": str(cache)},
        ) as child:  # fmt: skip
            assert child.stdin and child.stdout
            while waiting:
                file = waiting.pop(0)
                child.stdin.write(f"{file}\n")
                child.stdin.flush()
                ready, _, _ = select.select([child.stdout], [], [], 2 * LIMIT_S)
                line = child.stdout.readline() if ready else ""
                if line:
                    yield Outcome(**json.loads(line))
                    continue
                child.kill()
                ending = FAILED if not ready or child.wait() != -9 else SLOW
                said = "no answer" if not ready else f"ended with {child.wait()}"
                yield Outcome(
                    file.stem, file.stem.endswith("-dynamic"), False, SLOW if not ready else ending, said, 0
                )
                break
            child.stdin.close()


def table(found: list[Outcome]) -> str:
    """Markdown: how the models ended, and how those that can be batched did."""
    groups = (
        [o for o in found if not o.dynamic],
        [o for o in found if o.dynamic],
        [o for o in found if o.batches],
    )
    rows = [
        f"onnx {version('onnx')}, onnxruntime {_runtime()}; the slowest took "
        f"{max(o.seconds for o in found):.0f} s.",
        "",
        "| | as generated | first axis made dynamic | of these ONNX Runtime batches rightly |",
        "|---|---|---|---|",
    ]
    for ending in ENDINGS:
        rows.append(_row(ending, [sum(o.ending == ending for o in some) for some in groups]))
        if ending == REFUSED:
            whys = [[_why(o) for o in some] for some in groups]
            rows += [_row(f"… {why}", [some.count(why) for some in whys]) for why in REASONS]
    return "\n".join([*rows, _row("all", [len(some) for some in groups]), ""])


def wrong(found: list[Outcome]) -> list[str]:
    """A sentence for each model that ended as none should."""
    ends = [f"{o.name}: {o.ending} ({o.said})" for o in found if o.ending in (FAILED, SLOW)]
    return ends + [
        f"{o.name}: {o.ending}, and ONNX Runtime batches it rightly ({o.said})"
        for o in found
        if o.batches and o.ending in (ALONE, REFUSED)
    ]


def _row(words: str, counts: list[int]) -> str:
    return f"| {words} | {' | '.join(map(str, counts))} |"


def _why(outcome: Outcome) -> str | None:
    if outcome.ending != REFUSED:
        return None
    return next(why for why, words in REASONS.items() if re.search(words, outcome.said))


def _runtime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--export", action="store_true")
    options.add_argument("--write", type=Path)
    options.add_argument("--details", type=Path, help="where to keep each outcome, as JSON")
    options.add_argument("--only", default="", help="names that begin so")
    asked = options.parse_args()
    if asked.export:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(asdict(_exported(Path(line.strip())))) + "\n")
            sys.stdout.flush()
        return
    with tempfile.TemporaryDirectory() as scratch:
        files = [f for f in write_models(Path(scratch)) if f.name.startswith(asked.only)]
        found = list(outcomes(files, Path(scratch) / "cache"))
    if asked.details:
        asked.details.write_text(json.dumps([asdict(o) for o in found], indent=1))
    made = table(found)
    show_and_write(made, asked.write, BEGIN, END)
    if named := wrong(found):
        for line in named:
            TerminalConsole(stderr=True).print(line, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
