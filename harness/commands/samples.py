"""`harness.samples`: the requests of one point as a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.point import Point
from harness.schema.result import PointResult, RunResult
from harness.schema.samples import NO_BYTE, Phase, Requests, Status
from harness.store.run_folder import RunFolder, open_run
from harness.store.samples_file import StoredRequests, read_requests
from harness.store.whole import Absent

PhaseName = Literal["warmup", "measure"]
_PHASES: dict[str, Phase] = {"warmup": Phase.WARMUP, "measure": Phase.MEASURE}
_STATUSES = tuple(status.name.lower() for status in Status)


def samples(
    run: RunResult | str | Path, point: PointResult | str, *, phase: PhaseName = "measure"
) -> pd.DataFrame:
    """The requests of one phase of a finished point, in the order in which they were due.

    See `harness.samples` for the columns. Raises InputError for a run, a point or a phase that isn't there.
    """
    if phase not in _PHASES:
        raise InputError(f"there is no phase {phase!r}: give one of {', '.join(_PHASES)}")
    folder = open_run(Path(run.path if isinstance(run, RunResult) else run))
    chosen = _chosen(folder, point.id if isinstance(point, PointResult) else point)
    try:
        observed = folder.observed(chosen.id)
    except Absent:
        observed = None
    if observed is None:
        raise InputError(
            f"the point {chosen.id} in {folder.path} isn't finished: "
            f"`harness run {folder.path} --resume` goes on"
        )
    stored = read_requests(folder.point(chosen.id) / "requests.parquet")
    start_ns = None if observed.window_ns is None else observed.window_ns[0]
    return _frame(stored, _PHASES[phase], start_ns)


def _chosen(folder: RunFolder, wanted: str) -> Point:
    """The point whose id or label is `wanted`, or else the only one whose id begins with it."""
    begun = folder.points().begun
    fitting = (
        [point for point in begun if point.id == wanted]
        or [point for point in begun if point.label == wanted]
        or [point for point in begun if wanted and point.id.startswith(wanted)]
    )
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(quoted(point.id, 100) for point in (fitting or begun)[:20]) or "none"
    what = f"several points {wanted!r}" if fitting else f"no point {wanted!r}"
    raise InputError(f"{folder.path} has {what}: give one of these ids: {known}")


def _frame(stored: StoredRequests, phase: Phase, start_ns: int | None) -> pd.DataFrame:
    """`start_ns`: that of the measured window; None where it wasn't kept, because the point ended early."""
    if start_ns is None:
        measured = stored.requests[stored.requests["phase"] == Phase.MEASURE]
        start_ns = int((measured if measured.size else stored.requests)["intended_ns"].min(initial=2**62))
    requests = stored.requests[stored.requests["phase"] == phase]
    requests = requests[np.argsort(requests["intended_ns"], kind="stable")]
    latency_ns = requests["completed_ns"] - requests["intended_ns"]
    frame = pd.DataFrame(
        {
            "request": _names(requests["request_class"] % np.uint16(len(stored.classes)), stored.classes),
            "status": _names(requests["status"], _STATUSES),
            "reason": _names(requests["reason"], (None, *stored.reasons)),
            "scheduled_s": (requests["intended_ns"] - start_ns) / 1e9,
            "sent_s": (requests["sent_ns"] - start_ns) / 1e9,
            "first_byte_s": _where(
                requests["first_byte_ns"] != NO_BYTE, requests["first_byte_ns"] - start_ns
            ),
            "completed_s": (requests["completed_ns"] - start_ns) / 1e9,
            "latency_s": _where(requests["status"] == Status.OK, latency_ns),
            "request_bytes": requests["sent_bytes"].astype(np.int64),
            "response_bytes": requests["received_bytes"].astype(np.int64),
            "load_process": requests["worker"].astype(np.int64),
        }
    )
    if stored.replicas:
        frame["replica"] = _names(
            requests["request_class"] // np.uint16(len(stored.classes)), stored.replicas
        )
    return frame


def _where(observed: npt.NDArray[np.bool_], times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Seconds, NaN where they were not observed."""
    seconds: npt.NDArray[np.float64] = np.where(observed, times_ns / 1e9, np.nan)
    return seconds


def _names(codes: Requests, names: Sequence[str | None]) -> Any:
    """A categorical column; a code whose name is None has no value. A received file may name one twice."""
    places = {name: place for place, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    of_code = np.array([-1 if name is None else places[name] for name in names], dtype=np.int32)
    return pd.Categorical.from_codes(of_code[codes], pd.Index(list(places)))
