"""`harness ab`: two arms on one machine, loaded in turns, and one verdict."""

from __future__ import annotations

import os
from pathlib import Path

from harness.analysis.outcomes import code_of
from harness.commands.comparing.announce import announce, of_comparison
from harness.commands.comparing.experiment import Experiment, terms_of
from harness.commands.comparing.side import Side, check_alike, check_apart
from harness.commands.progress import Progress
from harness.commands.run import RESULTS, models_of
from harness.console import print_sentences
from harness.measurement.testbed import Testbed
from harness.publish.webhook import Webhook
from harness.report.comparison_words import comparison_lines
from harness.schema.ab_result import Comparison, Outcome
from harness.schema.errors import ExitCode
from harness.store.run_folder import dated_folder
from harness.store.scenario_file import LoadedScenario


def ab(
    baseline: LoadedScenario,
    candidate: LoadedScenario,
    testbed: Testbed | None = None,
    *,
    candidate_testbed: Testbed | None = None,
    minutes_per_point: float | None = None,
    in_turns: bool = True,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> Comparison:
    """Measure both scenarios in a new folder under `results`, until each question is settled or the time is
    up. `candidate_testbed`: where the candidate's server is another. Raises HarnessError; what was measured
    is kept."""
    testbed, progress = testbed or Testbed(), progress or Progress()
    beds = testbed, candidate_testbed or testbed
    webhook = Webhook.of(os.environ)
    check_alike(baseline, candidate, in_turns=in_turns)
    for bed, each in zip(beds, (baseline, candidate), strict=True):
        bed.check(each.name, each.points)
    models = models_of(baseline, beds[0], progress), models_of(candidate, beds[1], progress)
    if _share_a_server(*beds):
        check_apart((baseline, candidate), models)
    folder = dated_folder(results, f"{baseline.name}-vs-{candidate.name}")
    sides = (
        Side.made("baseline", baseline, models[0], beds[0], folder),
        Side.made("candidate", candidate, models[1], beds[1], folder),
    )
    terms = terms_of(baseline, minutes_per_point)
    found = Experiment.of(folder, sides, terms, in_turns=in_turns).measured(progress)
    announce(webhook, of_comparison(found), progress)
    return found


def _share_a_server(baseline: Testbed, candidate: Testbed) -> bool:
    """Whether both ask one that runs already."""
    one, other = baseline.target.running, candidate.target.running
    return one is not None and other is not None and bool(set(one.urls) & set(other.urls))


def exit_code(outcome: Outcome) -> ExitCode:
    """1 where something regressed, 3 where something can't be told, else 0."""
    return code_of(outcome)


def show(result: Comparison) -> None:
    """What was found, on stdout."""
    print_sentences(comparison_lines(result))
