"""A model that a server has by itself, as a scenario's points are to be of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.commands.progress import Progress
from harness.measurement.testbed import Testbed
from harness.model.served_payloads import check_class
from harness.schema.errors import InputError
from harness.schema.served_model import Served, ServedModel
from harness.store.scenario_file import LoadedScenario


def described(served: Served, beside: Sequence[Served], testbed: Testbed, progress: Progress) -> ServedModel:
    """What the server, or one that is started for it, says of the model, and of those beside it. Raises
    HarnessError."""
    testbed.target.check_has_models(served)
    with log_of_a_moment() as log, testbed.target.server(log, say=progress.say) as server:
        model = server.describe(served)
        others = tuple(server.describe(other) for other in dict.fromkeys(beside))
    for each in (model, *others):
        said = f"; {', '.join(each.features)}" if each.features else ""
        progress.say(f"model {each.name}: {each.platform}, {each.source}{said}")
    if not others:
        return model
    digests = "".join(each.sha256 for each in (model, *others))
    sha256 = hashlib.sha256(digests.encode()).hexdigest()
    return model.model_copy(update={"beside": others, "sha256": sha256})


def model_of(loaded: LoadedScenario, served: Served, testbed: Testbed, progress: Progress) -> ServedModel:
    """The model, where the scenario's points can be measured of it. Raises HarnessError."""
    beside = [request.model for request in loaded.scenario.requests if request.model is not None]
    model = described(served, beside, testbed, progress)
    for each in model.asked:
        check_can_be_asked(each)
    for point in loaded.points:
        for kind in point.requests:
            check_class(model.asked_by(kind.model), kind, loaded.folder)
    return model


CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"


def check_plain_requests(loaded: LoadedScenario) -> None:
    """Raise InputError where classes ask several models or send sequences, for what searches or plans for one
    model at a rate of requests: that of sequences is how many begin, and a server's is of their steps."""
    for request in loaded.scenario.requests:
        if request.sequence is not None:
            raise InputError(
                f"{request.name} of {loaded.name} sends sequences, and how many of them a server holds is "
                "neither searched nor planned yet: measure them at several rates with `harness run`"
            )
        if request.model is not None:
            raise InputError(
                f"request class {request.name!r} of {loaded.name} asks another model, {request.model}, and a "
                "search or a plan is of one: measure them together with harness run"
            )


def check_can_be_asked(model: ServedModel) -> None:
    """Raise InputError for a model that harness sends no requests to."""
    if model.decoupled:
        raise InputError(
            f"{model.name} is decoupled: it answers over gRPC's streams alone, which harness doesn't speak"
        )
    inputs = model.config.get("sequence_batching", {}).get("control_input", ())
    ids = [each for control in inputs for each in control.get("control", ())]
    if any(each.get("kind") == CORRELATION_ID and each.get("data_type") == "TYPE_STRING" for each in ids):
        raise InputError(f"{model.name} takes text as the id of a sequence, and harness sends numbers")


@contextmanager
def log_of_a_moment() -> Iterator[Path]:
    """A file for the output of a server that is only asked something. Where that fails it stays, because the
    error names it."""
    with tempfile.NamedTemporaryFile(prefix="harness-server-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    yield log
    log.unlink(missing_ok=True)
