"""`harness plan --observe`: what a plan needs to know of one configuration is measured.

Each request class by itself, by a single user and by as many as fill every batch; then all of them as they
are mixed, at several rates.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.commands.planning.live import Live
from harness.schema.errors import InputError
from harness.schema.expansion import configurations
from harness.schema.point import Setting
from harness.store.scenario_file import LoadedScenario

LONGEST_S = 4.0
"""Of what waits for nobody, or is saturated: it takes few requests to know its mean."""

RATES = (0.3, 0.45, 0.6, 0.7, 0.78, 0.85)
"""Over what is served at saturation; each is measured for the scenario's `duration_s`."""


def only_configuration(loaded: LoadedScenario) -> Mapping[str, Setting]:
    """Raises InputError where the scenario has several."""
    found = configurations(loaded.scenario)
    if len(found) > 1:
        raise InputError(
            f"{loaded.name} has {len(found)} configurations, and a plan is of one: find the best with "
            f"`harness tune`, or choose with --set {next(iter(found[0]))}=…"
        )
    return found[0]


def observe(live: Live) -> None:
    """All is in the folder when this returns. Raises ServerError."""
    scenario = live.loaded.scenario
    rated_s = scenario.measure.duration_s
    short_s = min(rated_s, LONGEST_S)
    for each in scenario.requests:
        live.progress.say(f"{each.name} by itself")
        live.alone(each, short_s)
        live.saturated(each, short_s)
    live.progress.say("the requests as they are mixed")
    most = live.saturated(None, short_s).throughput_requests_per_s or 0.0
    for part in RATES if most else ():
        live.rated(part * most, rated_s)
