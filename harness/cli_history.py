"""The command line of `harness history` and what stands below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import harness
from harness import terminal
from harness.cli_options import Json

app = typer.Typer(
    invoke_without_command=True, help="List the runs in the results folder, or a figure over time."
)

Results = Annotated[Path, typer.Option("--results", help="The folder with the runs.")]
OfScenario = Annotated[
    str | None, typer.Option("--scenario", metavar="NAME", help="Only runs of this scenario.")
]
OfModel = Annotated[
    str | None, typer.Option("--model", metavar="TEXT", help="Only runs of models with this in their name.")
]
OfKind = Annotated[
    str | None, typer.Option("--kind", help="Only what this command made: run, tune, plan, ab or nightly.")
]
OfMachine = Annotated[
    str | None,
    typer.Option("--machine", metavar="TEXT", help="Only on hosts, GPUs or CPUs with this in their name."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Only runs since then: a date (2026-11-30) or an age (7d, 12h, 2w)."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many to list at most.")]


@app.callback()
def history(
    context: typer.Context,
    scenario: OfScenario = None,
    model: OfModel = None,
    kind: OfKind = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            help="Only runs that ended so: valid, met, missed, invalid or inconclusive; found; pass, "
            "regressed, improved or 'no baseline'.",
        ),
    ] = None,
    since: Since = None,
    machine: OfMachine = None,
    limit: Limit = 50,
    results: Results = Path("results"),
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Read every folder again, not only those that have changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the runs in the results folder, the newest first, or go on with a command below."""
    if context.invoked_subcommand is not None:
        return
    from harness.commands import history as story

    found = harness.history(
        results,
        scenario=scenario,
        model=model,
        kind=kind,
        outcome=outcome,
        since=since,
        machine=machine,
        limit=limit,
        reindex=reindex,
    )
    terminal.print_json(found) if as_json else story.show(found)


@app.command()
def trend(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="The scenario's name.")],
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            help="p50, p90, p95, p99, p999, mean, throughput, inferences, error_rate, queue, compute, energy "
            "or gpu_memory.",
        ),
    ] = "p99",
    point: Annotated[
        str | None,
        typer.Option("--point", help="Only this point: as a table calls it, or the beginning of its id."),
    ] = None,
    model: OfModel = None,
    kind: OfKind = None,
    since: Since = None,
    machine: OfMachine = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Print a figure of a scenario's valid points over time: of runs, and of the candidates of nights."""
    from harness.commands import history as story

    found = harness.trend(
        scenario,
        metric,
        results,
        point=point,
        model=model,
        kind=kind,
        since=since,
        machine=machine,
    )
    terminal.print_json(found) if as_json else story.show_trend(found)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT in DuckDB's SQL.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows to print at most.")] = 1000,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Answer a query to the index, of which nothing can be written and by which no file is read.

    Its tables are runs, points, figures and changes (of comparisons); seen says which folders were skipped.
    """
    from harness.commands import history as story

    found = story.sql(query, results, limit=limit)
    terminal.print_json(found) if as_json else story.show_sql(found)


@app.command()
def thin(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="As in 90d, 12h or 8w.")],
    scenario: OfScenario = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much would be removed, and remove nothing.")
    ] = False,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Remove the raw samples of finished runs that began so long ago. Figures, verdicts and pages stay."""
    from harness.commands import history as story

    found = story.thin(older_than, results, scenario=scenario, dry_run=dry_run)
    terminal.print_json(found) if as_json else story.show_thinning(found)


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, or its name in the results folder.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="The file to write (default: the run's name.tar)."),
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Write a run's folder into one file, with a checksum of each file in it."""
    from harness.commands import history as story

    terminal.say(str(story.export(run, to, results)))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `harness history export` wrote.")],
    results: Results = Path("results"),
) -> None:
    """Make a run's folder of such a file, if everything in it is as it was exported."""
    from harness.commands import history as story

    terminal.say(str(story.import_(file, results)))
