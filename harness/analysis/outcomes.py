"""How a result ended, in a word; the exit code of the command that made it follows from it."""

from __future__ import annotations

from harness.schema.errors import ExitCode
from harness.schema.history_result import RunOutcome
from harness.schema.plan_result import PlanResult
from harness.schema.result import RunResult
from harness.schema.tune_result import TuneResult


def code_of(outcome: RunOutcome) -> ExitCode:
    """1 where what was asked for isn't so, 3 where that can't be told or a figure not be used, else 0."""
    match outcome:
        case "missed" | "regressed":
            return ExitCode.OBJECTIVE_MISSED
        case "invalid" | "inconclusive":
            return ExitCode.INVALID
    return ExitCode.FINE


def run_outcome(result: RunResult) -> RunOutcome:
    """Of `harness run`."""
    verdicts = {point.verdict for point in result.points}
    met = {check.met for point in result.points for check in point.objective}
    if "invalid" in verdicts:
        return "invalid"
    if "inconclusive" in verdicts or None in met:
        return "inconclusive"
    return "missed" if False in met else "met" if met else "valid"


def tune_outcome(result: TuneResult) -> RunOutcome:
    """Of `harness tune`."""
    if result.best is not None:
        return "found"
    return "missed" if any(step.told == "rated" for step in result.steps) else "inconclusive"


def plan_outcome(result: PlanResult) -> RunOutcome:
    """Of `harness plan`."""
    if any(check.held is False for check in result.verification):
        return "missed"
    if any(each.replicas is not None for each in result.hardware):
        return "found"
    return "missed" if any(each.trust is not None for each in result.hardware) else "inconclusive"
