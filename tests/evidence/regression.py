"""How often the verdicts of `harness ab` and `harness nightly` are wrong, on nights that are real.

    python -m tests.evidence.regression --results FOLDER --nights 40     # measures, night by night
    python -m tests.evidence.regression --results FOLDER --write docs/regression.md

A night has rounds; in each of them six servers are started anew, and one user asks them in turns, request by
request: two of the same model, and four of models whose slowdown is set. Whatever pair of them is taken has
been measured as `harness ab` measures it, so that one night is one of equal arms and one of each slowdown.
What a night leaves is each round's figures of each arm, some kilobytes; it is kept whole.

The verdicts are then harness's own, on the rounds of a night in their order until they are settled or the
time is up. Where a night is longer than those that were measured, its rounds are drawn from all of them: the
table says so. The time is that of two arms: what more arms took is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import harness
from harness.commands.comparing.rounds import Rounds as Measuring
from harness.commands.comparing.side import WARMUP_S, Side
from harness.commands.derived import import_libraries
from harness.commands.progress import Progress
from harness.commands.run import exported
from harness.measurement.testbed import Testbed
from harness.schema.regression_section import Margins, Regression
from harness.schema.result import PointResult
from harness.store.scenario_file import load_scenario
from harness.verdict.anytime import Rounds
from harness.verdict.judge import Round, RoundsOfPoint, is_settled, judge
from harness.verdict.metrics import METRICS
from harness.verdict.nights import beside_reference, judge_by_nights
from tests.evidence.slowed import inputs_of, products_of, slowed_tail, slower_by
from tests.written import show_and_write

BEGIN, END = "<!-- error rates -->", "<!-- end of error rates -->"

SCENARIO = """\
model: {model}
server: {{max_batch: 1}}
requests:
  - {{name: text, axes: {{tokens: 16}}, low: 1, high: 1000}}
load: {{concurrency: 1}}
validity: {{client_cpu: 1, idle_users: 1}}
"""

ARMS = {"base": 0.0, "same": 0.0, "one": 0.01, "two": 0.02, "five": 0.05}
"""By how much each is slower; beside them `tail`, whose p99 alone is."""

TAIL = 0.1
ROUNDS = 8
"""Of a night as it is measured."""

OF_EACH_S = 6.0
"""How long each arm is measured in a round."""

STARTS_S = 2.0
"""What a server takes to start, about: that of a pair's two is counted, and not that of six."""


@dataclass(frozen=True, slots=True)
class Question:
    """A row of the table."""

    arm: str
    what: str
    minutes: float
    margins: Margins
    wanted: float
    """The share of nights in which it is to be found; of equal arms, the largest share of alarms."""


QUESTIONS = (
    Question("same", "no change", 2, Margins(), 0.01),
    Question("same", "no change", 10, Margins(throughput=0.006, p50=0.006, p99=0.05), 0.01),
    Question("five", "5% slower", 2, Margins(), 0.99),
    Question("two", "2% slower", 5, Margins(throughput=0.012, p50=0.012), 0.95),
    Question("one", "1% slower", 10, Margins(throughput=0.006, p50=0.006), 0.8),
    Question("tail", "p99 10% slower", 20, Margins(p99=0.05), 0.9),
)

RESAMPLED = 200
"""Nights of each row that are drawn."""

GATHERED = 10
"""Nights of the baseline, where it can't be run again."""

A_NIGHT, WITHIN = 0.005, 20
"""A drift, and the nights in which it is to be found."""


def measure(folder: Path, nights: int) -> None:
    """The nights that are missing, one after the other."""
    models = folder / "models"
    if nights and not models.is_dir():
        make_models(models)
    for number in range(nights):
        file = folder / f"night-{number:03}.json"
        if not file.exists():
            night = measured(models, folder / "scratch", number)
            scratch = file.with_suffix(".part")
            scratch.write_text(json.dumps(night))
            scratch.rename(file)


def make_models(folder: Path) -> None:
    folder.mkdir(parents=True)
    plain = onnx.load(harness.export_model("minilm").onnx_path)
    inputs = inputs_of(plain, {"tokens": 16})
    products = products_of(plain, 1.0, inputs)
    base = slowed_tail(plain, products)
    onnx.save(slowed_tail(plain, round((1 + 2 * TAIL) * products)), folder / "tail.onnx")
    usual = {name: value * 500 if name == "input_ids" else value for name, value in inputs.items()}
    for name, share in ARMS.items():
        made = base if not share else slower_by(base, share, usual)
        onnx.save(made, folder / f"{name}.onnx")


def measured(models: Path, scratch: Path, seed: int) -> dict[str, Any]:
    """One night: of each round, the figures of each arm."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    import_libraries()
    names, progress = (*ARMS, "tail"), Progress(quiet=True)
    terms = Regression(round_s=OF_EACH_S * len(names))
    sides = []
    for name in names:
        scenario = models / f"{name}.yaml"
        scenario.write_text(SCENARIO.format(model=f"{name}.onnx"))
        loaded = load_scenario(scenario, [f"seed={1000 * (seed + 1)}"])
        sides.append(Side.made(name, loaded, exported(loaded, progress), Testbed(), scratch))
    rounds, began = [], time.time()
    with ExitStack() as stack:
        sessions = [stack.enter_context(side.session(progress)) for side in sides]
        measuring = Measuring(sides, sessions, terms, progress, in_turns=True)
        for _ in range(ROUNDS):
            for _, found, took_s in measuring.one_more([0]):
                figures = dict(zip(names, found, strict=True))
                rounds.append({"took_s": took_s, "arms": {n: kept(point) for n, point in figures.items()}})
    shutil.rmtree(scratch)
    return {"began": began, "rounds": rounds}


KEPT = ("verdict", "reasons", "requests", "errors", "throughput_requests_per_s", "time_s")


def kept(point: PointResult) -> dict[str, Any]:
    """What a verdict is made of."""
    document = json.loads(point.model_dump_json(include={*KEPT, "latency_s"}))
    latency = document.pop("latency_s")
    document["latency_s"] = {
        "mean": latency["mean"],
        **{name: latency[name] or latency["sample"].get(name) for name in ("p50", "p99")},
    }
    return dict(document)


def recalled(model: PointResult, document: Mapping[str, Any]) -> PointResult:
    """A point with these figures; the rest is the model's."""
    latency = model.latency_s.model_copy(update={**document["latency_s"], "sample": {}})
    of_time = None if model.time_s is None else model.time_s.model_copy(update=document["time_s"] or {})
    facts = {name: document[name] for name in KEPT if name != "time_s"}
    return model.model_copy(update={**facts, "latency_s": latency, "time_s": of_time})


class Nights:
    """All that were measured, as rounds of pairs."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], model: PointResult) -> None:
        self._documents, self._model = documents, model

    def pairs(self, arm: str) -> list[list[Round]]:
        """Of each night, its rounds of the base and an arm."""
        return [[self._round(each, arm) for each in night["rounds"]] for night in self._documents]

    def _round(self, document: Mapping[str, Any], arm: str) -> Round:
        one, other = (recalled(self._model, document["arms"][name]) for name in ("base", arm))
        return Round(one, other, 2 * (OF_EACH_S + STARTS_S) + WARMUP_S)


def nights_of(question: Question, pairs: Sequence[Sequence[Round]]) -> Iterator[tuple[list[Round], bool]]:
    """Rounds of a night each, and whether they are one night's own."""
    each_s = pairs[0][0].took_s
    needed = int(60 * question.minutes / each_s)
    if needed <= ROUNDS:
        for night in pairs:
            yield list(night[:needed]), True
    rng = np.random.default_rng(1)
    every = [each for night in pairs for each in night]
    for _ in range(RESAMPLED):
        yield [every[i] for i in rng.integers(0, len(every), needed)], False


def verdict_of(question: Question, rounds: Sequence[Round]) -> tuple[bool, float]:
    """Whether there was an alarm, and after how many minutes it was settled."""
    terms = Regression(margins=question.margins)
    point = RoundsOfPoint("one", {})
    (found,) = judge([point], terms)
    for each in rounds:
        point.rounds.append(each)
        (found,) = judge([point], terms)
        if is_settled(found):
            break
    alarm = any(each.outcome in ("regressed", "improved") for each in found.metrics)
    return alarm, found.measured_s / 60


def slower(point: PointResult, share: float) -> PointResult:
    """The point as it had been, were its model so much slower."""
    known = {name: getattr(point.latency_s, name) for name in ("mean", "p50", "p99")}
    grown = {name: value * (1 + share) for name, value in known.items() if value is not None}
    rate = point.throughput_requests_per_s
    return point.model_copy(
        update={
            "latency_s": point.latency_s.model_copy(update=grown),
            "throughput_requests_per_s": None if rate is None else rate / (1 + share),
        }
    )


def stored_alarms(nights: Nights, arm: str) -> list[bool]:
    """Whether there is an alarm where the base is the reference, and an arm is compared with nights of the
    one that is equal to it. Nights are drawn, none of them twice."""
    rng, gathered, tonight = np.random.default_rng(2), nights.pairs("same"), nights.pairs(arm)
    found = []
    for _ in range(RESAMPLED):
        last, *before = rng.permutation(len(gathered))[: GATHERED + 1]
        found.append(_alarm(tonight[last], [gathered[i] for i in before]))
    return found


def _alarm(tonight: Sequence[Round], before: Sequence[Sequence[Round]]) -> bool:
    past = [beside_reference([RoundsOfPoint("one", {}, list(rounds))]) for rounds in before]
    (found,) = judge_by_nights([RoundsOfPoint("one", {}, list(tonight))], past, Regression())
    return any(each.outcome in ("regressed", "improved") for each in found.metrics)


def drift_found(nights: Nights, *, stored: bool) -> list[bool]:
    """Whether a drift is found in time, where the baseline's build is run again or is `stored`."""
    rng, equal = np.random.default_rng(3), nights.pairs("same")
    found = []
    for _ in range(RESAMPLED):
        drawn = [equal[i] for i in rng.choice(len(equal), WITHIN, replace=len(equal) < WITHIN)]
        past: list[list[Round]] = []
        for number, rounds in enumerate(drawn):
            share = A_NIGHT * number
            own = [Round(each.baseline, slower(each.candidate, share), each.took_s) for each in rounds]
            question = QUESTIONS[0]
            if _alarm(own, past) if stored else verdict_of(question, own)[0]:
                break
            past.append(own)
        found.append(len(past) < WITHIN)
    return found


def table(nights: Nights) -> str:
    """Markdown."""
    lines = [
        "| | its change, over all rounds | minutes | real nights: alarms | drawn nights: alarms | wanted | "
        "settled after (median) |",
        "| :-- | --: | --: | --: | --: | :-- | --: |",
    ]
    for question in QUESTIONS:
        real, drawn, took = [], [], []
        for rounds, own in nights_of(question, nights.pairs(question.arm)):
            alarm, minutes = verdict_of(question, rounds)
            (real if own else drawn).append(alarm)
            took.append(minutes)
        wanted = f"≤ {question.wanted:.0%}" if question.arm == "same" else f"≥ {question.wanted:.0%}"
        lines.append(
            f"| {question.what} | {effect(question, nights)} | {question.minutes:g} | {_share(real)} | "
            f"{_share(drawn)} | {wanted} | "
            f"{np.median(took):.1f} min |"
        )
    drawn_only = (
        (f"no change, beside a reference, by {GATHERED} nights", stored_alarms(nights, "same"), "≤ 1%"),
        (f"5% slower, beside a reference, by {GATHERED} nights", stored_alarms(nights, "five"), "≥ 95%"),
        (f"{A_NIGHT:.1%} more every night, found in {WITHIN}", drift_found(nights, stored=False), "≥ 95%"),
        ("the same, beside a reference", drift_found(nights, stored=True), "≥ 95%"),
    )
    for what, alarms, wanted in drawn_only:
        lines.append(f"| {what} | | | – | {_share(alarms)} | {wanted} | |")
    return "\n".join(lines)


def effect(question: Question, nights: Nights) -> str:
    """What the arm's change really is, by all rounds of all nights together."""
    metric = METRICS[2] if question.arm == "tail" else METRICS[1]
    rounds = [each for night in nights.pairs(question.arm) for each in night if each.fault is None]
    values = [metric.worse_by(each.baseline, each.candidate) for each in rounds]
    found = Rounds.of([value for value in values if value is not None], resolution=1e-4)
    low, high = found.interval(0.05)
    return (
        f"{metric.name} {math.expm1(found.mean):+.2%} ({math.expm1(low):+.2%} to {math.expm1(high):+.2%}); "
        f"a round's deviation {found.deviation:.2%}"
    )


def _share(alarms: Sequence[bool]) -> str:
    if not alarms:
        return "–"
    low, high = _wilson(sum(alarms), len(alarms))
    return f"{sum(alarms)} of {len(alarms)} ({low:.1%} to {high:.1%})"


def _wilson(found: int, of: int) -> tuple[float, float]:
    """95%: Wilson, JASA 22, 1927."""
    z = 1.959964
    share = found / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("night-*.json"))]


def main() -> None:
    from harness.schema.expansion import expand
    from tests.report.factory import ONE_POINT, point_result

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=0)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    folder = asked.results.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    measure(folder, asked.nights)
    documents = read(folder)
    if not documents:
        raise SystemExit("no night was measured yet: give --nights")
    (point,) = expand(ONE_POINT)
    found = table(Nights(documents, point_result(point, verdict="valid", gpu=False)))
    show_and_write(f"{len(documents)} nights of {ROUNDS} rounds.\n\n{found}", asked.write, BEGIN, END)


if __name__ == "__main__":
    main()
