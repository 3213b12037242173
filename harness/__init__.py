"""Measure a model behind NVIDIA Triton before it goes on GPUs.

What the command line does can be called from Python: `run`, `resume`, `rebuild`, `export_model`, `serve`,
`examine` (what `harness doctor` prints). Each raises `HarnessError`, one sentence with the remedy. Imports
are made when a function is called: `import harness` stays cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.schema.errors import HarnessError, InputError, ServerError

if TYPE_CHECKING:
    from harness.commands.doctor import Report
    from harness.commands.serve import Serving
    from harness.schema.model import ModelArtifact
    from harness.schema.result import RunResult
    from harness.schema.scenario import Dtype

__version__ = "0.1.0"

__all__ = [
    "HarnessError",
    "InputError",
    "ServerError",
    "examine",
    "export_model",
    "rebuild",
    "resume",
    "run",
    "serve",
]


def run(
    scenario: str | Path,
    *,
    overrides: Sequence[str] = (),
    results: str | Path = "results",
    server: str | None = None,
    image: str | None = None,
    url: str | None = None,
    grpc_port: int | None = None,
    quiet: bool = False,
) -> RunResult:
    """Measure a scenario file into a new folder under `results`.

    `overrides` are `path=value` as in `--set`; `server` and `image` say how Triton is started, as `--server`
    and `--image`; `url` is one that is already running, and `grpc_port` its gRPC port. Progress goes to
    stderr unless `quiet`.
    """
    from harness.commands import run as story
    from harness.commands.deployment import ServerTarget
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    loaded = story.load(Path(scenario), overrides, progress=progress)
    target = ServerTarget.of(server, url=url, grpc_port=grpc_port, image=image)
    return story.run(loaded, results=Path(results), target=target, progress=progress)


def resume(run_folder: str | Path, *, quiet: bool = False) -> RunResult:
    """Go on with a run that was cut off; finished points are not measured again."""
    from harness.commands import run as story
    from harness.commands.progress import Progress

    return story.resume(Path(run_folder), progress=Progress(quiet=quiet))


def rebuild(run_folder: str | Path) -> RunResult:
    """Derive a run's figures again from its raw samples, and rebuild its page and files."""
    from harness.commands import report as story

    return story.rebuild(Path(run_folder))


def export_model(model: str, *, base_dir: str | Path = ".", dtype: Dtype | None = None) -> ModelArtifact:
    """Export a model to ONNX and prove it, or take it from the cache. `dtype`: what it shall compute with."""
    from harness.commands import export as story

    return story.export_model(model, Path(base_dir), dtype=dtype)


@contextmanager
def serve(
    model: str,
    *,
    max_batch: int = 8,
    queue_delay_us: int = 0,
    instances: int = 1,
    threads: int = 1,
    dtype: Dtype | None = None,
) -> Iterator[Serving]:
    """Serve a model on loopback, on free ports, for the time of the block."""
    from harness.commands import serve as story
    from harness.commands.progress import Progress

    wanted = story.Wanted(model, dtype, story.settings(max_batch, queue_delay_us, instances, threads))
    with story.serving(wanted, Path(), Progress(quiet=True)) as (at, _):
        yield at


def examine() -> Report:
    """What is here, what is missing, and how to mend it."""
    from harness.commands import doctor as story

    return story.examine()
