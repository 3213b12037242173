"""The requests of several replicas: as one load, and each replica's own figures.

A record's `request_class` counts the classes of the first replica, then those of the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.latency import summarize
from harness.schema.observed import Observed
from harness.schema.result import ReplicaFigures
from harness.schema.samples import Measured

ALIKE = 1.1
"""Medians that differ by less are never called different."""


def as_one(measured: Measured, classes: int) -> Measured:
    """The same, whichever replica answered."""
    if not measured.size or int(measured.request_class.max()) < classes:
        return measured  # it may be a gigabyte
    columns = {name: getattr(measured, name) for name in Measured.__slots__}
    return Measured(**columns | {"request_class": measured.request_class % np.uint16(classes)})


def replica_figures(
    observed: Observed, measured: Measured, steady_ok: npt.NDArray[np.bool_], classes: int
) -> tuple[ReplicaFigures, ...]:
    """Of each, in the order of the addresses that were given; latency is of those marked in `steady_ok`."""
    if not observed.replicas:
        return ()
    replica = measured.request_class // np.uint16(classes)
    return tuple(
        ReplicaFigures(
            address=each.address,
            requests=int(np.count_nonzero(mine := replica == number)),
            errors=int(np.count_nonzero(mine & ~measured.ok)),
            latency_s=summarize(
                (measured.completed_ns[kept := mine & steady_ok] - measured.intended_ns[kept]) / 1e9
            ),
            server=each.server,
        )
        for number, each in enumerate(observed.replicas)
    )


def unlike_words(replicas: Sequence[ReplicaFigures]) -> Iterator[str]:
    """That one of them is slower than another, where their intervals say so."""
    known = [each for each in replicas if each.latency_s.p50 and each.latency_s.interval_95.get("p50")]
    if len(known) < 2:
        return
    fast, slow = (choose(known, key=lambda each: each.latency_s.p50 or 0.0) for choose in (min, max))
    fast_s, slow_s = fast.latency_s.p50 or 0.0, slow.latency_s.p50 or 0.0
    apart = fast.latency_s.interval_95["p50"][1] < slow.latency_s.interval_95["p50"][0]
    if apart and slow_s > ALIKE * fast_s:
        yield (
            f"the replicas aren't alike: the median is {slow_s * 1e3:.3g} ms at {slow.address} and "
            f"{fast_s * 1e3:.3g} ms at {fast.address}"
        )
