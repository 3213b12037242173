"""Measure a model behind NVIDIA Triton before it goes on GPUs.

What the command line does can be called from Python: `run`, `dry_run`, `resume`, `tune`, `plan`, `ab`,
`bisect`, `nightly`, `compare`, `rebuild`, `history`, `trend`, `site`, `mlflow`, `export_model`, `serve`,
`examine` (what `harness doctor` prints); `samples` gives the requests of a point. Each raises `HarnessError`,
one sentence with the remedy. Imports are made when a function is called: `import harness` stays cheap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from harness.schema.errors import HarnessError, InputError, ServerError

if TYPE_CHECKING:
    import pandas as pd

    from harness.commands.doctor import Report
    from harness.commands.dry_run import Plan
    from harness.commands.samples import PhaseName
    from harness.commands.serve import Serving
    from harness.measurement.testbed import Testbed
    from harness.schema.ab_result import Comparison
    from harness.schema.bisect_result import Bisection
    from harness.schema.compare_result import HardwareComparison
    from harness.schema.history_result import Filters, History, RunFilters, Trend
    from harness.schema.model import ModelArtifact
    from harness.schema.night_result import Baseline, Night
    from harness.schema.plan_result import PlanResult
    from harness.schema.result import PointResult, RunResult
    from harness.schema.scenario import Dtype
    from harness.schema.served_model import Served
    from harness.schema.site_result import Site
    from harness.schema.tune_result import TuneResult

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime's own builds send telemetry to Microsoft unless this is set before it is loaded (its
Privacy.md), here and in what is started from here."""

__all__ = [
    "HarnessError",
    "InputError",
    "ServerError",
    "ab",
    "bisect",
    "compare",
    "dry_run",
    "examine",
    "export_model",
    "history",
    "init",
    "mlflow",
    "nightly",
    "plan",
    "rebuild",
    "resume",
    "run",
    "samples",
    "serve",
    "site",
    "trend",
    "tune",
]


class Options(TypedDict, total=False):
    """What a run is measured with: the options of `harness run` of the same names."""

    server: str | None
    """How Triton is started: "embedded", "binary", "docker", or a mode that another package adds."""
    image: str | None
    shm_size: str | None
    network: str | None
    url: str | None
    """A Triton that is already running, in place of one that is started."""
    grpc_port: int | None
    grpc_tls: bool
    grpc_ca: str | Path | None
    grpc_cert: str | Path | None
    grpc_key: str | Path | None
    http_ca: str | Path | None
    http_cert: str | Path | None
    http_key: str | Path | None
    header_file: str | Path | None
    """Headers that go with every request to `url`, a line each; left out: those of the environment variable
    HARNESS_HEADERS."""
    listen: str | None
    host: str | None
    repository: str | Path | None
    model_repository: str | Path | None
    """A repository of the user's, which is served and only read."""
    probe: str | None
    metrics_url: str | None


def init(
    model: str,
    *,
    version: int | None = None,
    folder: str | Path = "scenarios",
    quiet: bool = False,
    **options: Unpack[Options],
) -> Path:
    """Write a scenario for a model that the server at `url`, or `model_repository`, has, as `harness init`
    does; its path. Nothing is overwritten. Raises HarnessError."""
    from harness.commands import init as story
    from harness.commands.progress import Progress
    from harness.measurement.testbed import Testbed

    return story.init(
        _served(model, version), Testbed.of(**options), folder=Path(folder), progress=Progress(quiet=quiet)
    )


def _served(model: str, version: int | None = None) -> Served:
    from harness.schema.served_model import Served

    try:
        return Served(served=model, version=version)
    except ValueError as error:
        raise InputError(
            f"{model[:60]!r} can't be the name of a model in Triton: see `harness init --help`"
        ) from error


def run(
    what: str | Path | None,
    *,
    model: str | None = None,
    overrides: Sequence[str] = (),
    results: str | Path = "results",
    workers: int | None = None,
    resume: bool = False,
    quiet: bool = False,
    **options: Unpack[Options],
) -> RunResult:
    """Measure a scenario file into a new folder under `results`, as `harness run` does.

    `what`: the scenario file; with `resume`, it or a run's folder, or None: the latest run that was cut off.
    `model`: in place of a file, a model that the server at `url`, or `model_repository`, has; the scenario
    that is measured then is told.
    `overrides` are `path=value` as in `--set`, `workers` are the load processes that share the load. Progress
    goes to stderr unless `quiet`. Raises HarnessError; the points that were measured until then are kept.
    """
    from harness.commands import run as story
    from harness.commands.progress import Progress
    from harness.measurement.testbed import Testbed

    progress, testbed = Progress(quiet=quiet), Testbed.of(**options)
    file = None if what is None else Path(what)
    overrides = _overrides(overrides, workers)
    if resume:
        return story.resume(file, testbed, results=Path(results), overrides=overrides, progress=progress)
    as_loaded = not testbed.target.starts
    if model is not None:
        if file is not None:
            raise InputError("--model is in place of a scenario file: leave one of them out")
        loaded = story.first_look(_served(model), testbed, overrides, progress)
    else:
        loaded = story.load(file, overrides, progress=progress, as_loaded=as_loaded)
    return story.run(loaded, testbed, results=Path(results), progress=progress)


def resume(run_folder: str | Path, *, quiet: bool = False, **options: Unpack[Options]) -> RunResult:
    """Go on with a run that was cut off; finished points are not measured again."""
    return run(run_folder, resume=True, quiet=quiet, **options)


def tune(
    what: str | Path | None,
    *,
    minutes: float | None = None,
    overrides: Sequence[str] = (),
    results: str | Path = "results",
    workers: int | None = None,
    resume: bool = False,
    quiet: bool = False,
    **options: Unpack[Options],
) -> TuneResult:
    """Search the configurations of a scenario file for the best one, as `harness tune` does.

    `what`, `overrides`, `results`, `workers`, `quiet` and the options are as in `run`; with `resume` it is
    the file, a search's folder, or None: the latest search that was cut off. `minutes`: the budget, in place
    of the scenario's `tune.minutes`. Raises HarnessError; what was measured until then is kept.
    """
    from harness.commands import run as running
    from harness.commands import tune as story
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    testbed = _on_own_servers("a search configures a server of its own", options)
    file = None if what is None else Path(what)
    asked = _overrides(overrides, workers)
    if resume:
        return story.resume(
            file, testbed, results=Path(results), overrides=asked, minutes=minutes, progress=progress
        )
    loaded = running.load(file, asked, progress=progress)
    return story.tune(loaded, testbed, minutes=minutes, results=Path(results), progress=progress)


def ab(
    baseline: str | Path,
    candidate: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    candidate_overrides: Sequence[str] = (),
    candidate_server: str | None = None,
    candidate_image: str | None = None,
    candidate_url: str | None = None,
    candidate_grpc_port: int | None = None,
    minutes_per_point: float | None = None,
    apart: bool = False,
    results: str | Path = "results",
    workers: int | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Comparison:
    """Compare two scenario files on this machine, loaded in turns, as `harness ab` does.

    `candidate`: left out, the baseline's file. `overrides` are of both, `candidate_overrides` of the one
    besides. `candidate_server`, `candidate_image`, `candidate_url` and `candidate_grpc_port`: in place of
    those without `candidate_`, for the candidate; it is asked at `url` too where none of them is given.
    `minutes_per_point`: in place of the baseline's `regression.minutes_per_point`. `apart`: one after the
    other, where two servers have no room side by side. The rest is as in `run`. Raises HarnessError; what was
    measured until then is kept.
    """
    from harness.commands import ab as story
    from harness.commands import run as running
    from harness.commands.comparing.side_options import sides_of
    from harness.commands.progress import Progress
    from harness.measurement.testbed import Testbed

    progress = Progress(quiet=quiet)
    both = _overrides(overrides, workers)
    other = baseline if candidate is None else candidate
    theirs = {
        "server": candidate_server,
        "image": candidate_image,
        "url": candidate_url,
        "grpc_port": candidate_grpc_port,
    }
    changed = {name: value for name, value in theirs.items() if value is not None}
    of_baseline, of_candidate = sides_of(options, changed)
    testbed, candidate_testbed = Testbed.of(**of_baseline), Testbed.of(**of_candidate)
    return story.ab(
        running.load(Path(baseline), both, progress=progress, as_loaded=not testbed.target.starts),
        running.load(
            Path(other),
            [*both, *candidate_overrides],
            progress=progress,
            as_loaded=not candidate_testbed.target.starts,
        ),
        testbed,
        candidate_testbed=candidate_testbed,
        minutes_per_point=minutes_per_point,
        in_turns=not apart,
        results=Path(results),
        progress=progress,
    )


def bisect(
    scenario: str | Path,
    commits: str,
    *,
    overrides: Sequence[str] = (),
    minutes_per_point: float | None = None,
    apart: bool = False,
    results: str | Path = "results",
    workers: int | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Bisection:
    """Find the first commit whose build of a scenario is worse, as `harness ab --bisect` does.

    `commits`: "GOOD..BAD", of the repository that the scenario lies in. The rest is as in `ab`. Raises
    HarnessError; what was measured until then is kept.
    """
    from harness.commands import bisect as story
    from harness.commands import run as running
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    testbed = _on_own_servers("a comparison starts servers of its own", options)
    return story.bisect(
        running.load(Path(scenario), _overrides(overrides, workers), progress=progress),
        commits,
        testbed,
        minutes_per_point=minutes_per_point,
        in_turns=not apart,
        results=Path(results),
        progress=progress,
    )


def nightly(
    scenario: str | Path,
    *,
    accept: str | None = None,
    overrides: Sequence[str] = (),
    minutes_per_point: float | None = None,
    apart: bool = False,
    results: str | Path = "results",
    workers: int | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Night | Baseline:
    """Compare a scenario's build with its baseline, as `harness nightly` does; without one, it becomes it.

    `accept`: a reason, with which the newest night's candidate becomes the baseline, which is then returned;
    nothing is measured. The rest is as in `ab`. Raises HarnessError; what was measured until then is kept.
    """
    from harness.commands import nightly as story
    from harness.commands import run as running
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    testbed = _on_own_servers("a night starts servers of its own", options)
    loaded = running.load(Path(scenario), _overrides(overrides, workers), progress=progress)
    if accept is not None:
        kept = story.accept(loaded, accept, testbed, results=Path(results), progress=progress)
        return kept.baseline
    return story.nightly(
        loaded,
        testbed,
        minutes_per_point=minutes_per_point,
        in_turns=not apart,
        results=Path(results),
        progress=progress,
    )


def plan(
    what: str | Path | None,
    *,
    sources: Sequence[str | Path] = (),
    rate_per_s: float | None = None,
    hardware: str | Path | None = None,
    observe: bool = False,
    verify: bool = False,
    overrides: Sequence[str] = (),
    results: str | Path = "results",
    workers: int | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> PlanResult:
    """Say how many replicas hold the objective of a scenario file, as `harness plan` does.

    `sources`: folders of runs and searches that measured it; none: the newest of the scenario under
    `results`, where the plan gets a folder, too. `rate_per_s`: requests a second at the busiest time, in
    place of the demand of the scenario's `plan`; `hardware`: a file with prices and power, in place of its
    `plan.hardware`. `observe`: first measure what the plan lacks; `verify`: then measure whether one replica
    does what was predicted. The rest is as in `run`. Raises HarnessError; what was measured is kept.
    """
    from harness.commands import plan as story
    from harness.commands import run as running
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    testbed = _on_own_servers("a plan measures a configuration on a server of its own", options)
    asked = _overrides(overrides, workers)
    loaded = running.load(None if what is None else Path(what), asked, progress=progress)
    return story.plan(
        loaded,
        testbed,
        [Path(source) for source in sources],
        rate_per_s=rate_per_s,
        hardware=None if hardware is None else Path(hardware),
        observe=observe,
        verify=verify,
        results=Path(results),
        progress=progress,
    )


def compare(
    *runs: str | Path,
    allow: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
    hardware: str | Path | None = None,
    results: str | Path = "results",
    quiet: bool = False,
) -> HardwareComparison:
    """Compare what machines serve of one scenario, as `harness compare` does; the first is the reference.

    `runs`: folders of runs and searches, or their names under `results`, where the comparison gets a folder,
    too. `allow`: reasons for which an unfair comparison is let through and marked. `prices`: of an hour of a
    machine, by a part of its name; `hardware`: a file with prices. Raises InputError for what can't be
    compared, or not fairly.
    """
    from harness.commands import compare as story
    from harness.commands.progress import Progress

    return story.compare(
        runs,
        allow=allow,
        prices=prices,
        hardware=None if hardware is None else Path(hardware),
        results=Path(results),
        progress=Progress(quiet=quiet),
    )


def dry_run(
    scenario: str | Path | None,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    url: str | None = None,
) -> Plan:
    """The points of a scenario file and the expected time; nothing is measured, and none of its code runs.

    `url` is not asked; on a server that already runs, points are other ones where the scenario leaves
    settings out.
    """
    from harness.commands import dry_run as planning
    from harness.commands import run as story

    file = None if scenario is None else Path(scenario)
    asked = _overrides(overrides, workers)
    return planning.plan(story.load(file, asked, only_look=True, as_loaded=url is not None))


def history(
    results: str | Path = "results",
    *,
    limit: int | None = None,
    reindex: bool = False,
    quiet: bool = False,
    **filters: Unpack[Filters],
) -> History:
    """The runs in a results folder, the newest first, as `harness history` lists them.

    The filters are as there; `limit`: None lists all. What can't be counted is in `skipped`. Raises
    HarnessError.
    """
    from harness.commands import history as story
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    return story.history(Path(results), limit=limit, anew=reindex, progress=progress, **filters)


def trend(
    scenario: str,
    metric: str = "p99",
    results: str | Path = "results",
    *,
    point: str | None = None,
    quiet: bool = False,
    **filters: Unpack[RunFilters],
) -> Trend:
    """A figure of a scenario's valid points over time, as `harness history trend` prints it.

    A series is one point with one model on one machine, its values the oldest first. Raises HarnessError.
    """
    from harness.commands import history as story
    from harness.commands.progress import Progress

    progress = Progress(quiet=quiet)
    return story.trend(scenario, metric, Path(results), point=point, progress=progress, **filters)


def site(
    results: str | Path = "results",
    *,
    to: str | Path | None = None,
    copy_pages: bool = False,
    quiet: bool = False,
) -> Site:
    """Write pages of all runs in a results folder, as `harness site` does, in place of an earlier site.

    `to`: the site's folder; left out, `site` in `results`. `copy_pages`: each run's own page is copied into
    it; else they are linked where the site lies in `results`. Raises HarnessError.
    """
    from harness.commands import site as story
    from harness.commands.progress import Progress

    return story.site(
        Path(results),
        None if to is None else Path(to),
        copy_pages=copy_pages,
        progress=Progress(quiet=quiet),
    )


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from harness.version import version

    return version()


def _on_own_servers(why: str, options: Options) -> Testbed:
    """Raises InputError, which begins with `why`, where the options name a server that runs already."""
    from harness.measurement.testbed import Testbed

    testbed = Testbed.of(**options)
    if not testbed.target.starts:
        raise InputError(f"{why}: leave out url")
    return testbed


def _overrides(overrides: Sequence[str], workers: int | None) -> list[str]:
    return [*overrides, *([] if workers is None else [f"load.workers={workers}"])]


def rebuild(run_folder: str | Path) -> RunResult:
    """Derive a run's figures again from its raw samples, and rebuild its page and files."""
    from harness.commands import report as story

    return story.rebuild(Path(run_folder))


def mlflow(
    folder: str | Path,
    *,
    experiment: str = "harness",
    tracking_uri: str | None = None,
    register_model: str | None = None,
    quiet: bool = False,
) -> str:
    """Tell an MLflow server of the result in a folder, as `harness mlflow` does; the address of its page.

    `tracking_uri`: left out, the environment variable MLFLOW_TRACKING_URI. `register_model`: the name of a
    registered model that the measured ONNX file becomes a version of. Raises HarnessError.
    """
    from harness.commands import mlflow as story
    from harness.commands.progress import Progress

    return story.mlflow(
        Path(folder),
        experiment=experiment,
        uri=tracking_uri,
        register_model=register_model,
        progress=Progress(quiet=quiet),
    )


def samples(
    run: RunResult | str | Path, point: PointResult | str, *, phase: PhaseName = "measure"
) -> pd.DataFrame:
    """The requests of one point: a row each, in the order in which they were due. Nothing is written.

    `run` is a result or a run's folder; `point` is a point of it, its id or the beginning of that, or its
    label in the table; `phase` is "measure" or "warmup". The columns:

    - `request` (the class), `status` (`ok`, `refused`, `connection`, `timeout`, `protocol`) and `reason` (of
      a failure, in words; otherwise missing) are categories;
    - `scheduled_s`, `sent_s`, `first_byte_s` and `completed_s` are seconds from the start of the measured
      window, so that those of a warm-up are negative; `first_byte_s` is NaN where no answer came;
    - `latency_s` are seconds from when the request was due to its last byte, NaN where it failed;
    - `request_bytes` and `response_bytes` are sizes on the wire, headers included;
    - `load_process` is the number of the load process that sent it;
    - `replica`, where the load was spread over several servers, is the address of the one that it went to.

    The latency figures of a result are of the successes at `point.steady_state.counted`, a slice.
    """
    from harness.commands import samples as story

    return story.samples(run, point, phase=phase)


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
