"""Whether a point's figures may be used: the gates' verdict, their reasons, and notes beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.gates.gate import Evidence, Gate, Refusal
from harness.analysis.notes import notes_on
from harness.schema.result import Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def judge(evidence: Evidence, gates: Sequence[Gate]) -> Judgement:
    """Judge one point. Its reasons stand in the order of the gates; those of an inconclusive point are only
    asked for where it isn't invalid."""
    notes = tuple(notes_on(evidence))
    verdicts: tuple[Refusal, ...] = ("invalid", "inconclusive")
    for verdict in verdicts:
        reasons = tuple(
            reason
            for gate in gates
            if gate.verdict == verdict and (gate.without_requests or evidence.facts.requests)
            for reason in gate.reasons(evidence)
        )
        if reasons:
            return Judgement(verdict, reasons, notes)
    return Judgement("valid", (), notes)
