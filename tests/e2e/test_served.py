"""Models that harness didn't export: in a server that runs already, and in a repository of the user's."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.address import LOOPBACK
from harness.commands.tuning.search import race_of
from harness.schema.errors import InputError
from harness.schema.served_model import Served, ServedModel
from harness.store.scenario_file import scenario_of_text
from harness.triton.remote import RemoteServer
from harness.triton.their_repository import TheirRepository
from tests.e2e.conftest import Workplace, under_load, valid, wait_for
from tests.triton import their_models
from tests.triton.open_server import OpenServer

pytestmark = pytest.mark.triton

SHORT = (
    "load={concurrency: 2}",
    "measure={warmup_s: 0.1, duration_s: 0.5}",
)
LENIENT = "validity={foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000{}}"
"""As `ONE` of the conftest: what other work on this machine does trips nothing."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return their_models.write(tmp_path_factory.mktemp("theirs") / "models")


@pytest.fixture(scope="module")
def their_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    """Somebody else's, with all of them loaded."""
    folder = tmp_path_factory.mktemp("server")
    theirs = TheirRepository.at(repository)
    with OpenServer(folder / "none", folder / "triton.log", theirs=theirs) as server:
        server.start(theirs.entry("adder", None))
        yield server


def url(server: OpenServer) -> str:
    return f"http://{server.address}"


MODELS = (
    "every_type",
    "strings",
    "adder",
    "forty",
    "varies",
    "picky",
    "counting",
    "optional",
    "in_a_row",
    "round_trip",
    "direct",
    "oldest",
)


@pytest.mark.parametrize("model", MODELS)
def test_what_init_writes_runs_as_it_is_over_both_wires(
    workplace: Workplace, their_server: OpenServer, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace.path)
    file = harness.init(model, url=url(their_server), quiet=True)
    assert file == Path(f"scenarios/{model}.yaml")
    # Of a model that answers another thing each time `init` has said so, and half the values are negative.
    more = {"counting": ", different_answers: 1", "picky": ", errors: 0.9"}.get(model, "")
    found = harness.run(
        file,
        overrides=[*SHORT, LENIENT.replace("{}", more), "protocol=[http, grpc]"],
        url=url(their_server),
        grpc_port=their_server.grpc_port,
        quiet=True,
    )
    # Half a second on a busy machine may have too few requests for a median; nothing else may be wrong.
    assert "invalid" not in [point.verdict for point in found.points], [p.reasons for p in found.points]
    assert found.model is not None and found.model.kind == "served" and found.model.name == model
    for point in found.points:
        assert point.server is not None and point.server.requests > 0
        assert point.errors == 0 or model == "picky"
        assert model != "picky" or any("it is negative" in reason for reason in point.error_reasons)
        assert (point.sequences is not None) is (model in ("direct", "oldest"))
        if point.sequences is not None:
            assert point.sequences.whole > 0 and point.sequences.failed == 0
        if model == "in_a_row":
            worked = {each.model: each.server.requests for each in point.composing}
            assert list(worked) == ["twice", "again"] and worked["twice"] == 2 * worked["again"]
            assert worked["again"] == point.server.requests
        elif model == "round_trip":
            (asked,) = point.composing
            assert (asked.model, asked.instances) == ("twice", 1)
            assert asked.server.requests == point.server.requests and 0 < (asked.busy or 0) < 1
        else:
            assert point.composing == ()
    html = (Path(found.path) / "report.html").read_text()
    assert "The model as its server has it" in html and found.model.config_sha256 in html
    assert ("The models that worked for it" in html) is (model in ("in_a_row", "round_trip"))


def test_it_says_that_answers_differ_and_that_none_came(
    workplace: Workplace, their_server: OpenServer, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace.path)
    text = harness.init("counting", url=url(their_server), quiet=True).read_text()
    assert "validity: {different_answers: 1}" in text
    said = workplace.run("init", "counting", "--url", url(their_server))
    assert said.code == 2 and "is there already, and isn't overwritten" in said.stderr
    absent = workplace.run("init", "conting", "--url", url(their_server))
    assert absent.code == 4 and "does not serve conting" in absent.stderr and "it serves" in absent.stderr
    with pytest.raises(InputError, match=r"has no model 'addder': did you mean `adder`\?"):
        harness.init("addder", model_repository=repository, quiet=True)
    with pytest.raises(InputError, match="name the server with --url, or the folder that it is in"):
        harness.init("adder", quiet=True)


def test_a_repository_is_served_and_never_written_to(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace.path)
    repository = tmp_path / "theirs"
    their_models.strings(repository)
    before = {path: path.stat().st_mtime_ns for path in (repository, *repository.rglob("*"))}
    text = """\
model: {served: strings, version: 1}
server: {max_batch: [2, 4], instances: 2}
requests:
  - {name: lines, payload: text}
load: {concurrency: 2}
measure: {warmup_s: 0.1, duration_s: 0.5, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""
    found = valid(workplace.run("run", workplace.scenario(text), "--model-repository", repository, "--json"))
    assert [point["loaded"]["max_batch"] for point in found["points"]] == [2, 4]
    assert {point["loaded"]["instances"] for point in found["points"]} == {2}
    model = found["model"]
    assert model["version"] == 1 and model["files"].keys() == {"strings/config.pbtxt", "strings/1/model.py"}
    assert {path: path.stat().st_mtime_ns for path in (repository, *repository.rglob("*"))} == before
    assert not (workplace.path / "model_repo").exists()
    refused = workplace.run(
        "run",
        workplace.scenario(text.replace("instances: 2", "threads: 2")),
        "--model-repository",
        repository,
    )
    assert (
        refused.code == 2
        and "server.threads is of ONNX Runtime, and strings is computed by python" in refused.stderr
    )


def test_one_line_is_enough_for_a_first_look(workplace: Workplace, their_server: OpenServer) -> None:
    done = workplace.run(
        "run", "--url", url(their_server), "--model", "adder", "--concurrency", "2", "--json",
        "--set", "measure={duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}",
        "--set", LENIENT.replace("{}", ""),
    )  # fmt: skip
    (point,) = valid(done)["points"]
    assert point["point"]["load"]["concurrency"] == 2
    assert "model: {served: adder}" in done.stderr, "the scenario that it ran"
    (run,) = workplace.runs
    assert (
        "harness init" in (run / "scenario.yaml").read_text()
        or "adder" in (run / "scenario.yaml").read_text()
    )


DATA = {
    "data": [{"text": ["one"]}, {"text": {"content": ["two"], "shape": [1]}}, {"text": {"b64": ""}}],
    "validation_data": [{"upper": ["ONE"]}, {"upper": ["TWO"]}, {"upper": ["THREE"]}],
}
DATA["data"][2]["text"]["b64"] = base64.b64encode(struct.pack("<I", 5) + b"three").decode()  # type: ignore[index]


def test_answers_are_held_against_perf_analyzers_validation_data(
    workplace: Workplace, their_server: OpenServer
) -> None:
    text = """\
model: {served: strings}
requests:
  - {name: mine, data: mine.json}
load: {concurrency: 2}
measure: {warmup_s: 0.1, duration_s: 1.5, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""
    file, scenario = workplace.path / "mine.json", workplace.scenario(text)
    file.write_text(json.dumps(DATA))
    (point,) = valid(workplace.run("run", scenario, "--url", url(their_server), "--json"))["points"]
    check = point["answer_check"]
    assert check["validated"] == check["compared"] > 5 and check["wrong"] == 0
    wrong = DATA | {"validation_data": [{"upper": ["ONE"]}, {"upper": ["2"]}, {"upper": ["THREE"]}]}
    file.write_text(json.dumps(wrong))
    done = workplace.run("run", scenario, "--url", url(their_server), "--json")
    (point,) = done.document["points"]
    assert done.code == 3 and point["verdict"] == "invalid"
    assert 0 < point["answer_check"]["wrong"] < point["answer_check"]["validated"]
    assert "answers that were validated are wrong" in " ".join(point["reasons"])


def test_what_a_model_takes_otherwise_is_one_sentence(
    workplace: Workplace, their_server: OpenServer, repository: Path
) -> None:
    for model, request, said in (
        ("adder", "{name: a, low: 0, high: 2}", "doesn't say the shape of input 'ids'"),
        ("adder", "{name: a, low: 0, high: 2, shapes: {ids: [4], musk: [4]}}", "did you mean `mask`?"),
        ("adder", "{name: a, shapes: {ids: [4], mask: [4]}}", "takes integers (INT64)"),
        (
            "adder",
            "{name: a, batch: 2, low: 0, high: 2, shapes: {ids: [4], mask: [4]}}",
            "one inference a request",
        ),
        ("forty", "{name: a, batch: 5}", "takes 4 at most"),
        ("twice", "{name: a, shapes: {x: [5]}}", "has the shape [5], and the model takes [4]"),
        ("twice", "{name: a, shapes: {x: [n]}, axes: {n: 4}}", "names the axis 'n' where twice has 4"),
        ("strings", "{name: a, data: absent.json}", "isn't in the scenario's folder"),
        (
            "strings",
            "{name: a, data: bad.json}",
            "data[0] names 'txt', which the model hasn't: did you mean `text`?",
        ),
        ("strings", "{name: a, data: bad.json, low: 0, high: 1}", "leave out `low`"),
    ):
        (workplace.path / "bad.json").write_text('{"data": [{"txt": ["x"]}]}')
        text = f"model: {{served: {model}}}\nrequests:\n  - {request}\nload: {{concurrency: 1}}\n"
        with pytest.raises(InputError) as refusal:
            harness.run(
                workplace.scenario(text),
                url=url(their_server),
                results=workplace.path / "results",
                quiet=True,
            )
        assert said in str(refusal.value), request
    with pytest.raises(InputError, match="--model-repository is for models that lie in it"):
        harness.run(workplace.scenario(), model_repository=repository, quiet=True)
    assert not (workplace.path / "results").exists() or not list((workplace.path / "results").iterdir())


def test_what_is_asked_is_answered_as_tritonclient_is(their_server: OpenServer) -> None:
    """Each data type over both wires, byte for byte, and a version by its number."""
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http

    from harness.load.wire import open_connection, prepare
    from harness.model.first_guess import GUESSES, request_class
    from harness.model.served_payloads import payloads

    with RemoteServer(url(their_server)) as remote:
        model = remote.describe(Served(served="every_type", version=1))
    (payload,) = payloads(model, request_class(model, GUESSES[0]), base_dir=Path(), count=1, seed=3)
    assert {tensor.datatype for tensor in model.inputs} == set(their_models.TYPES)
    ports = {"http": their_server.http_port, "grpc": their_server.grpc_port}
    for protocol, client in (("http", over_http), ("grpc", over_grpc)):
        tensors = []
        for tensor in model.inputs:
            given = client.InferInput(tensor.name, list(payload.inputs[tensor.name].shape), tensor.datatype)
            given.set_data_from_numpy(payload.inputs[tensor.name])
            tensors.append(given)
        with client.InferenceServerClient(f"{LOOPBACK}:{ports[protocol]}") as connected:
            theirs = connected.infer("every_type", tensors, model_version="1")
        request = prepare(
            protocol,  # type: ignore[arg-type]
            "every_type",
            payload.inputs,
            [],
            LOOPBACK,
            version="1",
        )
        connection = open_connection(protocol, LOOPBACK, ports[protocol], 30)  # type: ignore[arg-type]
        ours = connection.decode(connection.call(request, keep_body=True))
        connection.close()
        for tensor in model.outputs:
            assert np.array_equal(ours[tensor.name], theirs.as_numpy(tensor.name)), (protocol, tensor.name)
            sent = payload.inputs[tensor.name.replace("out_", "in_")]
            assert tensor.datatype == "BF16" or np.array_equal(ours[tensor.name], sent), tensor.name


def test_a_repository_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        TheirRepository.at(tmp_path / "absent")
    their_models.python(tmp_path / "models", "broken", "return 1", {"x": ("FP32", "1")}, {"y": ("FP32", "1")})
    (tmp_path / "models" / "broken" / "config.pbtxt").write_text('backend: "python"\nmax_batch_size: nine\n')
    with pytest.raises(harness.HarnessError, match=r"Triton refused broken: .*broken/config\.pbtxt"):
        harness.init("broken", model_repository=tmp_path / "models", folder=tmp_path / "s", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_two_configurations_of_it_are_compared_side_by_side(workplace: Workplace, tmp_path: Path) -> None:
    their_models.strings(tmp_path / "theirs")
    text = """\
model: {served: strings}
requests:
  - {name: lines, payload: text}
load: {concurrency: 1}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
regression: {round_s: 1}
"""
    options = ("--model-repository", tmp_path / "theirs", "--candidate-set", "server.instances=2")
    done = workplace.run("ab", workplace.scenario(text), *options, "--minutes-per-point", "0.01", "--json")
    found = done.document
    assert done.code == 3 and found["outcome"] == "inconclusive", "one round settles nothing"
    assert [arm["models"][0]["kind"] for arm in found["arms"]] == ["served"] * 2
    assert found["differs"] == {"server.instances": ["left out", "2"]}
    assert "parity" not in {metric["metric"] for point in found["points"] for metric in point["metrics"]}


def test_what_a_search_leaves_open_is_as_the_owner_configured_it(tmp_path: Path) -> None:
    loaded = scenario_of_text(
        "model: {served: theirs}\nserver: {max_batch: [4, 16]}\nrequests: [{name: one}]\n"
        "load: {rate_per_s: 5}\nobjective: {p90_ms: 50}\n",
        "search",
        tmp_path,
    )
    config = {
        "max_batch_size": 32,
        "instance_group": [{"kind": "KIND_CPU", "count": 3}],
        "dynamic_batching": {"max_queue_delay_microseconds": 700},
    }
    known = {"name": "theirs", "version": None, "versions": ("1",), "source": "", "platform": "python"}
    tensors = {"inputs": (), "outputs": (), "max_batch": 32}
    model = ServedModel(**known, **tensors, config=config, config_sha256="", sha256="")  # type: ignore[arg-type]
    foresight = race_of(loaded, 60, {None: model}).foresight
    batchers = [foresight.batcher(number) for number in range(2)]
    assert [each.max_batch for each in batchers] == [4, 16]
    assert {(each.instances, each.queue_delay_s) for each in batchers} == {(3, 0.0007)}


def test_a_killed_harness_leaves_it_as_its_owner_configured_it(
    workplace: Workplace, their_server: OpenServer
) -> None:
    control = their_server.control
    before = control.model_config("strings")
    text = "model: {served: strings}\nrequests: [{name: lines, payload: text}]\n"
    text += "server: {instances: 3, max_batch: 2}\nload: {concurrency: 1}\nmeasure: {duration_s: 30}\n"
    process = workplace.start("run", workplace.scenario(text), "--url", url(their_server))
    under_load(workplace, process)
    changed = control.model_config("strings")
    assert changed["max_batch_size"] == 2 and [each["count"] for each in changed["instance_group"]] == [3]
    process.kill()
    process.wait()
    wait_for(lambda: control.model_config("strings") == before)


def test_two_models_that_share_a_machine_are_measured_together(
    workplace: Workplace, their_server: OpenServer
) -> None:
    text = """\
model: {served: twice}
requests:
  - {name: numbers, weight: 3}
  - {name: lines, model: {served: strings, version: 1}, payload: text}
load: {concurrency: 2}
measure: {warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""
    scenario = workplace.scenario(text)
    result = valid(workplace.run("run", scenario, "--url", url(their_server), "--json"))
    page = (Path(result["path"]) / "report.html").read_text()
    assert "<h3>twice</h3>" in page and "<h3>strings</h3>" in page
    (point,) = result["points"]
    of_class = {each["name"]: each["requests"] for each in point["classes"]}
    of_model = {each["model"]: each["server"]["requests"] for each in point["composing"]}
    assert of_model == {"twice": of_class["numbers"], "strings": of_class["lines"]}
    assert 0 < of_model["strings"] < of_model["twice"]
    assert point["server"]["requests"] == point["requests"] == sum(of_model.values())
    assert point["bottleneck"]["why"].partition(":")[0] in of_model
    refused = workplace.run("tune", workplace.scenario(text + "objective: {p90_ms: 9}\n", "search.yaml"))
    assert refused.code == 2 and "asks another model, strings version 1" in refused.stderr


def test_parameters_of_a_class_go_with_each_of_its_requests(
    workplace: Workplace, their_server: OpenServer
) -> None:
    told = json.dumps({"flag": True, "greeting": "hi", "max_tokens": 7}, sort_keys=True)
    (workplace.path / "asked.json").write_text(
        json.dumps({"data": [{"x": [1]}], "validation_data": [{"told": [told]}]})
    )
    text = """\
model: {served: told}
protocol: [http, grpc]
requests:
  - {name: one, data: asked.json, parameters: {max_tokens: 7, flag: true, greeting: hi, priority: 1}}
load: {concurrency: 1}
measure: {warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""
    where = ("--url", url(their_server), "--grpc-port", str(their_server.grpc_port))
    found = valid(workplace.run("run", workplace.scenario(text), *where, "--json"))
    assert all(point["answer_check"]["validated"] > 5 for point in found["points"])
    for changed, said in (
        ("greeting: hi", "sequence_id: 5"),
        ("priority: 1", "priority: high"),
    ):
        refused = workplace.run("run", workplace.scenario(text.replace(changed, said)), *where)
        assert refused.code == 2 and "`parameters" in refused.stderr and "Traceback" not in refused.stderr


SEQUENCES = """\
model: {served: direct}
requests:
  - {name: talk, sequence: {}, data: talk.json}
load: {concurrency: 3}
measure: {warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""


def talk(place: Workplace, *, wrong: bool = False) -> None:
    """Two streams of perf_analyzer's, with what a model that counts and adds must say to each step."""
    streams = ([1.0, 2.0, 3.0], [10.0, 20.0])
    answers = [
        [{"steps": [k + 1], "total": [sum(stream[: k + 1]) + wrong]} for k in range(len(stream))]
        for stream in streams
    ]
    data = {"data": [[{"x": [x]} for x in stream] for stream in streams], "validation_data": answers}
    (place.path / "talk.json").write_text(json.dumps(data))


def test_a_class_asks_for_the_outputs_that_it_names(workplace: Workplace, their_server: OpenServer) -> None:
    text = """\
model: {served: every_type}
protocol: [http, grpc]
requests:
  - {name: all, low: 0, high: 2}
  - {name: few, low: 0, high: 2, outputs: [out_INT8, out_BOOL]}
load: {concurrency: 1}
measure: {warmup_s: 0.1, duration_s: 1.5}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""
    where = ("--url", url(their_server), "--grpc-port", str(their_server.grpc_port))
    found = valid(workplace.run("run", workplace.scenario(text), *where, "--json"))
    for point in found["points"]:
        samples = harness.samples(Path(found["path"]), point["id"])
        sizes = samples.groupby("request", observed=True)["response_bytes"].median()
        assert sizes["few"] < sizes["all"] / 2
        assert point["answer_check"]["different"] == 0
    wrong = text.replace("out_BOOL", "out_BOOOL")
    refused = workplace.run("run", workplace.scenario(wrong), *where)
    assert refused.code == 2
    assert (
        "asks for 'out_BOOOL', which is no output of every_type: did you mean `out_BOOL`?" in refused.stderr
    )


def test_sequences_are_sent_step_by_step_and_each_is_validated(
    workplace: Workplace, their_server: OpenServer
) -> None:
    talk(workplace)
    where = ("--url", url(their_server), "--grpc-port", str(their_server.grpc_port), "--json")
    both = ("--set", "protocol=[http, grpc]")
    for load in ("{concurrency: 1}", "{rate_per_s: 60, arrivals: poisson}"):
        found = valid(
            workplace.run("run", workplace.scenario(SEQUENCES), *where, *both, "--set", f"load={load}")
        )
        for point in found["points"]:
            ended_by_a_look = point["steady_state"]["counted_requests"] is not None
            assert ended_by_a_look or "concurrency" in load, "it goes on until a median is supported"
            seen, check = point["sequences"], point["answer_check"]
            assert point["errors"] == seen["failed"] == 0
            assert seen["whole"] > 5 and 2 <= seen["steps_mean"] <= 3
            assert check["wrong"] == 0 and check["validated"] == check["compared"] > 0
            assert seen["latency_s"]["min"] > point["latency_s"]["min"]
            assert point["requests"] >= seen["whole"] * 2
    talk(workplace, wrong=True)
    done = workplace.run("run", workplace.scenario(SEQUENCES), *where)
    (point,) = done.document["points"]
    assert done.code == 3 and "validated are wrong" in " ".join(point["reasons"])
    # the totals are wrong, and nobody asks for them
    asked = workplace.scenario(SEQUENCES.replace("data: talk.json", "data: talk.json, outputs: [steps]"))
    (point,) = valid(workplace.run("run", asked, *where))["points"]
    assert point["answer_check"]["validated"] > 0 == point["answer_check"]["wrong"]


def test_what_sequences_need_is_one_sentence(
    workplace: Workplace, their_server: OpenServer, repository: Path
) -> None:
    for model, request, said in (
        ("direct", "{name: a}", "`sequence: {length: 20}`"),
        ("twice", "{name: a, sequence: {}}", "twice has no sequence batcher"),
        ("direct", "{name: a, sequence: {}, batch: 2}", "whose steps have no batch"),
        ("direct", "{name: a, sequence: {length: 0}}", "requests.0.sequence.length"),
    ):
        text = f"model: {{served: {model}}}\nrequests:\n  - {request}\nload: {{concurrency: 1}}\n"
        with pytest.raises(InputError) as refusal:
            harness.run(workplace.scenario(text), url=url(their_server), results="results", quiet=True)
        assert said in str(refusal.value), request
    mixed = (
        "model: {served: direct}\nrequests: [{name: a, sequence: {}}, {name: b}]\nload: {concurrency: 1}\n"
    )
    with pytest.raises(InputError, match="with and without `sequence` don't mix"):
        harness.run(workplace.scenario(mixed), url=url(their_server), quiet=True)
    talk(workplace)
    scenario = workplace.scenario(SEQUENCES + "objective: {p90_ms: 50}\nplan: {rate_per_s: 5}\n")
    searched = "talk of scenario sends sequences, .* neither searched nor planned yet"
    with pytest.raises(InputError, match=searched):
        harness.tune(scenario, model_repository=repository, results=workplace.path / "results", quiet=True)
    with pytest.raises(InputError, match=searched):
        harness.plan(scenario, results=workplace.path / "results", quiet=True)


def test_the_model_of_the_tests_fails_on_a_mistake(their_server: OpenServer) -> None:
    """Else it would show nothing that no step of harness fails."""
    import tritonclient.http as client
    from tritonclient.utils import InferenceServerException

    tensor = client.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    with client.InferenceServerClient(f"{LOOPBACK}:{their_server.http_port}") as connected:

        def step(which: int, *, first: bool = False, last: bool = False) -> int:
            flags = {"sequence_id": which, "sequence_start": first, "sequence_end": last}
            answer = connected.infer("direct", [tensor], **flags)
            return int(answer.as_numpy("steps").item())

        assert [step(5, first=True), step(5), step(5, last=True)] == [1, 2, 3]
        with pytest.raises(InferenceServerException):
            step(5)


def test_a_night_keeps_the_repository_that_it_compares_with(workplace: Workplace, tmp_path: Path) -> None:
    workplace.lock_for_itself()
    repository = tmp_path / "theirs"
    their_models.strings(repository)
    scenario = workplace.scenario("""\
model: {served: strings}
requests:
  - {name: lines, payload: text}
load: {concurrency: 1}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
regression: {round_s: 1, wait_minutes: 0}
""")
    options = ("--model-repository", repository, "--minutes-per-point", "0.01")
    first = workplace.run("nightly", scenario, *options)
    assert first.code == 0 and "this build is it from now on" in first.stdout, first.stderr
    (kept,) = workplace.path.glob("results/baselines/*/*/repository/strings/1/model.py")
    assert kept.read_bytes() == (repository / "strings/1/model.py").read_bytes()
    file = repository / "strings/1/model.py"
    file.write_text(file.read_text() + "# another build\n")
    second = workplace.run("nightly", scenario, *options, "--json")
    assert second.code == 3 and second.document["outcome"] == "inconclusive", "one round settles nothing"
    before, now = (arm["models"][0] for arm in second.document["comparison"]["arms"])
    assert before["files"].keys() == now["files"].keys() and before["sha256"] != now["sha256"]
    refused = workplace.run(
        "nightly",
        workplace.scenario(
            scenario.read_text().replace("wait_minutes: 0", "wait_minutes: 0, reference: scenario.yaml")
        ),
        *options,
    )
    assert refused.code == 2 and "leave out regression.reference" in refused.stderr
    kept.write_text("")
    damaged = workplace.run("nightly", scenario, *options)
    assert damaged.code == 2 and "isn't the model that was accepted" in damaged.stderr
