"""Figures of sequences: how long one takes from its first step to its last answer, and how many there are."""

from __future__ import annotations

import numpy as np

from harness.analysis.latency import summarize
from harness.schema.result import SequenceFigures
from harness.schema.samples import Phase, SequenceEnd, Sequences


def sequence_figures(sequences: Sequences, seconds: float | None) -> SequenceFigures:
    """Of those that began in the measured phase of so many seconds; latency is of those that came to their
    end."""
    measured = sequences[sequences["phase"] == Phase.MEASURE]
    whole = measured[measured["how"] == SequenceEnd.WHOLE]
    latency_s = ((whole["ended_ns"] - whole["began_ns"]) / 1e9).astype(np.float64)
    return SequenceFigures(
        whole=int(whole.size),
        cut=int(np.count_nonzero(measured["how"] == SequenceEnd.CUT)),
        failed=int(np.count_nonzero(measured["how"] == SequenceEnd.FAILED)),
        steps_mean=float(whole["steps"].mean()) if whole.size else None,
        per_s=whole.size / seconds if seconds else None,
        latency_s=summarize(latency_s, seconds=seconds),
    )
