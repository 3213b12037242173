"""The commands of the command line that compare builds, nights and hardware, and those that tell of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import harness
from harness import cli_history, terminal
from harness.cli_options import (
    Apart,
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
    ListenAddress,
    MinutesPerPoint,
    ModelRepository,
    Network,
    Overrides,
    Results,
    Server,
    ShmSize,
    Url,
    Workers,
)
from harness.schema.errors import InputError

app = typer.Typer()
"""Its commands are harness's own."""


@app.command()
def ab(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="The scenario file to compare with.")],
    candidate: Annotated[
        Path | None,
        typer.Argument(
            metavar="CANDIDATE", help="The scenario file that is compared (default: the baseline's)."
        ),
    ] = None,
    bisect: Annotated[
        str | None,
        typer.Option(
            metavar="GOOD..BAD",
            help="Find the first commit after GOOD whose build is worse, in the repository that the scenario "
            "lies in.",
        ),
    ] = None,
    minutes: MinutesPerPoint = None,
    apart: Apart = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    candidate_overrides: Annotated[
        list[str],
        typer.Option(
            "--candidate-set",
            metavar="PATH=VALUE",
            help="Override a key of the candidate only, e.g. server.instances=2. May be given several times.",
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    candidate_server: Annotated[
        str | None,
        typer.Option(
            metavar="MODE", help="How the candidate's Triton is started (default: as --server says)."
        ),
    ] = None,
    candidate_image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@sha256:…", help="The image of the candidate's container (default: the baseline's)."
        ),
    ] = None,
    candidate_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the candidate's Triton runs already (default: --url, where given)."
        ),
    ] = None,
    candidate_grpc_port: Annotated[
        int | None, typer.Option(help="Its gRPC port (default: as --grpc-port says).")
    ] = None,
    results: Results = Path("results"),
    model_repository: ModelRepository = None,
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
    host: ListenAddress = None,
    as_json: Json = False,
) -> None:
    """Compare two models, configurations or Tritons, loaded in turns: one verdict."""
    from harness.commands import ab as story
    from harness.commands import bisect as search

    asked: dict[str, Any] = dict(
        minutes_per_point=minutes,
        apart=apart,
        overrides=overrides,
        results=results,
        workers=workers,
        model_repository=model_repository,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        host=host,
        url=url,
        grpc_port=grpc_port,
        grpc_tls=grpc_tls,
        grpc_ca=grpc_ca,
        grpc_cert=grpc_cert,
        grpc_key=grpc_key,
        http_ca=http_ca,
        http_cert=http_cert,
        http_key=http_key,
        header_file=header_file,
    )
    if bisect is not None:
        if any((candidate, candidate_overrides, candidate_server, candidate_image, candidate_url)):
            raise InputError("--bisect compares commits of one scenario: leave out CANDIDATE and its options")
        found = harness.bisect(baseline, bisect, **asked)
        terminal.print_json(found) if as_json else search.show(found)
        raise typer.Exit(search.exit_code(found))
    result = harness.ab(
        baseline,
        candidate,
        candidate_overrides=candidate_overrides,
        candidate_server=candidate_server,
        candidate_image=candidate_image,
        candidate_url=candidate_url,
        candidate_grpc_port=candidate_grpc_port,
        **asked,
    )
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result.outcome))


@app.command()
def nightly(
    what: Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario file.")],
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept",
            metavar="REASON",
            help="Measure nothing: the build of the newest night becomes the baseline, for a reason that is "
            "kept.",
        ),
    ] = None,
    minutes: MinutesPerPoint = None,
    apart: Apart = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody writes it
    results: Results = Path("results"),
    model_repository: ModelRepository = None,
    server: Server = None,
    image: Image = None,
    shm_size: ShmSize = None,
    network: Network = None,
    workers: Workers = None,
    host: ListenAddress = None,
    as_json: Json = False,
) -> None:
    """Say whether today's build is worse than the baseline, which is run once more beside it."""
    from harness.commands import nightly as story

    result = harness.nightly(
        what,
        accept=accept,
        minutes_per_point=minutes,
        apart=apart,
        overrides=overrides,
        results=results,
        workers=workers,
        model_repository=model_repository,
        server=server,
        image=image,
        shm_size=shm_size,
        network=network,
        host=host,
    )
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result))


@app.command()
def schedule(
    scheduler: Annotated[
        Literal["cron", "systemd", "github", "kubernetes"],
        typer.Argument(metavar="SCHEDULER", help="cron, systemd, github or kubernetes."),
    ],
    what: Annotated[
        Path,
        typer.Argument(metavar="SCENARIO", help="The scenario file; for kubernetes its path in the image."),
    ],
    at: Annotated[
        str,
        typer.Option(
            metavar="HH:MM",
            help="When, every day: in UTC for github and kubernetes, else in the machine's time.",
        ),
    ] = "03:00",
    results: Annotated[
        Path | None,
        typer.Option(
            help="The folder for results (default: results here, and /results in kubernetes' container)."
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Write the files there instead of printing them."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="For kubernetes: an image with harness and the scenario in it.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="For kubernetes: how many GPUs the night gets.")] = 1,
) -> None:
    """Print ready files that run `harness nightly` every night: cron, systemd, GitHub Actions, Kubernetes."""
    from harness.commands import schedule as story

    files = story.schedule(scheduler, what, at=at, results=results, image=image, gpus=gpus)
    story.show(files) if to is None else story.write(files, to)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Folders of runs or searches, or their names under --results; the first is the reference.",
        ),
    ],
    allow: Annotated[
        list[str],
        typer.Option(
            metavar="REASON",
            help="Let through what is unfair for this reason, and mark every figure. May be given several "
            "times.",
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    price: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=EUR_PER_HOUR",
            help="What an hour of a machine costs, by a part of its name, e.g. L40S=1.20. May be given "
            "several times.",
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    hardware: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file with prices, as harness plan reads it.")
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Compare the same scenario on several machines, where that is fair, as ratios with intervals."""
    from harness.commands import compare as story

    result = harness.compare(
        *runs,
        allow=allow,
        prices=dict(map(story.parsed_price, price)),
        hardware=hardware,
        results=results,
    )
    terminal.print_json(result) if as_json else story.show(result)
    raise typer.Exit(story.exit_code(result))


@app.command()
def site(
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="The site's folder (default: site in the results folder)."),
    ] = None,
    copy_pages: Annotated[
        bool,
        typer.Option(
            "--copy-pages",
            help="Copy each run's page into the site, which can then be moved; else the pages are linked "
            "where the site lies in the results folder.",
        ),
    ] = False,
    results: cli_history.Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Write pages of all runs, and of each scenario over time, that open without a server."""
    from harness.commands import site as story

    found = harness.site(results, to=to, copy_pages=copy_pages)
    terminal.print_json(found) if as_json else story.show(found)


@app.command()
def mlflow(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder of a run, a comparison or a night.")
    ],
    experiment: Annotated[str, typer.Option(help="The experiment that it becomes a run of.")] = "harness",
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="The server, e.g. http://127.0.0.1:5000 (default: $MLFLOW_TRACKING_URI)."),
    ] = None,
    register_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Register the ONNX file that was measured as a version of this model."
        ),
    ] = None,
) -> None:
    """Tell an MLflow server of a result: parameters, metrics, files, tags. Credentials: its own variables."""
    from harness.commands import mlflow as story

    story.show(
        harness.mlflow(
            folder, experiment=experiment, tracking_uri=tracking_uri, register_model=register_model
        )
    )
