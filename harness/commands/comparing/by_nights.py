"""A build beside a reference, judged by the nights since the baseline was accepted: for where the baseline's
build can't be run again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.comparing.environment_changes import of_the_machine
from harness.commands.comparing.side import Side, check_alike
from harness.commands.progress import Progress
from harness.commands.run import exported, load
from harness.confined import confined
from harness.schema.ab_result import PointVerdict
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.night_result import Night, Stored
from harness.schema.regression_section import Regression
from harness.schema.result import Environment
from harness.schema.scenario import Scenario
from harness.schema.served_model import Served
from harness.store import baselines, night_file
from harness.store.baselines import Kept
from harness.store.scenario_file import LoadedScenario
from harness.verdict.judge import RoundsOfPoint
from harness.verdict.nights import beside_reference, judge_by_nights


def reference_of(loaded: LoadedScenario, results: Path, progress: Progress) -> Kept | None:
    """The build that every night of a scenario is measured beside; None where it names none. It is exported
    the first time, and kept. Raises HarnessError."""
    named = loaded.scenario.regression.reference
    if named is None:
        return None
    if isinstance(loaded.scenario.model, Served):
        raise InputError(
            f"{loaded.name} has a reference, and is of a model that harness doesn't export: its own build is "
            "kept and run again, so leave out regression.reference"
        )
    kept = baselines.newest(results, loaded.name, "references")
    if kept is None:
        reference = load(confined(loaded.folder, named, f"regression.reference {named!r}"), progress=progress)
        kept = baselines.keep(
            results,
            reference,
            exported(reference, progress),
            reason=f"{named} as it was the first time",
            night=None,
            environment=None,
            reference_of=loaded.name,
        )
    progress.say(f"reference: {kept.baseline.reason} ({kept.folder})")
    return kept


def as_reference(kept: Kept, loaded: LoadedScenario, *, in_turns: bool) -> LoadedScenario:
    """Today's scenario for the reference: its own requests and how it is served, under today's load. Raises
    InputError where what it is asked isn't like what the build is asked."""
    own = {name: getattr(kept.scenario, name) for name in ("server", "dtype", "requests")}
    scenario = loaded.scenario.model_copy(update=own)
    folder = (loaded.folder / str(loaded.scenario.regression.reference)).parent
    try:
        reference = LoadedScenario("reference", folder, loaded.text, scenario, expand(scenario))
        check_alike(reference, loaded, in_turns=in_turns)
    except InputError as error:
        raise InputError(
            f"{loaded.scenario.regression.reference} can't be the reference of {loaded.name}: {error}"
        ) from error
    return reference


@dataclass(frozen=True, slots=True)
class ByNights:
    """How a night is judged by those before it."""

    reference: tuple[str, ...]
    """The SHA-256 of each of its models."""
    asked: str
    accepted: str | None
    """The run id of the night whose build is the baseline."""
    nights: Sequence[Night]
    """Those since the baseline was accepted that came to their end, in their order."""
    candidate: Side

    @classmethod
    def of(
        cls, reference: Kept, baseline: Kept, candidate: Side, results: Path, progress: Progress
    ) -> ByNights:
        """With the nights since the one whose build is the baseline."""
        loaded, since = candidate.loaded, baseline.baseline.night
        before = night_file.past(results, loaded.name, progress.say)
        nights = [night for night in before if since is not None and night.run_id >= since]
        models = tuple(model.sha256 for model in reference.models.values())
        return cls(models, asked_of(loaded.scenario), since, nights, candidate)

    def judged(self, points: Sequence[RoundsOfPoint], terms: Regression) -> tuple[PointVerdict, ...]:
        """Of each point of tonight, by the nights that it can be compared with."""
        counted, _ = self.told_apart()
        return judge_by_nights(points, [night.stored.points for night in counted if night.stored], terms)

    def told_apart(self) -> tuple[list[Night], dict[str, int]]:
        """The nights that tonight is compared with, and why how many others aren't."""
        here = self.candidate.folder.about(1).environment
        counted, passed_over = [], Counter[str]()
        for night in self.nights:
            if (why := self._unlike(night, here)) is None:
                counted.append(night)
            else:
                passed_over[why] += 1
        return counted, dict(passed_over)

    def stored(self, points: Sequence[RoundsOfPoint]) -> Stored:
        """What tonight leaves for later nights."""
        _, passed_over = self.told_apart()
        return Stored(
            reference=self.reference,
            asked=self.asked,
            points=beside_reference(points),
            passed_over=passed_over,
        )

    def _unlike(self, night: Night, here: Environment | None) -> str | None:
        """Why a night can't be compared with tonight, whose environment is `here`."""
        if night.stored is None or night.comparison is None:
            return "it wasn't measured beside a reference"
        if not night.stored.points:
            return "too few of its rounds count"
        if night.stored.reference != self.reference:
            return "its reference was another"
        if night.stored.asked != self.asked:
            return "it asked for something else"
        if night.outcome in ("regressed", "improved") and night.run_id != self.accepted:
            return f"it {night.outcome}"
        changed = of_the_machine(night.comparison.arms[1].environment, here)
        return f"the machine was another: {', '.join(changed)}" if changed else None


BUILD = {
    "model",
    "dtype",
    "server",
    "objective",
    "validity",
    "tune",
    "regression",
    "plan",
    "given",
    "chosen",
    "seed",
}
"""What of a scenario is the build's, or decides nothing of what it is asked."""


def asked_of(scenario: Scenario) -> str:
    """A digest of what the build is asked, and how."""
    document = scenario.model_dump(mode="json", exclude=BUILD)
    terms = scenario.regression
    document["rounds"] = [terms.round_s, terms.block_s]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
