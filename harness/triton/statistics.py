"""Triton's own counters of a model, and what they say of a time span (Triton docs, "Statistics Extension").

For harness's `onnxruntime` backend Triton counts the copy into shared memory as compute input, everything in
the instance's process (assembling the batch, the run, splitting) as compute infer, and the copy out of
shared memory as compute output.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.plain_text import quoted
from harness.schema.errors import ServerError
from harness.schema.result import BatchFigures, ServerFigures
from harness.triton.control import Control

STAGES = ("input", "infer", "output")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Cumulative counts and nanoseconds of one model since it was loaded, all versions together."""

    successes: int
    success_ns: int
    failures: int
    queued: int
    queue_ns: int
    computed: int
    """Requests that were executed; the others were answered from the response cache, or failed."""
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    cache_hits: int
    inferences: int
    executions: int
    by_batch: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Executions, and the nanoseconds that their three compute stages took, by inferences in the batch."""


TOTALS = tuple(name for name in Statistics.__annotations__ if name != "by_batch")


def read(control: Control, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:
    """A snapshot. Triton answers a request before it counts it, so this reads until two reads agree.

    Under load that never happens; after half a second the last read is returned. With `settled` false it
    reads once.
    """
    give_up = time.monotonic() + (0.5 if settled else 0)
    last = snapshot(control.statistics(model, version))
    while time.monotonic() < give_up:
        time.sleep(0.02)
        again = snapshot(control.statistics(model, version))
        if again == last:
            break
        last = again
    return last


def of_all(document: Mapping[str, Any]) -> dict[str, Statistics]:
    """The answer of `/v2/models/stats`, by model. ServerError for another document."""
    named: dict[str, list[Any]] = {}
    with _read_as_triton_s():
        for version in document["model_stats"]:
            named.setdefault(str(version["name"]), []).append(version)
    return {name: snapshot({"model_stats": versions}) for name, versions in named.items()}


def snapshot(document: Mapping[str, Any]) -> Statistics:
    """The answer of `/v2/models/<model>/stats`, summed over versions. ServerError for another document."""
    total = dict.fromkeys(TOTALS, 0)
    by_batch: dict[int, tuple[int, int]] = {}
    with _read_as_triton_s():
        for version in document["model_stats"]:
            stats = version["inference_stats"]
            total["successes"] += _count(stats["success"]["count"])
            total["success_ns"] += _count(stats["success"]["ns"])
            total["failures"] += _count(stats["fail"]["count"])
            total["queued"] += _count(stats["queue"]["count"])
            total["queue_ns"] += _count(stats["queue"]["ns"])
            total["computed"] += _count(stats["compute_infer"]["count"])
            for stage in STAGES:
                total[f"compute_{stage}_ns"] += _count(stats[f"compute_{stage}"]["ns"])
            total["cache_hits"] += _count(stats.get("cache_hit", {}).get("count", 0))
            total["inferences"] += _count(version["inference_count"])
            total["executions"] += _count(version["execution_count"])
            for batch in version.get("batch_stats", ()):
                size, stages = _count(batch["batch_size"]), [batch[f"compute_{stage}"] for stage in STAGES]
                before, before_ns = by_batch.get(size, (0, 0))
                spent_ns = sum(_count(stage["ns"]) for stage in stages)
                by_batch[size] = before + _count(batch["compute_infer"]["count"]), before_ns + spent_ns
    return Statistics(**total, by_batch=by_batch)


def added(each: Sequence[Statistics]) -> Statistics:
    """Those of several servers together."""
    by_batch: dict[int, tuple[int, int]] = {}
    for one in each:
        for size, (executions, spent_ns) in one.by_batch.items():
            before, before_ns = by_batch.get(size, (0, 0))
            by_batch[size] = before + executions, before_ns + spent_ns
    total = {name: sum(getattr(one, name) for one in each) for name in TOTALS}
    return Statistics(**total, by_batch=by_batch)


@contextmanager
def _read_as_triton_s() -> Iterator[None]:
    """Raises ServerError where the document that is read in the block isn't as Triton's are."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(
            f"the server's statistics are not Triton's ({quoted(repr(error), 100)}): "
            "point --url at a Triton server"
        ) from error


def _count(value: Any) -> int:
    """A counter of 64 bits, as a number or as protobuf's JSON has it, in digits. ValueError for another."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ValueError("a counter is no whole number of 64 bits")
    return value


def fell(before: Statistics, after: Statistics) -> str | None:
    """How a counter went backwards, as it does only where the model was loaded anew; None where none did."""
    for name in TOTALS:
        earlier, later = getattr(before, name), getattr(after, name)
        if later < earlier:
            return f"Triton's counter of {name.replace('_', ' ')} fell from {earlier} to {later}"
    for batch, counted in before.by_batch.items():
        if any(
            later < earlier for earlier, later in zip(counted, after.by_batch.get(batch, (0, 0)), strict=True)
        ):
            return f"Triton's counter of batches of {batch} fell"
    return None


def difference(before: Statistics, after: Statistics) -> ServerFigures:
    """What happened between two snapshots.

    `requests` counts every request that Triton took, failures among them; one it turned away at the door
    (a wrong shape, an unknown model) is in neither. Each time is the mean over the successful requests that
    passed the stage, so answers from the response cache don't dilute the compute times. None where no
    request passed. An execution that failed counts as one, without inferences, and so lowers `mean_batch`.

    Raises ServerError when a counter went backwards: the model was reloaded or the server restarted.
    """
    if (how := fell(before, after)) is not None:
        raise ServerError(
            "Triton's statistics were reset during the measurement (the model was reloaded or the server "
            f"restarted): {how}; measure again"
        )
    spent = {name: getattr(after, name) - getattr(before, name) for name in TOTALS}

    def mean_s(stage: str, count: str) -> float | None:
        return spent[stage] / spent[count] / 1e9 if spent[count] else None

    return ServerFigures(
        requests=spent["successes"] + spent["failures"],
        inferences=spent["inferences"],
        executions=spent["executions"],
        failures=spent["failures"],
        cache_hits=spent["cache_hits"],
        mean_batch=spent["inferences"] / spent["executions"] if spent["executions"] else None,
        request_s=mean_s("success_ns", "successes"),
        queue_s=mean_s("queue_ns", "queued"),
        compute_input_s=mean_s("compute_input_ns", "computed"),
        compute_infer_s=mean_s("compute_infer_ns", "computed"),
        compute_output_s=mean_s("compute_output_ns", "computed"),
        by_batch=tuple(_by_batch(before, after)),
    )


def together(each: Sequence[ServerFigures]) -> ServerFigures:
    """Those of several models: counts are summed, and times are means over all their requests."""

    def mean(name: str) -> float | None:
        known: list[tuple[float, int]] = [
            (getattr(one, name), one.requests) for one in each if getattr(one, name) is not None
        ]
        weight = sum(requests for _, requests in known)
        return sum(value * requests for value, requests in known) / weight if weight else None

    counts = ("requests", "inferences", "executions", "failures", "cache_hits")
    total = {name: sum(getattr(one, name) for one in each) for name in counts}
    executions = total["executions"]
    return ServerFigures(
        **total,
        mean_batch=total["inferences"] / executions if executions else None,
        request_s=mean("request_s"),
        queue_s=mean("queue_s"),
        compute_input_s=mean("compute_input_s"),
        compute_infer_s=mean("compute_infer_s"),
        compute_output_s=mean("compute_output_s"),
    )


def _by_batch(before: Statistics, after: Statistics) -> Iterator[BatchFigures]:
    for batch, (count, spent_ns) in sorted(after.by_batch.items()):
        earlier, earlier_ns = before.by_batch.get(batch, (0, 0))
        if executions := count - earlier:
            mean_s = (spent_ns - earlier_ns) / executions / 1e9
            yield BatchFigures(batch=batch, executions=executions, mean_s=mean_s)
