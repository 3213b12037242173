"""`harness init`: a scenario for a model that a server has, which can be run as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness import atomic
from harness.commands.progress import Progress
from harness.commands.served import check_can_be_asked, log_of_a_moment
from harness.load import sequence_flags
from harness.load.endpoint import Endpoint
from harness.measurement.testbed import Testbed
from harness.model.comparison import difference
from harness.model.first_guess import GUESSES, Guess, own_key, request_class, sent
from harness.model.served_payloads import payloads
from harness.plain_text import quoted
from harness.schema.errors import InputError, ServerError
from harness.schema.point import PointClass
from harness.schema.samples import Status
from harness.schema.served_model import Served, ServedModel, ServedTensor
from harness.schema.tensors import Tensors
from harness.store.run_folder import slug
from harness.triton.server import Server

FOLDER = Path("scenarios")
TRIED_S = 30.0
"""A request that is tried may take so long."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of asking the model for something."""

    guess: Guess
    refused: str | None
    """Why it didn't answer to any guess; None where it did to this one."""
    repeats: bool
    """Whether it answered the same to the same request."""


def init(
    served: Served, testbed: Testbed, *, folder: Path = FOLDER, progress: Progress | None = None
) -> Path:
    """Write `MODEL.yaml` into the folder, for the model as its server has it. Raises HarnessError; nothing is
    overwritten."""
    file = folder / f"{slug(served.served, most=100)}.yaml"
    if file.exists():
        raise InputError(f"{file} is there already, and isn't overwritten: move it, or name another --folder")
    text = first_scenario(served, testbed, progress or Progress())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} can't be made ({error.strerror}): name another") from error
    atomic.write_text(file, text, "name another --folder")
    return file


def first_scenario(served: Served, testbed: Testbed, progress: Progress) -> str:
    """The text of such a file. Raises HarnessError."""
    testbed.target.check_has_models(served)
    with log_of_a_moment() as log, testbed.target.server(log, say=progress.say) as server:
        model = server.describe(served)
        check_can_be_asked(model)
        tried = _tried(model, server)
    if tried.refused is not None:
        progress.say(
            f"{served} answered to nothing that was tried: {tried.refused}; the file says what to set"
        )
    return "\n".join(_lines(served, model, tried)) + "\n"


def _tried(model: ServedModel, server: Server) -> Tried:
    refused = "its inputs can't be made up"
    for guess in GUESSES:
        kind = request_class(model, guess)
        try:
            (one,) = payloads(model, kind, base_dir=Path(), count=1, seed=1)
            first, again = (_answer(model, server, one.inputs) for _ in range(2))
        except (InputError, ServerError) as error:
            refused = str(error)
            continue
        alike = first.keys() == again.keys() and difference(again, first).relative <= model.tolerance
        return Tried(guess, None, alike)
    return Tried(GUESSES[0], refused, True)


def _answer(model: ServedModel, server: Server, inputs: Tensors) -> Tensors:
    """Raises ServerError where the model refuses."""
    way = server.way
    endpoint = Endpoint(
        protocol="http",
        host=way.host,
        port=way.port,
        at=way.at,
        timeout_s=TRIED_S,
        tls=way.tls,
        prefix=way.prefix,
        with_headers=way.with_headers,
    )
    version = "" if model.version is None else str(model.version)
    parameters = sequence_flags.parameters() if model.in_sequences else None
    request = endpoint.prepare(model.name, inputs, (), version=version, parameters=parameters)
    with closing(endpoint.open()) as connection:
        reply = connection.call(request, keep_body=True)
        if reply.status is not Status.OK:
            raise ServerError(reply.reason or "no answer")
        return connection.decode(reply)


def _lines(served: Served, model: ServedModel, tried: Tried) -> Iterator[str]:
    kind = request_class(model, tried.guess)
    features = "".join(f", {feature}" for feature in model.features)
    yield f"# {served}, {model.source}: {model.platform}, max_batch_size {model.max_batch}{features}."
    yield f"# Inputs: {_tensors(model.inputs)}."
    yield f"# Outputs: {_tensors(model.outputs)}."
    if tried.refused is not None:
        yield f"# It answered to nothing that was tried: {quoted(tried.refused, 300)}"
        yield "# Say below what it takes, or give it `data`."
    version = "" if served.version is None else f", version: {served.version}"
    yield f"model: {{served: {_word(served.served)}{version}}}"
    yield "requests:"
    yield f"  - name: {kind.name}"
    yield from (f"    {line}" for line in _request(model, kind))
    yield "    # Payloads of your own, in place of all this: perf_analyzer's JSON or folder, .npz or .npy."
    yield "    # data: FILE"
    yield "load: {concurrency: [1, 4, 16]}  # an open loop: {rate_per_s: 100, arrivals: poisson}"
    yield "measure: {duration_s: 10}"
    yield "# objective: {p99_ms: 100}"
    if not tried.repeats:
        yield "# It answered another thing to the same request, so its answers aren't compared under load."
        yield "validity: {different_answers: 1}"


def _request(model: ServedModel, kind: PointClass) -> Iterator[str]:
    if model.max_batch > 1:
        yield f"batch: 1  # inferences in a request, {model.max_batch} at most; a list is varied: [1, 4]"
    if kind.shapes:
        yield "shapes:  # without the batch; an axis that has a name gets its size below"
        tensors = {tensor.name: tensor for tensor in model.inputs}
        for name, shape in kind.shapes.items():
            said = ", ".join(str(size) for size in shape)
            yield f"  {_word(name)}: [{said}]  # of {list(tensors[name].dims)}"
    named = {axis: size for axis, size in kind.axes.items() if not own_key(axis)}
    for axis, size in kind.axes.items():
        if own_key(axis):
            yield f"{axis}: {size}  # a guess; a list is varied: [{size}, {4 * size}]"
    if named:
        sizes = ", ".join(f"{axis}: {size}" for axis, size in named.items())
        yield f"axes: {{{sizes}}}  # a guess; a list is varied"
    if kind.ranges:
        yield "ranges:  # values from `low` to below `high`: a guess, its owner knows which are valid"
        for name, of in kind.ranges.items():
            yield f"  {_word(name)}: {{low: {of.low:g}, high: {of.high:g}}}"
    if kind.sequence is not None:
        yield "sequence: {length: 20, variation: 0.2}  # steps; concurrency is of sequences"
    if any(tensor.datatype == "BYTES" for tensor in sent(model)):
        yield "string_length: 128  # of random strings; `payload: text` sends lines of real text"
    for tensor in model.inputs:
        if tensor.optional:
            yield f"# {tensor.name} may be left out, and is: it is sent where `shapes` or `ranges` name it."


def _tensors(tensors: tuple[ServedTensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.dims)}" for tensor in tensors)


def _word(text: str) -> str:
    """As it stands in YAML."""
    plain = text.replace("_", "").replace("-", "").isalnum() and text.isascii() and not text[0].isdigit()
    reserved = text.lower() in ("yes", "no", "true", "false", "null", "on", "off", "y", "n")
    return text if plain and not reserved and text[0] != "-" else json.dumps(text)
