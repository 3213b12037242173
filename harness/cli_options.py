"""The options that commands of the command line share, and those of `harness run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of a table.")]
Results = Annotated[
    Path, typer.Option("--results", help="The folder in which the run gets a folder of its own.")
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a key of the scenario, e.g. server.max_batch=[1,8]. May be given several times.",
    ),
]
MinutesPerPoint = Annotated[
    float | None,
    typer.Option(
        "--minutes-per-point",
        min=0,
        help="How long a point may be measured until its questions are settled (default: "
        "regression.minutes_per_point of the scenario, 5).",
    ),
]
Apart = Annotated[
    bool,
    typer.Option(
        "--apart",
        help="Measure one after the other, where two servers have no room side by side. It takes many times "
        "as long to find the same change.",
    ),
]
Repository = Annotated[
    Path | None,
    typer.Option(
        "--repository",
        help="The folder for the model repository that Triton is started with (default: model_repo).",
    ),
]
ModelRepository = Annotated[
    Path | None,
    typer.Option(
        "--model-repository",
        metavar="DIR",
        help="Serve this model repository of yours, which is only read; a scenario names a model in it by "
        "`model: {served: NAME}`.",
    ),
]
MODEL_HELP = (
    "A name that `harness models` lists, an .onnx file, a Hugging Face folder, or package.module:factory."
)
Model = Annotated[str, typer.Argument(help=MODEL_HELP)]
Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="MODE", help="How Triton is started: embedded (the default), binary or docker."
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="NAME@sha256:…", help="The container's image, with --server docker."),
]
ShmSize = Annotated[
    str | None,
    typer.Option("--shm-size", metavar="SIZE", help="Size of the container's /dev/shm (default 1g)."),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="The container's network: bridge (the default), or host, which avoids the engine's proxy.",
    ),
]
Dtype = Annotated[
    Literal["fp32", "fp16"] | None,
    typer.Option(
        "--dtype", help="The numbers that the model computes with (default: those it was made with)."
    ),
]

Scenario = Annotated[
    Path | None,
    typer.Argument(metavar="[SCENARIO]", help="A scenario file; with --resume also a run's folder."),
]
Url = Annotated[
    str | None,
    typer.Option(
        help="Measure a Triton that is already running, e.g. http://127.0.0.1:8000; several replicas with "
        "commas between them."
    ),
]
GrpcPort = Annotated[
    int | None, typer.Option(help="The gRPC port of the Triton at --url; scenarios over gRPC need it.")
]
GrpcTls = Annotated[bool, typer.Option("--grpc-tls", help="Use TLS on the gRPC port of the Triton at --url.")]
GrpcCa = Annotated[
    Path | None,
    typer.Option(help="The CA that signed its certificate, a PEM file (default: the system's CAs)."),
]
GrpcCert = Annotated[
    Path | None, typer.Option(help="A client certificate for that port, where it asks for one.")
]
GrpcKey = Annotated[Path | None, typer.Option(help="The private key that belongs to --grpc-cert.")]
HttpCa = Annotated[
    Path | None,
    typer.Option(help="The CA that signed the certificate of an https --url (default: the system's CAs)."),
]
HttpCert = Annotated[
    Path | None, typer.Option(help="A client certificate for an https --url, where it asks for one.")
]
HttpKey = Annotated[Path | None, typer.Option(help="The private key that belongs to --http-cert.")]
HeaderFile = Annotated[
    Path | None,
    typer.Option(
        help="Headers that go with every request to --url, a line each, such as a token (default: those in "
        "the environment variable HARNESS_HEADERS)."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=256, help="How many load processes share the load (load.workers in the scenario)."
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS[:PORT]",
        help="Wait here for load processes of other machines, started there with `harness worker`.",
    ),
]
ListenAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The address that the started Triton listens on (default: loopback).",
    ),
]
Probe = Annotated[
    str | None,
    typer.Option(
        metavar="HOST[:PORT]",
        help="Read GPUs and CPU of the machine of --url from a `harness probe --serve` there.",
    ),
]
MetricsUrl = Annotated[
    str | None,
    typer.Option(
        help="Read the GPUs from Triton's own metrics, e.g. http://HOST:8002/metrics, where no probe is."
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with a run that was cut off: the one named, else the latest."),
]
All = Annotated[
    bool, typer.Option("--all", help="List every point, not only those that the answers name (of over 24).")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the points and the expected time, and measure nothing.")
]
