"""Two arms in sentences: for the terminal, for CI and for the page."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.format import count, ms, number
from harness.schema.ab_result import Change, Comparison, MetricVerdict, Moved, PointVerdict

METRIC_WORDS = {
    "throughput": "throughput",
    "p50": "p50",
    "p99": "p99",
    "error_rate": "error rate",
    "gpu_memory": "GPU memory",
    "energy": "energy",
    "parity": "export parity",
}


def comparison_lines(result: Comparison) -> Iterator[tuple[str, str]]:
    """(what a sentence is about, the sentence)."""
    one, other = result.arms
    if result.nights is None:
        yield "compared", f"{other.scenario} (candidate) with {one.scenario} (baseline), {how_words(result)}"
        yield "differs in", differs_words(result)
    else:
        yield "compared", f"{other.scenario} (candidate) with {nights_words(result)}, {how_words(result)}"
    if (words := not_renewed_words(result)) is not None:
        yield "not renewed", words
    for point in result.points:
        yield from point_lines(point, several=len(result.points) > 1)
    yield "verdict", f"{result.outcome}, {verdict_words(result)}"


def how_words(result: Comparison) -> str:
    """How the arms were measured."""
    if not result.in_turns:
        return "one after the other"
    return "side by side, in turns"


def renewed_words(result: Comparison) -> str:
    """What was new in each round."""
    not_renewed = not_renewed_words(result)
    if not_renewed is None:
        return "each round on servers that had just been started"
    return f"each round with load processes that had just been started; {not_renewed}"


def not_renewed_words(result: Comparison) -> str | None:
    """Which servers ran throughout; None where each round had fresh ones."""
    running = [arm for arm in result.arms if arm.environment and arm.environment.server_mode == "remote"]
    if not running:
        return None
    where = " and ".join(dict.fromkeys(arm.environment.server_url for arm in running if arm.environment))
    return f"{where} ran throughout: what differs from one start of a server to the next is in no interval"


def nights_words(result: Comparison) -> str:
    """What the candidate was compared with, where that was nights."""
    return f"{count(len(result.nights or ()), 'night')} of its baseline, all measured beside one reference"


def differs_words(result: Comparison) -> str:
    """What isn't the same in both."""
    told = [f"{name} {before[:60]} → {after[:60]}" for name, (before, after) in result.differs.items()]
    return "; ".join(told) or "nothing: the arms are equal"


def point_lines(point: PointVerdict, *, several: bool) -> Iterator[tuple[str, str]]:
    """Of one point."""
    if several:
        yield point.point, f"{point.outcome}; {rounds_words(point)}"
    for metric in point.metrics:
        yield METRIC_WORDS[metric.metric], metric_words(metric)
    told = [each for each in point.moved if each.told]
    if not told and point.outcome in ("regressed", "improved"):
        told = list(point.moved[:1])
    if told:
        yield "moved", moved_words(told)
    if not several:
        yield "measured", rounds_words(point)
    for why, many in point.left_out.items():
        yield "left out", f"{count(many, 'round')}: {why}"


def metric_words(metric: MetricVerdict) -> str:
    """ "regressed: +10.3% (8.1% to 12.5%), 20.1 ms to 22.2 ms; …"."""
    words = f"{metric.outcome}: {change_words(metric.change, metric.metric)}"
    if metric.baseline is not None and metric.candidate is not None:
        words += f", {value_words(metric, metric.baseline)} to {value_words(metric, metric.candidate)}"
    return f"{words}; {why_words(metric)}"


def why_words(metric: MetricVerdict) -> str:
    """What decided, or what would settle it."""
    words = metric.why
    if metric.smallest is not None and metric.outcome == "inconclusive":
        smallest = signed(max(metric.smallest, metric.margin), metric.metric).lstrip("+")
        words += f" (a change of {smallest} would have been found)"
    if metric.more_s is not None:
        words += f"; {metric.more_s / 60:.1f} more minutes of it would settle it, about"
    return words


def change_words(change: Change | None, metric: str) -> str:
    if change is None:
        return "not measured"
    words = signed(change.value, metric)
    if metric == "parity":
        return words
    if change.interval_95 is None:
        return f"{words} (no interval yet)"
    low, high = change.interval_95
    return f"{words} ({signed(low, metric)} to {signed(high, metric)})"


def signed(value: float, metric: str) -> str:
    """A share as "+3.1%"; of the error rate, percentage points; of parity, the difference itself."""
    if metric == "parity":
        return f"{value:+.2g}" if value else "0"
    digits = 2 if abs(value) < 0.1 else 1 if abs(value) < 1 else 0
    text = f"{value * 100:+.{digits}f}"
    text = "0" if float(text) == 0 else text
    return f"{text} points" if metric == "error_rate" else f"{text}%"


def value_words(metric: MetricVerdict, value: float) -> str:
    match metric.metric:
        case "p50" | "p99":
            return f"{ms(value)} ms"
        case "error_rate":
            return f"{number(value * 100)}%"
        case "gpu_memory":
            return f"{number(value / 1e6)} MB"
        case "energy":
            return f"{number(value)} J"
        case "parity":
            return f"{value:.2g}"
    return f"{number(value)}/s"


def moved_words(told: list[Moved]) -> str:
    """Which parts of a request's time moved, the most first."""
    parts = ", ".join(f"{each.part} {change_words(each.change, 'share')}" for each in told)
    unsure = "" if told[0].told else ", which isn't told from none"
    return f"{parts} of the baseline's time of a request{unsure}"


def rounds_words(point: PointVerdict) -> str:
    return f"{count(point.rounds, 'round')} on servers started anew, {point.measured_s / 60:.1f} min"


def verdict_words(result: Comparison) -> str:
    """All points together, but for the outcome itself."""
    counts: dict[str, int] = {}
    for point in result.points:
        counts[point.outcome] = counts.get(point.outcome, 0) + 1
    parts = ", ".join(f"{many} {outcome}" for outcome, many in counts.items())
    several = f"{parts} of {count(len(result.points), 'point')}, " if len(result.points) > 1 else ""
    return f"{several}after {result.measured_s / 60:.1f} min"


def why_outcome(result: Comparison) -> str:
    """After how much it was reached, and which points and metrics decided."""
    told = [
        f"{point.point}: {each.metric}"
        for point in result.points
        for each in point.metrics
        if each.outcome == result.outcome != "pass"
    ]
    return f"{verdict_words(result)}{': ' if told else ''}{'; '.join(told)}"


def round_line(number_: int, result: Comparison) -> str:
    """What a round has brought."""
    parts = []
    for point in result.points:
        open_ = [each for each in point.metrics if each.outcome != "pass"] or list(point.metrics)
        shown = ", ".join(
            f"{METRIC_WORDS[each.metric]} {change_words(each.change, each.metric)}" for each in open_[:3]
        )
        name = f"{point.point}: " if len(result.points) > 1 else ""
        parts.append(f"{name}{shown or 'nothing counts yet'}")
    return f"round {number_}: {'; '.join(parts)}"
