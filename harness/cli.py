"""The command line: parse, wire, print, exit code. One short function a command."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from harness import __version__, terminal
from harness.schema.errors import ExitCode, HarnessError

app = typer.Typer(
    name="harness",
    help="Measure a model behind NVIDIA Triton before it goes on GPUs.",
    epilog="Exit codes: 0 fine, 1 objective missed, 2 bad input, 3 measurement invalid or inconclusive, "
    "4 the server or harness failed.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Click's own errors; some versions of typer bring a click of their own, hence through a subclass."""

INTERRUPTED_BY_TYPER = 130
"""What some versions of typer make of a KeyboardInterrupt."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Results = Annotated[Path, typer.Option("--results", help="Folder that runs are kept in.")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a key, e.g. server.max_batch=[1,8]. Repeatable."
    ),
]
MODEL_HELP = "What `harness models` lists, an .onnx file, a Hugging Face folder, or package.module:factory."
Model = Annotated[str, typer.Argument(help=MODEL_HELP)]
ServerOption = Annotated[
    str | None,
    typer.Option("--server", metavar="MODE", help="How Triton is started: embedded, binary or docker."),
]
ImageOption = Annotated[
    str | None, typer.Option("--image", metavar="NAME@sha256:…", help="With docker: the container's image.")
]
ShmSizeOption = Annotated[
    str | None,
    typer.Option("--shm-size", metavar="SIZE", help="With docker: of its /dev/shm, 1g unless told."),
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--network", help="With docker: bridge, or host to be without the engine's proxy."),
]
DtypeOption = Annotated[
    Literal["fp32", "fp16"] | None,
    typer.Option("--dtype", help="The numbers it computes with; left out: as the model is."),
]


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is here, what is missing, and how to mend it."""
    from harness.commands import doctor as story

    report = story.examine()
    terminal.print_json(report) if as_json else story.show(report)
    raise typer.Exit(ExitCode.FINE if report.ready else ExitCode.FAILED)


@app.command()
def models(as_json: Json = False) -> None:
    """The models that ship with harness."""
    from harness.commands import models as story

    listed = story.listed()
    terminal.print_json(listed) if as_json else story.show(listed)


@app.command()
def export(model: Model, dtype: DtypeOption = None, as_json: Json = False) -> None:
    """Export a model to ONNX and prove that it computes the same function."""
    from harness.commands import export as story

    artifact = story.export_model(model, Path.cwd(), dtype=dtype)
    terminal.print_json(artifact) if as_json else story.show(artifact)


@app.command()
def serve(
    model: Model,
    max_batch: Annotated[int, typer.Option(min=1, help="max_batch_size.")] = 8,
    queue_delay_us: Annotated[int, typer.Option(min=0, help="Longest wait for a larger batch.")] = 0,
    instances: Annotated[int, typer.Option(min=1, help="Copies of the model.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of one instance.")] = 1,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="0 finds a free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 finds a free one.")] = 8001,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines reach all but loopback.")
    ] = "127.0.0.1",
    server: ServerOption = None,
    image: ImageOption = None,
    shm_size: ShmSizeOption = None,
    network: NetworkOption = None,
    dtype: DtypeOption = None,
    for_s: Annotated[float | None, typer.Option(help="Stop after this many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Serve a model through Triton until Ctrl-C, on loopback unless --host says otherwise."""
    from harness.commands import serve as story
    from harness.measurement.target import ServerTarget

    target = ServerTarget.of(server, host=host, image=image, shm_size=shm_size, network=network)
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
    what: Annotated[
        Path | None,
        typer.Argument(metavar="[SCENARIO]", help="A scenario file; with --resume, it or a run's folder."),
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    results: Results = Path("results"),
    server: ServerOption = None,
    image: ImageOption = None,
    shm_size: ShmSizeOption = None,
    network: NetworkOption = None,
    url: Annotated[
        str | None, typer.Option(help="A Triton that is already running, e.g. http://127.0.0.1:8000.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Its gRPC port, for scenarios over gRPC.")] = None,
    grpc_tls: Annotated[bool, typer.Option("--grpc-tls", help="Its gRPC port speaks TLS.")] = False,
    grpc_ca: Annotated[
        Path | None, typer.Option(help="The CA of its TLS, a PEM file; else the system's.")
    ] = None,
    grpc_cert: Annotated[
        Path | None, typer.Option(help="A certificate for it, where it asks for one.")
    ] = None,
    grpc_key: Annotated[Path | None, typer.Option(help="The private key of --grpc-cert.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Load processes that share the load: load.workers.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS[:PORT]",
            help="Await the load processes here: `harness worker` on other machines.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address its own Triton listens on, for load processes of other machines; else loopback.",
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]", help="`harness probe --serve` on the machine of --url: its GPUs and CPU."
        ),
    ] = None,
    metrics_url: Annotated[
        str | None,
        typer.Option(help="Its metrics, for its GPUs where no probe is, e.g. http://HOST:8002/metrics."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a run that was cut off: the last one, or the one named."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the points and the expected time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a scenario: a table, a page, an exit code."""
    from harness.commands import run as story
    from harness.measurement.testbed import Testbed

    if workers is not None:
        overrides = [*overrides, f"load.workers={workers}"]
    if dry_run:
        from harness.commands import dry_run as planning

        plan = planning.plan(story.load(what, overrides, only_look=True))
        terminal.print_json(plan) if as_json else planning.show(plan)
        return
    testbed = Testbed.of(
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        url=url,
        grpc_port=grpc_port,
        grpc_tls=grpc_tls,
        grpc_ca=grpc_ca,
        grpc_cert=grpc_cert,
        grpc_key=grpc_key,
        listen=listen,
        host=host,
        probe=probe,
        metrics_url=metrics_url,
    )
    if resume:
        result = story.resume(what, testbed, results=results, overrides=overrides)
    else:
        result = story.run(story.load(what, overrides), testbed, results=results)
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result))


@app.command()
def worker(
    master: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="The machine of the run, as its --listen says.")
    ],
    once: Annotated[bool, typer.Option("--once", help="End with the first point.")] = False,
) -> None:
    """Send load for `harness run --listen` on another machine, point by point, until Ctrl-C."""
    from harness.commands import worker as story

    story.work(master, once=once)


@app.command()
def probe(
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what NVML answers, for a minute or --for-s.")
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve readings to `harness run --probe` until Ctrl-C."),
    ] = None,
    pid: Annotated[
        list[int],
        typer.Option(help="With --serve: the server's process. Repeatable; left out: every tritonserver."),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    for_s: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """What NVML sees of this machine's GPUs: now, over a while, or for a run that is led from elsewhere."""
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
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: Json = False,
) -> None:
    """Derive a run's figures again from its raw samples, and rebuild its page and files."""
    from harness.commands import report as story
    from harness.commands import run as run_story

    result = story.rebuild(run_folder)
    terminal.print_json(result) if as_json else run_story.show(result)


@app.command()
def calibrate(
    parts: Annotated[
        list[str],
        typer.Option(
            "--part", metavar="PART", help="truth, coverage, against or noise. Repeatable; left out: all."
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    against: Annotated[
        str | None, typer.Option(metavar="perf_analyzer", help="Only this comparison, as its ratios.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the page, e.g. docs/accuracy.md.")] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep each part in this file as soon as it is whole, and measure only what isn't there yet "
            "or is named by --part.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes instead of two hours.")] = False,
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
    write: Annotated[Path | None, typer.Option(help="Write the page, e.g. docs/gpu.md.")] = None,
    as_json: Json = False,
) -> None:
    """Check that harness measures this machine's GPU right, in a few minutes, and keep the evidence."""
    from harness.commands import gpu_check as story

    command = "harness gpu-check" + ("" if write is None else f" --write {write}")
    found = story.gpu_check(results=results, command=command)
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
        terminal.say(f"harness {__version__}")
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
    with terminal.guarded():
        code = _ended()
    sys.exit(code)


def _ended() -> int:
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED_BY_TYPER:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except HarnessError as error:
        code = _fail(*error.args, code=error.exit_code)
    except typer.Exit as error:  # raised through standalone_mode=False by some versions of click
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(
            "interrupted; a run's finished points are kept, and `harness run --resume` goes on from there",
            code=ExitCode.FAILED,
        )
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        remedy = "run `pip install -e '.[export]'` in harness's folder, with the Python that runs harness"
        code = _fail(f"the package {package} is not installed here: {remedy}", code=ExitCode.FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: nothing left to flush
        code = ExitCode.FAILED
    except UsageError as error:
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context else ""
        code = _fail(f"{error.format_message().rstrip('.')}{hint}", code=ExitCode.BAD_INPUT)
    except (
        Exception
    ) as error:  # not the user's mistake but ours: all of it is shown, and 1 means something else
        terminal.tell_lines(traceback.format_exc())
        code = _fail(
            f"a bug in harness: {type(error).__name__}; report it with what stands above",
            code=ExitCode.FAILED,
        )
    return int(code or 0)


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(sentence: str, *more: str, code: ExitCode) -> ExitCode:
    terminal.tell(f"harness: {sentence}")
    for each in more:
        terminal.tell(each)
    return code
