"""How far the searches of `harness tune` end from the best configuration, and what they cost.

    python -m tests.evidence.tuning --results FOLDER                        # measures, part by part
    python -m tests.evidence.tuning --results FOLDER --write docs/tuning.md # and writes the table

For each model every configuration of a grid is measured as somebody would who had the time: saturated, and
at five rates around the end of its objective. Then searches are made, each with a tenth of the grid's
measured seconds. What they recommend and the grid's best are measured once more, in turns, each turn on a
fresh server: the regret is what a search's configuration holds less of in that. The grid of the model of
known service times isn't measured but simulated. Whatever is whole is kept, and nothing is measured twice.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from harness.analysis.quantile import Z_95
from harness.commands.derived import import_libraries
from harness.commands.progress import Progress
from harness.commands.run import exported
from harness.commands.sittings import check_models
from harness.commands.tune import tune
from harness.commands.tuning.proof import AROUND, moved
from harness.commands.tuning.search import Search, measure, race_of
from harness.measurement.session import Session
from harness.measurement.target import ServerTarget
from harness.measurement.testbed import Testbed
from harness.report.search_words import settings_words
from harness.schema.point import Setting
from harness.schema.tune_result import Stage
from harness.store.run_folder import create_run
from harness.store.scenario_file import LoadedScenario, load_scenario
from harness.tuning.ask_and_tell import Ask, Served, Told
from harness.tuning.capacity import NEARLY, SURE_Z, Estimate, Rated
from harness.tuning.race import Candidate, Race
from harness.tuning.told import limits
from tests.evidence import model_analyzer
from tests.evidence.known_server import KnownServer, write_onnx
from tests.evidence.known_server import capacity as known_capacity
from tests.written import show_and_write

BEGIN, END = "<!-- searched and measured whole -->", "<!-- end of searched and measured whole -->"

SATURATED_S, RATE_S, RATES = 2.0, 8.0, 5
"""Seconds of load in a grid's measurements of one configuration, and at how many rates."""

STEP = 1.15
"""From one rate to the next, until some held and some missed."""

SEARCHES, SHARE = 3, 0.1
"""Of each model, and the share of the grid's measured seconds that each has."""

LOADED = 0.76
"""Share of a search's time in which it sends load, about."""

TURNS, TURN_S = 5, 6.0
"""Of the last comparison, and the seconds of load at each rate in it."""

NO_END_S = 600.0
"""The budget of a race that is only asked what it makes of measurements."""

VALIDITY = "validity: {foreign_cpu: 1, stolen_cpu: 1, drift: 1000, send_lag_ms: 20}\n"

SCENARIOS = {
    "minilm": """\
model: minilm
server: {max_batch: [1, 2, 4, 8, 16], queue_delay_us: [0, 2000, 5000], instances: [1, 2], threads: [1, 2]}
requests: [{name: text, tokens: 16}]
load: {rate_per_s: 50, arrivals: poisson}
objective: {p99_ms: 100}
""",
    "magika": """\
model: magika
server: {max_batch: [1, 2, 4, 8, 16], queue_delay_us: [0, 2000, 5000], instances: [1, 2], threads: [1, 2]}
requests: [{name: file}]
load: {rate_per_s: 50, arrivals: poisson}
objective: {p99_ms: 100}
""",
    "ocr-detector": """\
model: ocr-detector
server: {max_batch: [1, 2, 4, 8], queue_delay_us: [0, 2000, 5000], instances: [1, 2], threads: [1, 2]}
requests: [{name: page, height: 64, width: 64}]
load: {rate_per_s: 20, arrivals: poisson}
objective: {p99_ms: 200}
""",
    "known": """\
model: known.onnx
server: {max_batch: [1, 2, 4, 8, 16, 32], queue_delay_us: [0, 20000], instances: [1, 2, 3, 4]}
requests: [{name: row, axes: {n: 16}}]
load: {rate_per_s: 20, arrivals: poisson}
objective: {p99_ms: 300}
""",
}
"""Of 48 configurations and more each: all that Model Analyzer may name are among them."""

MODES: tuple[model_analyzer.SearchMode, ...] = ("quick", "optuna")


@dataclass
class Evidence:
    """What is kept of one model, in a folder of its own."""

    folder: Path
    kept: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Evidence:
        folder.mkdir(parents=True, exist_ok=True)
        scenario = SCENARIOS[folder.name]
        (folder / "scenario.yaml").write_text(scenario + VALIDITY)
        if folder.name == "known":
            write_onnx(folder / "known.onnx")
        file = folder / "evidence.json"
        empty: dict[str, Any] = {"grid": {}, "searches": [], "analyzer": {}, "turns": []}
        return cls(folder, json.loads(file.read_text()) if file.exists() else empty)

    def keep(self) -> None:
        (self.folder / "evidence.json").write_text(json.dumps(self.kept, indent=1) + "\n")

    @property
    def testbed(self) -> Testbed:
        if self.folder.name != "known":
            return Testbed()
        return Testbed(ServerTarget(mode=KnownServer, make=KnownServer))

    @cached_property
    def loaded(self) -> LoadedScenario:
        return load_scenario(self.folder / "scenario.yaml")

    @property
    def race(self) -> Race:
        """One in which nothing was measured."""
        return race_of(self.loaded, NO_END_S)

    @property
    def configurations(self) -> list[dict[str, Setting]]:
        return [dict(each) for each in self.race.space.configurations]

    @property
    def limit_s(self) -> float:
        """Of the p99."""
        return limits(self.loaded.scenario.objective)[0.99]

    def search(self, progress: Progress) -> Search:
        """What measures configurations of this model, into a folder of its own."""
        models = exported(self.loaded, progress)
        run = create_run(self.folder / "runs", self.loaded, one_after_another=True)
        check_models(run, tuple(models.values()), measured=False)
        return Search(self.loaded, run, models, self.race, NO_END_S, progress)

    @property
    def grid_s(self) -> float:
        """Seconds of load in the grid; of a simulated one what they would have been."""
        return float(sum(each["seconds"] for each in self.kept["grid"].values()))

    @property
    def compared(self) -> list[int]:
        """What is measured once more: what was recommended, by Model Analyzer too, and the grid's best."""
        recommended = [each["recommended"] for each in self.kept["searches"]]
        recommended += [each["recommended"] for each in self.kept["analyzer"].values()]
        return sorted({each for each in recommended if each is not None} | {self.best})

    @property
    def best(self) -> int:
        grid = self.kept["grid"]
        return int(max(grid, key=lambda number: grid[number]["capacity_per_s"] or 0.0))


def measure_grid(evidence: Evidence) -> None:
    """Each configuration that isn't measured yet, in an order that is drawn."""
    progress = Progress()
    search = evidence.search(progress)
    grid, every = evidence.kept["grid"], range(len(search.configurations))
    missing = [number for number in every if str(number) not in grid]
    if evidence.folder.name == "known":
        for number in missing:
            batcher = search.race.foresight.batcher(number)
            grid[str(number)] = {
                "capacity_per_s": known_capacity(batcher, evidence.limit_s),
                "seconds": SATURATED_S + RATES * RATE_S,
            }
        evidence.keep()
        return
    random.Random(1).shuffle(missing)
    with evidence.testbed.session(search.folder.path / "server.log", progress) as session:
        for number in missing:
            grid[str(number)] = _whole(search, session, number)
            evidence.keep()
            progress.say(f"{len(grid)} of {len(every)} configurations of {evidence.folder.name}")
    search.folder.end()


def _whole(search: Search, session: Session, number: int) -> dict[str, Any]:
    """One configuration of a grid."""
    first = _told(search, session, Ask(number, None, SATURATED_S, "saturated"))
    if not isinstance(first, Served):
        return {"capacity_per_s": None, "seconds": SATURATED_S, "why": str(first)}
    seen: list[Rated] = []
    rate = 0.75 * first.rate_per_s
    for _ in range(RATES):
        what = _told(search, session, Ask(number, rate, RATE_S, "the grid"))
        if isinstance(what, Rated):
            seen.append(what)
        rate = _next_rate(seen, rate, NEARLY * first.rate_per_s)
    found = search.race.estimate_of(seen, seed=number, each=Candidate(number, served=first))
    return {
        "capacity_per_s": found.value,
        "low": found.low,
        "high": found.high,
        "served_per_s": first.rate_per_s,
        "seconds": SATURATED_S + RATES * RATE_S,
    }


def _next_rate(seen: Sequence[Rated], rate: float, most: float) -> float:
    held = max((each.rate_per_s for each in seen if each.excess <= 0), default=None)
    missed = min((each.rate_per_s for each in seen if each.excess > 0), default=None)
    if held is not None and missed is not None:
        return math.sqrt(held * missed)
    if held is not None:
        return min(held * STEP, most)
    return rate if missed is None else missed / STEP**2


def _told(search: Search, session: Session, asked: Ask, stage: Stage = "search") -> Told:
    _, what = measure(search, session, asked, stage)
    search.progress.say(f"{asked.why}: {settings_words(search.configurations[asked.candidate])}: {what}")
    return what


def make_searches(evidence: Evidence, searches: int) -> None:
    """Each with its share of the grid's measured seconds."""
    minutes = SHARE * evidence.grid_s / LOADED / 60
    while len(evidence.kept["searches"]) < searches:
        progress = Progress()
        result = tune(
            evidence.loaded,
            evidence.testbed,
            minutes=minutes,
            results=evidence.folder / "runs",
            progress=progress,
        )
        evidence.kept["searches"].append(
            {
                "recommended": result.recommended,
                "load_s": sum(step.seconds for step in result.steps),
                "steps": len(result.steps),
                "took_s": result.used_s,
                "tried": sum(each.tries > 0 for each in result.candidates),
            }
        )
        evidence.keep()


def ask_model_analyzer(evidence: Evidence) -> None:
    """In each of its modes, once, of the same configurations."""
    if evidence.folder.name == "known":
        return  # a server of the tests' own, which it can't start
    command = model_analyzer.installed(evidence.folder.parent / "model-analyzer")
    point, settings = evidence.loaded.points[0], evidence.configurations
    for mode in (mode for mode in MODES if mode not in evidence.kept["analyzer"]):
        folder = evidence.folder / f"model-analyzer-{mode}"
        shutil.rmtree(folder, ignore_errors=True)
        found = model_analyzer.search(
            command,
            folder,
            mode,
            exported(evidence.loaded, Progress())[point.dtype],
            point,
            base_dir=evidence.folder,
            p99_ms=1e3 * evidence.limit_s,
            max_batch=max(int(str(each["server.max_batch"])) for each in settings),
            instances=max(int(str(each["server.instances"])) for each in settings),
        )
        number = None
        if found.max_batch is not None and found.instances is not None:
            named = {"server.max_batch": found.max_batch, "server.instances": found.instances}
            number = settings.index({**settings[0], **named})
        evidence.kept["analyzer"][mode] = {
            "recommended": number,
            "throughput_per_s": found.throughput_per_s,
            "p99_s": found.p99_s,
            "took_s": found.took_s,
            "measurements": found.measurements,
        }
        evidence.keep()


def take_turns(evidence: Evidence, turns: int) -> None:
    """The turns of the last comparison that are missing. One that lacks a configuration begins anew."""
    compared = evidence.compared
    kept = [turn for turn in evidence.kept["turns"] if set(turn) == {str(each) for each in compared}]
    progress = Progress()
    grid = evidence.kept["grid"]
    guess = {number: grid[str(number)]["capacity_per_s"] or 1.0 for number in compared}
    while len(kept) < turns:
        search = evidence.search(progress)
        with evidence.testbed.session(search.folder.path / "server.log", progress) as session:
            turn = {}
            for number in random.Random(len(kept)).sample(compared, len(compared)):
                asked = [Ask(number, share * guess[number], TURN_S, "in turns") for share in AROUND]
                told = [_told(search, session, each, "proof") for each in asked]
                turn[str(number)] = [
                    {"rate_per_s": each.rate_per_s, "excess": each.excess, "error": each.error}
                    for each in told
                    if isinstance(each, Rated)
                ]
                guess[number] = moved(guess[number], [each for each in told if isinstance(each, Rated)])
        search.folder.end()
        kept.append(turn)
        evidence.kept["turns"] = kept
        evidence.keep()


def capacities(evidence: Evidence) -> dict[int, Estimate]:
    """Of what was compared, by its turns alone."""
    race, found = evidence.race, {}
    for number in evidence.compared:
        seen = [Rated(**each) for turn in evidence.kept["turns"] for each in turn[str(number)]]
        found[number] = race.estimate_of(seen, visits=len(evidence.kept["turns"]), seed=number)
    return found


def table(every: Sequence[Evidence]) -> str:
    """Markdown."""
    lines = [
        "| model | grid, s of load | its best | search | s of load | tried | recommended | of the best one |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lost: list[float] = []
    shares: list[float] = []
    for evidence in every:
        configurations = evidence.configurations
        found = capacities(evidence)
        best = found[evidence.best]
        for number, each in enumerate(evidence.kept["searches"], 1):
            of_best, words = "none", "nothing"
            if (chosen := each["recommended"]) is not None:
                ratio, half = _ratio(found[chosen], best)
                of_best = "the same one" if chosen == evidence.best else f"{ratio:.1%} (±{half:.1%})"
                words = settings_words(configurations[chosen])
                lost.append(1 - ratio)
            else:
                lost.append(1.0)
            shares.append(each["load_s"] / evidence.grid_s)
            first = number == 1
            grid = f"{evidence.grid_s:.0f}" + (" (simulated)" if evidence.folder.name == "known" else "")
            cells = (
                evidence.folder.name if first else "",
                grid if first else "",
                settings_words(configurations[evidence.best]) + f": {best.value or 0:.0f}/s" if first else "",
                str(number),
                f"{each['load_s']:.0f}",
                str(each["tried"]),
                words,
                of_best,
            )
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"The regret of {len(lost)} searches is {median(lost):.1%} in the middle and {max(lost):.1%} at "
        f"worst, with {min(shares):.1%} to {max(shares):.1%} of the grid's measured seconds.",
        "",
    ]
    return "\n".join(lines)


def beside(every: Sequence[Evidence]) -> str:
    """Markdown: what Model Analyzer found of the same, and in which time."""
    lines = [
        "| model | searched by | s in all | measurements | found | holds, requests/s | of the grid's best |",
        "|---|---|---|---|---|---|---|",
    ]
    for evidence in (each for each in every if each.kept["analyzer"]):
        configurations = evidence.configurations
        found = capacities(evidence)
        ours = evidence.kept["searches"]
        searches = {f"harness tune, search {n}": each for n, each in enumerate(ours, 1)}
        searches |= {f"Model Analyzer, {mode}": each for mode, each in evidence.kept["analyzer"].items()}
        for name, each in searches.items():
            cells = [evidence.folder.name, name, f"{each['took_s']:.0f}"]
            cells.append(str(each.get("measurements") or each.get("steps")))
            if (chosen := each["recommended"]) is None:
                cells += ["nothing", "", ""]
            else:
                ratio, half = _ratio(found[chosen], found[evidence.best])
                cells += [settings_words(configurations[chosen]), f"{found[chosen].value or 0:.0f}"]
                cells.append("the same one" if chosen == evidence.best else f"{ratio:.1%} (±{half:.1%})")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _ratio(one: Estimate, other: Estimate) -> tuple[float, float]:
    half = math.hypot(one.width, other.width) / 2 * Z_95 / SURE_Z
    return (one.value or 0.0) / (other.value or math.inf), half


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--results", type=Path, required=True)
    options.add_argument("--models", default=",".join(SCENARIOS))
    options.add_argument("--searches", type=int, default=SEARCHES)
    options.add_argument("--turns", type=int, default=TURNS)
    options.add_argument("--write", type=Path)
    asked = options.parse_args()
    import_libraries()
    every = []
    for model in asked.models.split(","):
        evidence = Evidence.of(asked.results / model)
        measure_grid(evidence)
        make_searches(evidence, asked.searches)
        ask_model_analyzer(evidence)
        take_turns(evidence, asked.turns)
        every.append(evidence)
    made = f"{table(every)}\n{beside(every)}"
    show_and_write(made, asked.write, BEGIN, END)


if __name__ == "__main__":
    main()
