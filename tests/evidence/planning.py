"""What the model behind `harness plan` predicts of a real server, beside what is measured.

    python -m tests.evidence.planning --results FOLDER                          # measures, turn by turn
    python -m tests.evidence.planning --results FOLDER --write docs/planning.md # and writes the table

Some points are fed to the model: each request class by itself, and the mix at three rates, with one instance
and with three. Others are held out: other rates, another mix, two instances, another `max_batch`. A turn
measures each of them once, in blocks of some seconds, and a reference before each; every turn sends the very
same requests. So no single measurement is taken for the truth: what was predicted is held against the mean
of all turns, whose own spread stands beside it. Whole turns are kept; one that was killed is measured
anew.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from harness.commands.derived import derived, import_libraries
from harness.commands.planning.asked import asked_of
from harness.commands.planning.evidence import Evidence, add_point, kinds_of, sent_of
from harness.commands.planning.live import Live
from harness.commands.progress import Progress
from harness.commands.run import exported
from harness.commands.sittings import check_models
from harness.measurement.testbed import Testbed
from harness.planning.replica import Replica, served
from harness.planning.service_times import ServiceTimes, fitted
from harness.planning.trust import Measurement, measured_like, trust
from harness.schema.point import Setting
from harness.schema.result import PointResult
from harness.schema.samples import Status
from harness.simulation.batcher import Batcher
from harness.store.run_folder import RunFolder, create_run, open_run
from harness.store.samples_file import read_samples
from harness.store.scenario_file import LoadedScenario, load_scenario
from tests.written import show_and_write

BEGIN, END = "<!-- predicted and measured -->", "<!-- end of predicted and measured -->"
TURNS = 6
FIGURES = ("mean", "p90", "p99")
LIMIT_S = 0.2
"""The knee is where the p99 reaches it: the objective of the scenario."""

SCENARIO = """\
model: minilm
server: {max_batch: 8}
requests:
  - {name: short, tokens: 16, weight: 8}
  - {name: long, tokens: 64, weight: 2}
load: {rate_per_s: 50, arrivals: poisson}
objective: {p99_ms: 200}
validity: {foreign_cpu: 1, stolen_cpu: 1, drift: 1000, send_lag_ms: 20}
plan: {rate_per_s: 1000}
"""


@dataclass(frozen=True)
class Asked:
    """One point: of a class by itself, alone or saturated, or of a mix at a share of what it is served at
    most."""

    label: str
    fed: bool
    server: Mapping[str, Setting]
    only: int | None = None
    share: float | None = None
    weights: tuple[float, float] = (8.0, 2.0)
    knee: str | None = None
    """The configuration whose knee it is to find, in words."""


def _points() -> Iterator[Asked]:
    for instances in (1, 3):
        server: dict[str, Setting] = {"server.instances": instances}
        words = f"{instances} instance{'s' if instances > 1 else ''}"
        for only in (0, 1):
            yield Asked(f"class {only} alone, {words}", True, server, only=only, share=0.0)
            yield Asked(f"class {only} saturated, {words}", True, server, only=only)
        for share in (0.3, 0.6, 0.85):
            yield Asked(f"{share:.0%}, {words}", True, server, share=share)
    for share in (0.45, 0.75, 0.9):
        yield Asked(f"{share:.0%}, 1 instance", False, {"server.instances": 1}, share=share)
    for share in (0.5, 0.75, 0.85):
        yield Asked(f"{share:.0%}, 2 instances", False, {"server.instances": 2}, share=share)
    for share in (0.4, 0.6):
        even = (1.0, 1.0)
        yield Asked(
            f"{share:.0%}, 1 instance, mixed evenly",
            False,
            {"server.instances": 1},
            share=share,
            weights=even,
        )
    for share in (0.6, 0.8):
        larger: dict[str, Setting] = {"server.instances": 1, "server.max_batch": 16}
        yield Asked(f"{share:.0%}, 1 instance, max batch 16", False, larger, share=share)
    two: dict[str, Setting] = {"server.instances": 2}
    for words, server in (("2 instances", two), ("1 instance, max batch 16", larger)):
        for share in (0.7, 0.8, 0.9, 1.0):
            yield Asked(f"knee {share:.0%}, {words}", False, server, share=share, knee=words)


POINTS = tuple(_points())


@dataclass(frozen=True)
class Row:
    """A held-out point: each figure predicted, and as measured in each turn, in seconds."""

    label: str
    rate_per_s: float
    predicted: Mapping[str, float]
    low_p99_s: float
    high_p99_s: float
    measured: Mapping[str, Sequence[float]]
    knee: str | None = None


@dataclass(frozen=True)
class Knee:
    """The rate at which a held-out configuration's p99 reaches its limit: predicted, and in each turn."""

    label: str
    predicted_per_s: float | None
    """None where it lies beyond the rates that were measured."""
    measured_per_s: Sequence[float | None]


def measure(results: Path, scenario: Path, turns: int, block_s: float) -> None:
    """The turns that are missing. `turns.json` names the folder of each whole one, its points by label."""
    kept = results / "turns.json"
    record: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"rates": {}, "turns": []}
    loaded, progress = load_scenario(scenario), Progress()
    models, testbed = exported(loaded, progress), Testbed()
    import_libraries()
    while len(record["turns"]) < turns:
        folder = create_run(results, loaded, one_after_another=True)
        check_models(folder, tuple(models.values()), measured=False)
        with testbed.session(folder.path / "server.log", progress) as session:
            live = Live(session, folder, loaded, models, progress, {})
            if not record["rates"]:
                record["rates"] = _rates(live, block_s)
            found, reference = {}, []
            for asked in POINTS:
                _set(live, POINTS[0])
                reference.append(_mean_s(live.alone(live.loaded.scenario.requests[0], block_s / 4)))
                found[asked.label] = _measured(live, asked, record["rates"], block_s).id
        folder.end()
        record["turns"].append({"folder": str(folder.path), "points": found, "reference_s": reference})
        kept.write_text(json.dumps(record, indent=1))
        progress.say(f"turn {len(record['turns'])} of {turns} is whole")


def _rates(live: Live, block_s: float) -> dict[str, float]:
    """What each configuration and mix serves at most, requests a second."""
    found: dict[str, float] = {}
    for asked in POINTS:
        if asked.only is None and _key(asked) not in found:
            _set(live, asked)
            found[_key(asked)] = live.saturated(None, block_s).throughput_requests_per_s or 1.0
    return found


def _key(asked: Asked) -> str:
    return f"{sorted(asked.server.items())} {asked.weights}"


def _set(live: Live, asked: Asked) -> None:
    """The configuration and the mix of what is measured next."""
    live.configuration = asked.server
    live.loaded = mixed(live.loaded, asked)


def mixed(loaded: LoadedScenario, asked: Asked) -> LoadedScenario:
    requests = tuple(
        each.model_copy(update={"weight": weight})
        for each, weight in zip(loaded.scenario.requests, asked.weights, strict=True)
    )
    return replace(loaded, scenario=loaded.scenario.model_copy(update={"requests": requests}))


def _measured(live: Live, asked: Asked, rates: Mapping[str, float], block_s: float) -> PointResult:
    _set(live, asked)
    if asked.only is None:
        return live.rated((asked.share or 0.5) * rates[_key(asked)], block_s)
    only = live.loaded.scenario.requests[asked.only]
    return live.alone(only, block_s / 2) if asked.share == 0.0 else live.saturated(only, block_s / 2)


def _mean_s(result: PointResult) -> float:
    return result.service_s.mean or 0.0


def rows(results: Path, scenario: Path) -> tuple[list[Row], list[float]]:
    """Each held-out point, and the reference in each turn, in seconds."""
    record = json.loads((results / "turns.json").read_text())
    loaded = load_scenario(scenario)
    demand = asked_of(loaded, None).demand
    evidence = Evidence(None, demand)
    for turn in record["turns"]:
        folder = open_run(Path(turn["folder"]))
        for asked in POINTS:
            if asked.fed:
                result = _result(folder, turn["points"][asked.label])
                kinds = kinds_of(loaded.points[0].requests, result.point)
                assert kinds is not None
                add_point(evidence, folder, result, kinds)
    times = fitted(evidence.looks, [each.name for each in loaded.points[0].requests])
    found = [_row(record, asked, loaded, times, evidence.measurements) for asked in POINTS if not asked.fed]
    return found, [mean(turn["reference_s"]) for turn in record["turns"]]


def _row(
    record: Any,
    asked: Asked,
    loaded: LoadedScenario,
    times: ServiceTimes,
    measurements: Sequence[Measurement],
) -> Row:
    measured: dict[str, list[float]] = {name: [] for name in FIGURES}
    for turn in record["turns"]:
        folder = open_run(Path(turn["folder"]))
        result = _result(folder, turn["points"][asked.label])
        stored = read_samples(folder.point(result.id) / "requests.parquet").measured
        took = ((stored.completed_ns - stored.intended_ns) / 1e9)[stored.status == Status.OK]
        for name, value in _figures(took).items():
            measured[name].append(value)
    sent = sent_of(folder, result.point)
    server = result.point.server
    batcher = Batcher(server.max_batch or 1, (server.queue_delay_us or 0) / 1e6, server.instances or 1)
    demand = replace(asked_of(loaded, None).demand, weights=asked.weights)
    trusted = trust(times, measured_like(batcher, measurements))

    def predicted(scale: float) -> dict[str, float]:
        replica = Replica(batcher, times, demand).scaled(trusted.scale * scale)
        return _figures(served(replica, sent.due_s, sent.kinds)[0])

    rate = result.point.load.shape.nominal_rate_per_s or 0.0
    low, high = (predicted(scale)["p99"] for scale in (1 / trusted.factor, trusted.factor))
    return Row(asked.label, rate, predicted(1.0), low, high, measured, asked.knee)


def knees(found: Sequence[Row]) -> list[Knee]:
    """By all rows of the same configuration and mix."""
    made = []
    for label in dict.fromkeys(row.knee for row in found if row.knee):
        mine = sorted((row for row in found if row.label.endswith(label)), key=lambda row: row.rate_per_s)
        rates = [row.rate_per_s for row in mine]
        turns = zip(*(row.measured["p99"] for row in mine), strict=True)
        predicted = _knee(rates, [row.predicted["p99"] for row in mine])
        made.append(Knee(str(label), predicted, [_knee(rates, p99) for p99 in turns]))
    return made


def _knee(rates: Sequence[float], p99_s: Sequence[float]) -> float | None:
    """Where a monotone curve through the logarithms reaches the limit; None where it doesn't within them."""
    curve = isotonic_regression(np.log(p99_s)).x + 1e-9 * np.arange(len(rates))
    if not curve[0] <= math.log(LIMIT_S) <= curve[-1]:
        return None
    return float(np.exp(np.interp(math.log(LIMIT_S), curve, np.log(rates))))


def _result(folder: RunFolder, id_: str) -> PointResult:
    point = next(each for each in folder.points().begun if each.id == id_)
    observed = folder.observed(id_)
    assert observed is not None
    return derived(point, folder, observed).result


def _figures(latency_s: np.ndarray) -> dict[str, float]:
    p90, p99 = np.quantile(latency_s, [0.9, 0.99])
    return {"mean": float(latency_s.mean()), "p90": float(p90), "p99": float(p99)}


def table(found: Sequence[Row], reference_s: Sequence[float]) -> str:
    """Markdown."""
    lines = [
        f"{len(reference_s)} turns; the reference, a single user's short request, took "
        f"{mean(reference_s) * 1e3:.2f} ms, from one turn to another ±{_spread(reference_s):.0%}.",
        "",
        "| held out | requests/s | figure | measured, ms | spread of the turns | predicted, ms | error |",
        "|---|---|---|---|---|---|---|",
    ]
    below = [row for row in found if row.knee is None]
    for row in below:
        for name in FIGURES:
            measured, predicted = mean(row.measured[name]), row.predicted[name]
            label, rate = (row.label, f"{row.rate_per_s:.0f}") if name == FIGURES[0] else ("", "")
            lines.append(
                f"| {label} | {rate} | {name} | {measured * 1e3:.1f} | ±{_spread(row.measured[name]):.0%} | "
                f"{predicted * 1e3:.1f} | {predicted / measured - 1:+.1%} |"
            )
    errors = [abs(row.predicted["p99"] / mean(row.measured["p99"]) - 1) for row in below]
    held = sum(row.low_p99_s <= mean(row.measured["p99"]) <= row.high_p99_s for row in below)
    lines += [
        "",
        f"The p99 is off by {np.median(errors):.1%} (median) and {max(errors):.1%} at most; the stated 95% "
        f"intervals hold the measured p99 at {held} of {len(below)} held-out points.",
        "",
        f"| the rate at which the p99 reaches {LIMIT_S * 1e3:.0f} ms | measured, requests/s "
        "| spread of the turns | predicted | error |",
        "|---|---|---|---|---|",
    ]
    for knee in knees(found):
        within = [each for each in knee.measured_per_s if each is not None]
        measured, predicted = (mean(within) if within else None), knee.predicted_per_s
        beyond = len(knee.measured_per_s) - len(within)
        of = f", beyond the rates in {beyond} of {len(knee.measured_per_s)} turns" if beyond else ""
        error = "—" if measured is None or predicted is None else f"{predicted / measured - 1:+.1%}"
        lines.append(
            f"| {knee.label} | {'' if measured is None else f'{measured:.0f}'}{of} "
            f"| ±{_spread(within):.0%} "
            f"| {'beyond the rates' if predicted is None else f'{predicted:.0f}'} | {error} |"
        )
    lines.append("")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) / mean(values) if len(values) > 1 else 0.0


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--results", type=Path, required=True)
    options.add_argument("--turns", type=int, default=TURNS)
    options.add_argument("--block-s", type=float, default=12.0)
    options.add_argument("--write", type=Path)
    asked = options.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    scenario = asked.results / "planning.yaml"
    scenario.write_text(SCENARIO)
    measure(asked.results, scenario, asked.turns, asked.block_s)
    made = table(*rows(asked.results, scenario))
    show_and_write(made, asked.write, BEGIN, END)


if __name__ == "__main__":
    main()
