"""Questions to the index of a results folder, and their answers as records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

import duckdb

from harness.schema.errors import InputError
from harness.schema.history_result import (
    METRICS,
    HistoryRun,
    SkippedFolder,
    SqlTable,
    SqlValue,
    TrendSeries,
    TrendValue,
)

MOST_CHARACTERS = 10_000
"""Of a query's text."""


class Wanted(NamedTuple):
    """Which runs are asked for; None: all."""

    scenario: str | None = None
    """Its name."""
    model: str | None = None
    """A part of its name, like `machine` of the host's or the hardware's."""
    machine: str | None = None
    kind: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    """UTC, without saying so."""
    before: datetime | None = None

    @property
    def condition(self) -> tuple[str, list[Any]]:
        """In SQL, over the columns of `runs`, with the values of its parameters."""
        parts, values = ["true"], list[Any]()
        for text, given in (
            ("runs.scenario = ?", self.scenario),
            ("contains(lower(runs.model), lower(?))", self.model),
            ("contains(lower(concat_ws(' ', runs.host, runs.hardware)), lower(?))", self.machine),
            ("runs.kind = ?", self.kind),
            ("runs.outcome = ?", self.outcome),
            ("runs.started_at >= ?", self.since),
            ("runs.started_at < ?", self.before),
        ):
            if given is not None:
                parts.append(text)
                values.append(given)
        return " AND ".join(parts), values


def runs(index: Any, wanted: Wanted, limit: int | None = None) -> tuple[int, tuple[HistoryRun, ...]]:
    """How many runs fit, and the newest `limit` of them, the newest first."""
    condition, values = wanted.condition
    (found,) = index.execute(f"SELECT count(*) FROM runs WHERE {condition}", values).fetchone()
    rows = index.execute(
        f"SELECT {', '.join(HistoryRun.model_fields)} FROM runs WHERE {condition} "
        "ORDER BY started_at DESC, folder DESC LIMIT ?",
        [*values, limit],
    )
    return found, tuple(HistoryRun(**_said(row)) for row in _named(rows))


def skipped(index: Any) -> tuple[SkippedFolder, ...]:
    """The folders of which nothing is counted."""
    rows = index.execute("SELECT folder, why FROM seen WHERE why IS NOT NULL ORDER BY folder")
    return tuple(SkippedFolder(**row) for row in _named(rows))


def trend(
    index: Any, metric: str, wanted: Wanted, point: str | None = None
) -> tuple[tuple[TrendSeries, ...], dict[str, int]]:
    """A figure of each point over time, and how many points have it and aren't valid, by verdict.

    Of a night it is the candidate's. A comparison of `harness ab` is no night, and counts only where `wanted`
    asks for its kind. `point`: its label, or the beginning of its id.
    """
    condition, values = wanted.condition
    if wanted.kind is None:
        condition += " AND runs.kind IN ('run', 'nightly')"
    if point is not None:
        condition += " AND (points.point = ? OR starts_with(points.point_id, ?))"
        values += [point, point]
    of = (
        "FROM figures JOIN points USING (folder, number) JOIN runs USING (folder) "
        f"WHERE metric = ? AND (arm IS NULL OR arm = 'candidate') AND {condition}"
    )
    rows = index.execute(
        "SELECT points.point, model, host, hardware, folder, kind, started_at, harness_version, "
        "triton_version, driver, point_id, "
        f"value, low, high {of} AND (verdict IS NULL OR verdict = 'valid') "
        "ORDER BY points.point, model, host, hardware, started_at, folder",
        [metric, *values],
    )
    series = groupby(
        _named(rows), lambda row: {key: row[key] for key in ("point", "model", "host", "hardware")}
    )
    found = tuple(TrendSeries(**of_, values=tuple(map(_value, each))) for of_, each in series)
    others = index.execute(
        f"SELECT verdict, count(*) {of} AND verdict <> 'valid' GROUP BY verdict ORDER BY verdict",
        [metric, *values],
    )
    return found, dict(others.fetchall())


class Judged(NamedTuple):
    """A metric of a point that a night called worse or better."""

    folder: str
    point: str
    metric: str
    outcome: str
    why: str


def judged(index: Any, scenario: str) -> tuple[Judged, ...]:
    """What regressed or improved in the nights of a scenario, the newest first."""
    rows = index.execute(
        f"SELECT {', '.join(f'changes.{name}' for name in Judged._fields)} FROM changes "
        "JOIN runs USING (folder) WHERE runs.kind = 'nightly' AND runs.scenario = ? "
        "AND changes.outcome IN ('regressed', 'improved') "
        "ORDER BY started_at DESC, changes.folder, changes.point, changes.metric",
        [scenario],
    )
    return tuple(Judged(*row) for row in rows.fetchall())


def check_metric(metric: str) -> None:
    """Raise InputError for a figure that isn't kept."""
    if metric not in METRICS:
        raise InputError(f"there is no metric {metric!r}: give one of {', '.join(METRICS)}")


def check_scenario(index: Any, scenario: str) -> None:
    """Raise InputError where no run is of that scenario."""
    known = [name for (name,) in index.execute("SELECT DISTINCT scenario FROM runs ORDER BY 1").fetchall()]
    if scenario not in known:
        raise InputError(
            f"there is no run of a scenario {scenario!r}: those that have runs are "
            f"{', '.join(known[:20]) or 'none'}{', …' if len(known) > 20 else ''}"
        )


def selected(index: Any, query: str, most: int) -> SqlTable:
    """What one SELECT gives, at most so many rows of it. Raises InputError for anything else."""
    if len(query) > MOST_CHARACTERS:
        raise InputError(f"a query has at most {MOST_CHARACTERS:,} characters: shorten it")
    try:
        statements = index.extract_statements(query)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise InputError('one SELECT is answered, and nothing else: `harness history sql "FROM runs"`')
        answer = index.execute(statements[0])
        rows = answer.fetchmany(most + 1)
    except duckdb.Error as error:
        first, *others = [line.strip() for line in str(error).splitlines() if line.strip()]
        hint = "; ".join(others[:1])
        raise InputError(
            f"the query can't be answered: {first}{f'; {hint}' if hint else ''}: "
            "`harness history sql --help` names the tables"
        ) from error
    columns = tuple(column[0] for column in answer.description)
    return SqlTable(
        columns=columns,
        rows=tuple(tuple(map(_plain, row)) for row in rows[:most]),
        more=len(rows) > most,
    )


def _named(answer: Any) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in answer.description]
    return (dict(zip(names, row, strict=True)) for row in answer.fetchall())


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """With times as harness writes them."""
    return {key: iso(value) if isinstance(value, datetime) else value for key, value in row.items()}


def _value(row: dict[str, Any]) -> TrendValue:
    said = _said({key: row[key] for key in TrendValue.model_fields if key in row})
    interval = None if row["low"] is None or row["high"] is None else (row["low"], row["high"])
    return TrendValue(**said, interval_95=interval)


def iso(at: datetime) -> str:
    """A time of the index as harness writes times."""
    return at.replace(tzinfo=UTC).isoformat(timespec="milliseconds")


def _plain(value: Any) -> SqlValue:
    """A value of a query as JSON has it; of a type that JSON doesn't have, in words."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
