"""What a user takes from a search: config.pbtxt for a model repository, and a scenario to measure further."""

from __future__ import annotations

from harness import atomic
from harness.commands.open_loop import at_rate
from harness.commands.tuning.search import Search
from harness.plain_text import written as written_path
from harness.schema.expansion import point_at, with_settings
from harness.schema.served_model import ServedModel
from harness.schema.tune_result import TuneResult
from harness.schema.tune_section import Tune
from harness.store.scenario_file import written
from harness.triton import as_loaded
from harness.triton.repository import model_config, text_format
from harness.triton.their_repository import config_text

SHARE = 0.8
"""Of the capacity that the scenario sends: what one would plan with."""


def write_answer(search: Search, result: TuneResult, *, gpu: bool) -> tuple[str, ...]:
    """Write both files into the search's folder; their names, none where there is nothing to
    recommend.

    `gpu`: whether `kind: auto` means a GPU on the server that was searched.
    """
    if result.recommended is None:
        return ()
    found = result.candidates[result.recommended]
    point = point_at(search.scenario, found.settings)
    artifact = search.models[point.dtype]
    words = ", ".join(f"{path} {value}" for path, value in found.settings.items()) or "its only configuration"
    head = f"# Recommended by `harness tune` for {search.loaded.name} ({result.run_id}): {words}.\n"
    path = search.folder.path
    if isinstance(artifact, ServedModel):
        config = config_text(as_loaded.with_settings(artifact.config, artifact, point.server))
    else:
        config = text_format(model_config(artifact, point.server, gpu=gpu))
    atomic.write_text(path / "config.pbtxt", head + config)
    capacity = found.capacity_per_s.value or 0.0
    rate, note = float(f"{SHARE * capacity:.3g}"), f"{SHARE:.0%} of its capacity of {capacity:.3g} requests/s"
    if result.rate_per_s is not None:
        rate, note = result.rate_per_s, f"the {result.rate_per_s:g} requests/s that it was searched for"
    scenario = with_settings(search.scenario, {**found.settings, **at_rate(search.scenario, rate)})
    note = f"# It sends {note}.\n{_beside(search)}"
    text = written(scenario.model_copy(update={"tune": Tune()}))
    atomic.write_text(path / "recommended.yaml", head + note + text)
    return "config.pbtxt", "recommended.yaml"


def _beside(search: Search) -> str:
    """Where the file must lie, if it names others."""
    scenario, folder = search.scenario, search.loaded.folder
    files = [
        *([scenario.model] if isinstance(scenario.model, str) else []),
        *(file for r in scenario.requests for file in (r.folder, r.data) if file),
        *scenario.load.files.values(),
    ]
    if not any((folder / file).exists() for file in files):
        return ""
    return f"# What it names lies in {written_path(folder)}: copy it there.\n"
