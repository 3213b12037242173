"""A model that a server has by itself, as a scenario's points are to be of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands.progress import Progress
from harness.measurement.testbed import Testbed
from harness.model.served_payloads import check_class
from harness.schema.errors import InputError
from harness.schema.served_model import Served, ServedModel
from harness.store.scenario_file import LoadedScenario


def described(served: Served, testbed: Testbed, progress: Progress) -> ServedModel:
    """What the server, or one that is started for it, says of the model. Raises HarnessError."""
    testbed.target.check_has_models(served)
    with log_of_a_moment() as log, testbed.target.server(log, say=progress.say) as server:
        model = server.describe(served)
    said = f"; {', '.join(model.features)}" if model.features else ""
    progress.say(f"model {served}: {model.platform}, {model.source}{said}")
    return model


def model_of(loaded: LoadedScenario, served: Served, testbed: Testbed, progress: Progress) -> ServedModel:
    """The model, where the scenario's points can be measured of it. Raises HarnessError."""
    model = described(served, testbed, progress)
    check_can_be_asked(model)
    for point in loaded.points:
        for kind in point.requests:
            check_class(model, kind, loaded.folder)
    return model


def check_can_be_asked(model: ServedModel) -> None:
    """Raise InputError for a model that harness sends no requests to."""
    if model.decoupled:
        raise InputError(
            f"{model.name} is decoupled: it answers over gRPC's streams alone, which harness doesn't speak"
        )
    if "sequence_batching" in model.config:
        raise InputError(f"{model.name} has a sequence batcher, and harness doesn't send sequences yet")


@contextmanager
def log_of_a_moment() -> Iterator[Path]:
    """A file for the output of a server that is only asked something. Where that fails it stays, because the
    error names it."""
    with tempfile.NamedTemporaryFile(prefix="harness-server-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    yield log
    log.unlink(missing_ok=True)
