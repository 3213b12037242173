"""The requests of an arm on a clock that stands still while another arm has its turn.

On it they are those of a load that was never interrupted, so that throughput, drift and the rest are found as
for any other point. No latency changes: all times of a request are moved by the same.
"""

from __future__ import annotations

import numpy as np

from harness.schema.observed import ArmObserved
from harness.schema.samples import Measured


def on_own_clock(measured: Measured, arm: ArmObserved) -> Measured:
    """`measured` are the requests of the measured phase that were sent to `arm`."""
    start_ns = arm.start_ns
    if start_ns is None:  # then nothing was measured
        return measured
    if arm.turns.block_s is not None:
        due_s = (measured.intended_ns - start_ns) / 1e9
        own_ns = start_ns + np.rint(arm.turns.own(arm.number, due_s) * 1e9).astype(np.int64)
    else:  # a lone user: the next is due when the last has its answer
        took_ns = measured.completed_ns - measured.intended_ns
        own_ns = start_ns + np.cumsum(took_ns) - took_ns
    by_ns = own_ns - measured.intended_ns
    return Measured(
        request_class=measured.request_class,
        status=measured.status,
        reason=measured.reason,
        intended_ns=own_ns,
        sent_ns=measured.sent_ns + by_ns,
        completed_ns=measured.completed_ns + by_ns,
    )
