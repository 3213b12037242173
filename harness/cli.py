"""The command line: parse, wire, print, exit code. One short function a command."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import harness
from harness import cli_comparing, cli_history, terminal
from harness.cli_options import (
    All,
    DryRun,
    Dtype,
    GrpcCa,
    GrpcCert,
    GrpcKey,
    GrpcPort,
    GrpcTls,
    HeaderFile,
    HttpCa,
    HttpCert,
    HttpKey,
    Image,
    Json,
    Listen,
    ListenAddress,
    MetricsUrl,
    Model,
    ModelRepository,
    Network,
    Overrides,
    Probe,
    Repository,
    Results,
    Resume,
    Scenario,
    Server,
    ShmSize,
    Url,
    Workers,
)
from harness.lost_interrupt import raise_again
from harness.schema.errors import ExitCode, HarnessError, InputError

app = typer.Typer(
    name="harness",
    help="Measure a model behind NVIDIA Triton before it goes on GPUs.",
    epilog="Exit codes: 0 fine, 1 objective missed, 2 bad input, 3 measurement invalid or inconclusive, "
    "4 the server or harness failed.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_comparing.app)
app.add_typer(cli_history.app, name="history")

UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Click's own errors; some versions of typer bring a click of their own, hence through a subclass."""

EXPORT = ("onnx", "onnxscript", "safetensors", "tokenizers", "torch", "transformers")
"""What the extra `export` brings (pyproject.toml): only exporting a model takes it."""

INTERRUPTED_BY_TYPER = 130
"""What some versions of typer make of a KeyboardInterrupt."""


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is here, what is missing, and how to mend it."""
    from harness.commands import doctor as story

    report = story.examine()
    terminal.print_json(report) if as_json else story.show(report)
    raise typer.Exit(ExitCode.FINE if report.ready else ExitCode.FAILED)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that ship with harness."""
    from harness.commands import models as story

    listed = story.listed()
    terminal.print_json(listed) if as_json else story.show(listed)


@app.command()
def export(model: Model, dtype: Dtype = None, as_json: Json = False) -> None:
    """Export a model to ONNX and prove that it computes the same function."""
    from harness.commands import export as story

    artifact = story.export_model(model, Path.cwd(), dtype=dtype)
    terminal.print_json(artifact) if as_json else story.show(artifact)


@app.command()
def serve(
    model: Model,
    max_batch: Annotated[
        int, typer.Option(min=1, help="The largest batch that Triton makes (max_batch_size).")
    ] = 8,
    queue_delay_us: Annotated[
        int, typer.Option(min=0, help="How long a request waits at most for a larger batch.")
    ] = 0,
    instances: Annotated[int, typer.Option(min=1, help="How many instances of the model Triton runs.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="How many CPU threads an instance computes with.")] = 1,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port for HTTP; 0 takes any that is free.")
    ] = 8000,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port for gRPC; 0 takes any that is free.")
    ] = 8001,
    host: Annotated[
        str, typer.Option(help="The address to listen on; other machines reach any but loopback.")
    ] = "127.0.0.1",
    repository: Repository = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    dtype: Dtype = None,
    for_s: Annotated[
        float | None, typer.Option(help="Stop after this many seconds (default: go on until Ctrl-C).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve a model through Triton until Ctrl-C, on loopback unless --host says otherwise."""
    from harness.commands import serve as story
    from harness.measurement.target import ServerTarget

    target = ServerTarget.of(
        server, host=host, repository=repository, image=image, shm_size=shm_size, network=network
    )
    wanted = story.Wanted(
        model,
        dtype,
        story.settings(max_batch, queue_delay_us, instances, threads),
        http_port,
        grpc_port,
    )
    story.serve(wanted, Path.cwd(), target, for_s, terminal.print_json if as_json else None)


@app.command()
def run(
    what: Scenario = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In place of a scenario file, for a first look: a model that the server at --url has, or "
            "--model-repository.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="How many users ask --model all the time (default: 1, 4 and 16)."),
    ] = None,
    rate_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests a second to --model, in place of --concurrency.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    results: Results = Path("results"),
    model_repository: ModelRepository = None,
    repository: Repository = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    url: Url = None,
    grpc_port: GrpcPort = None,
    grpc_tls: GrpcTls = False,
    grpc_ca: GrpcCa = None,
    grpc_cert: GrpcCert = None,
    grpc_key: GrpcKey = None,
    http_ca: HttpCa = None,
    http_cert: HttpCert = None,
    http_key: HttpKey = None,
    header_file: HeaderFile = None,
    workers: Workers = None,
    listen: Listen = None,
    host: ListenAddress = None,
    probe: Probe = None,
    metrics_url: MetricsUrl = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """Measure a scenario; print a table, write a page, and end with an exit code."""
    from harness.commands import run as story

    overrides = [*overrides, *_load_of_model(model, concurrency, rate_per_s)]
    if dry_run:
        from harness.commands import dry_run as planning

        plan = harness.dry_run(what, overrides=overrides, workers=workers, url=url)
        terminal.print_json(plan) if as_json else planning.show(plan)
        return
    result = harness.run(
        what,
        model=model,
        overrides=overrides,
        results=results,
        workers=workers,
        resume=resume,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        url=url,
        grpc_port=grpc_port,
        grpc_tls=grpc_tls,
        grpc_ca=grpc_ca,
        grpc_cert=grpc_cert,
        http_ca=http_ca,
        http_cert=http_cert,
        http_key=http_key,
        header_file=header_file,
        grpc_key=grpc_key,
        listen=listen,
        host=host,
        model_repository=model_repository,
        repository=repository,
        probe=probe,
        metrics_url=metrics_url,
    )
    terminal.print_json(result) if as_json else story.show(result, everything=everything)
    raise typer.Exit(story.exit_code(result))


def _load_of_model(model: str | None, concurrency: int | None, rate_per_s: float | None) -> list[str]:
    """What --set would say of them."""
    given = {"concurrency": concurrency, "rate_per_s": rate_per_s}
    loads = [f"load={{{key}: {value}}}" for key, value in given.items() if value is not None]
    if loads and model is None:
        raise InputError("--concurrency and --rate-per-s are of --model: a scenario has `load`, and --set")
    if len(loads) > 1:
        raise InputError("--concurrency and --rate-per-s are two loads: give one of them")
    return loads


@app.command()
def init(
    model: Annotated[str, typer.Argument(help="The model's name on the server, or in the repository.")],
    url: Url = None,
    model_repository: ModelRepository = None,
    model_version: Annotated[
        int | None, typer.Option(min=1, help="Its version (default: the one that the server chooses).")
    ] = None,
    folder: Annotated[Path, typer.Option(help="The folder that the scenario is written into.")] = Path(
        "scenarios"
    ),
    http_ca: HttpCa = None,
    http_cert: HttpCert = None,
    http_key: HttpKey = None,
    header_file: HeaderFile = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    host: ListenAddress = None,
) -> None:
    """Write a scenario for a model that a server has; it can be run as it is written."""
    written = harness.init(
        model,
        version=model_version,
        folder=folder,
        http_ca=http_ca,
        http_cert=http_cert,
        http_key=http_key,
        header_file=header_file,
        url=url,
        model_repository=model_repository,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        host=host,
    )
    terminal.say(f"wrote {written}")


@app.command()
def tune(
    what: Scenario = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="How long the search may take (default: tune.minutes of the scenario, 10)."),
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    results: Results = Path("results"),
    model_repository: ModelRepository = None,
    repository: Repository = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    workers: Workers = None,
    listen: Listen = None,
    host: ListenAddress = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Find the server configuration that serves most under the scenario's objective, and prove it."""
    from harness.commands import tune as story

    result = harness.tune(
        what,
        minutes=minutes,
        overrides=overrides,
        results=results,
        workers=workers,
        resume=resume,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        listen=listen,
        host=host,
        model_repository=model_repository,
        repository=repository,
    )
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result))


@app.command()
def plan(
    what: Scenario = None,
    sources: Annotated[
        list[Path],
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="A run's or a search's folder to plan by (default: the newest of the scenario). May be "
            "given several times.",
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    rate_per_s: Annotated[
        float | None,
        typer.Option(
            min=0, help="Requests a second at the busiest time (default: the demand of the scenario's plan)."
        ),
    ] = None,
    hardware: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A YAML file with prices and power (default: plan.hardware of the scenario)."
        ),
    ] = None,
    observe: Annotated[
        bool, typer.Option("--observe", help="First measure what the plan needs to know and lacks.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Then measure whether a replica does what was predicted.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    results: Results = Path("results"),
    model_repository: ModelRepository = None,
    repository: Repository = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    workers: Workers = None,
    listen: Listen = None,
    host: ListenAddress = None,
    as_json: Json = False,
) -> None:
    """Say how many replicas hold the scenario's objective under a demand, by what was measured."""
    from harness.commands import plan as story

    result = harness.plan(
        what,
        sources=sources,
        rate_per_s=rate_per_s,
        hardware=hardware,
        observe=observe,
        verify=verify,
        overrides=overrides,
        results=results,
        workers=workers,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        listen=listen,
        host=host,
        model_repository=model_repository,
        repository=repository,
    )
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result))


@app.command()
def worker(
    master: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="Where the run waits, as its --listen says.")
    ],
    once: Annotated[bool, typer.Option("--once", help="End after the first point.")] = False,
) -> None:
    """Send load for `harness run --listen` on another machine, point by point, until Ctrl-C."""
    from harness.commands import worker as story

    story.work(master, once=once)


@app.command()
def probe(
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record what the GPUs' driver answers, for a minute or --for-s."),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve readings of this machine to `harness run --probe` until Ctrl-C.",
        ),
    ] = None,
    pid: Annotated[
        list[int],
        typer.Option(
            help="The server's process, with --serve; may be repeated (default: every tritonserver)."
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    for_s: Annotated[
        float | None, typer.Option(min=0, help="Stop after this many seconds (default: until Ctrl-C).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what this machine's GPUs report: now, over a while, or to a run that another machine leads."""
    from harness.commands import probe as story

    story.check(record, serve, pid, for_s, as_json=as_json)
    if record is not None:
        story.record(record, for_s)
    elif serve is not None:
        story.serve(serve, pid, for_s)
    else:
        seen = story.look()
        terminal.print_json(seen) if as_json else story.show(seen)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    everything: All = False,
    as_json: Json = False,
) -> None:
    """Derive a run's figures again from its raw samples, and rebuild its page and files."""
    from harness.commands import report as story
    from harness.commands import run as run_story

    result = story.rebuild(run_folder)
    terminal.print_json(result) if as_json else run_story.show(result, everything=everything)


@app.command()
def calibrate(
    parts: Annotated[
        list[str],
        typer.Option(
            "--part",
            metavar="PART",
            help="Measure only this part: truth, coverage, against or noise. May be given several times.",
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    against: Annotated[
        str | None,
        typer.Option(metavar="perf_analyzer", help="Compare with perf_analyzer only, and print the ratios."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the page to this file, e.g. docs/accuracy.md.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep each part in this file as soon as it is whole, and measure only parts that aren't "
            "there yet or that --part names.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure for minutes instead of two hours.")] = False,
    as_json: Json = False,
) -> None:
    """Measure harness itself: against known truths, and against perf_analyzer."""
    from harness.commands import calibrate as story

    found = story.calibrate(story.chosen(parts, against), quick=quick, record=record)
    terminal.print_json(story.document(found, against)) if as_json else story.show(found)
    if write is not None:
        story.write_page(found, write)
    raise typer.Exit(story.exit_code(found))


@app.command()
def gpu_check(
    results: Results = Path("results"),
    repository: Repository = None,
    write: Annotated[Path | None, typer.Option(help="Write the page to this file, e.g. docs/gpu.md.")] = None,
    as_json: Json = False,
) -> None:
    """Check that harness measures this machine's GPU right, in a few minutes, and keep the evidence."""
    from harness.commands import gpu_check as story

    command = "harness gpu-check" + ("" if write is None else f" --write {write}")
    found = story.gpu_check(results=results, command=command, repository=repository)
    if write is not None:
        story.write_page(found, write)
    terminal.print_json(found) if as_json else story.show(found)
    raise typer.Exit(story.exit_code(found))


@app.command()
def schema() -> None:
    """Print the JSON schema of a scenario file, for editors."""
    from harness.store.scenario_file import json_schema

    terminal.print_lines(json_schema())


def _version(wanted: bool) -> None:
    if wanted:
        terminal.say(f"harness {harness.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback has acted
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        terminal.print_lines(f"{context.get_help()}\n")


def main() -> NoReturn:
    """Run the command line. Every failure that a user can cause ends here, in one sentence on stderr."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _terminated)
    with terminal.guarded():
        raise_again(signal.SIGTERM)  # SIGINT may be ignored, as in the background of a script
        code = _ended()
    sys.exit(code)


def _ended() -> int:
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED_BY_TYPER:
            raise KeyboardInterrupt
        if code and "--install-completion" in sys.argv:  # Typer knows no completion for this shell
            code = _no_completion()
        sys.stdout.flush()
    except HarnessError as error:
        code = _fail(*error.args, code=error.exit_code)
    except typer.Exit as error:  # raised through standalone_mode=False by some versions of click
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(
            "interrupted; finished points are kept, and `harness run --resume` or `harness tune --resume` "
            "goes on from there",
            code=ExitCode.FAILED,
        )
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        brings = (
            "pip install 'harness[export]'" if package in EXPORT else "pip install --force-reinstall harness"
        )
        remedy = f"run `{brings}` with the Python that runs harness, {sys.executable}"
        code = _fail(f"the package {package} is not installed here: {remedy}", code=ExitCode.FAILED)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context else ""
        code = _fail(f"{error.format_message().rstrip('.')}{hint}", code=ExitCode.BAD_INPUT)
    except (
        Exception
    ) as error:  # not the user's mistake but ours: all of it is shown, and 1 means something else
        if isinstance(error, OSError) and "--install-completion" in sys.argv:
            return _not_installed(error)
        terminal.tell_lines(traceback.format_exc())
        code = _fail(
            f"a bug in harness: {type(error).__name__}; report it with what stands above",
            code=ExitCode.FAILED,
        )
    return int(code or 0)


def _not_installed(error: OSError) -> ExitCode:
    where = f" into {error.filename}" if error.filename else ""
    return _fail(
        f"the completion can't be written{where} ({error.strerror}): `harness --show-completion` prints it, "
        "to be put where your shell looks",
        code=ExitCode.FAILED,
    )


def _no_completion() -> ExitCode:
    return _fail(
        "a completion can be installed for bash, zsh, fish and PowerShell: run "
        "`harness --install-completion` from one of them",
        code=ExitCode.FAILED,
    )


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(sentence: str, *more: str, code: ExitCode) -> ExitCode:
    terminal.tell(f"harness: {sentence}")
    for each in more:
        terminal.tell(each)
    return code
