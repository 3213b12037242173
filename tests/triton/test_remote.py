"""`--url`: the shared embedded server, reached as if it were someone else's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton.as_loaded import check_tensors, effective, with_settings
from harness.triton.embedded import EmbeddedServer
from harness.triton.remote import RemoteServer
from harness.triton.repository import model_config
from harness.triton.server import Server
from harness.triton.statistics import difference
from tests.e2e.conftest import wait_for
from tests.triton.clients import floats, infer
from tests.triton.models import settings
from tests.triton.open_server import OpenServer

Artifacts = dict[str, ModelArtifact]


def reached(server: EmbeddedServer) -> RemoteServer:
    return RemoteServer(f"http://{server.host}:{server.http_port}", grpc_port=server.grpc_port)


@pytest.mark.triton
def test_both_servers_are_one_interface(server: EmbeddedServer, artifacts: Artifacts) -> None:
    server.serve(artifacts["double"], settings())
    with reached(server) as remote:
        either: list[Server] = [server, remote]
    assert {s.version for s in either} == {"2.51.0"}
    assert remote.process_ids() == []
    assert remote.exit_reason() is None
    assert remote.healthy()
    with pytest.raises(ServerError, match="restart it where it runs"):
        remote.restart()


@pytest.mark.triton
def test_model_that_is_loaded_as_wanted_is_used_as_it_is(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["double"], settings(queue_delay_us=300))
    infer(server, name, {"x": floats(2, 3)})
    with reached(server) as remote:
        before = remote.statistics(name)
        assert before.inferences == 2
        assert remote.serve(artifacts["double"], settings(queue_delay_us=300)) == name
        assert remote.statistics(name) == before  # not reloaded
        infer(remote, name, {"x": floats(3, 3)}, protocol="grpc")
        assert difference(before, remote.statistics(name)).inferences == 3
        assert remote.execution_provider == "CPUExecutionProvider"


CHANGED: dict[str, Any] = {
    "max_batch": 3,
    "queue_delay_us": 9,
    "instances": 2,
    "threads": 2,
    "kind": "gpu",
    "gpus": (1,),
    "response_cache": True,
    "provider": "tensorrt",
    "cuda_graph": True,
    "preferred_batch": 4,
}


@pytest.mark.parametrize("key", sorted(ServerSettings.model_fields))
def test_every_setting_makes_another_effective_configuration(artifacts: Artifacts, key: str) -> None:
    """One that is left out of `effective` would let a server with another value pass for the wanted one."""
    kind = "gpu" if key in ("provider", "cuda_graph", "gpus") else "cpu"
    plain = model_config(artifacts["double"], settings(kind=kind), gpu=False)
    assert effective(plain) == effective(plain | {"platform": "onnxruntime_onnx", "model_warmup": []})
    changed = settings(**{"kind": kind, key: CHANGED[key]})
    assert effective(plain) != effective(model_config(artifacts["double"], changed, gpu=False))


OPEN = settings(
    max_batch=None, queue_delay_us=None, instances=None, threads=None, kind="auto", response_cache=None
)
"""What a scenario is that says nothing of the server."""

THEIRS: dict[str, Any] = {
    "max_batch_size": 16,
    "instance_group": [
        {"name": "some", "count": 1, "kind": "KIND_CPU"},
        {"name": "more", "count": 2, "kind": "KIND_CPU"},
    ],
    "dynamic_batching": {
        "preferred_batch_size": [4, 16],
        "max_queue_delay_microseconds": 100,
        "priority_levels": 2,
        "default_priority_level": 1,
        "default_queue_policy": {"max_queue_size": 500},
    },
    "model_warmup": [
        {
            "name": "w",
            "batch_size": 1,
            "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": True}},
        }
    ],
    "metric_tags": {"team": "theirs"},
    "version_policy": {"latest": {"num_versions": 1}},
}
"""What others have configured, more than settings can name."""


def theirs(server: OpenServer, artifact: ModelArtifact) -> dict[str, Any]:
    """The model, loaded there as others have it; its configuration."""
    server.serve(artifact, settings())
    loaded = server.control.model_config(artifact.name)
    server.control.load(artifact.name, loaded | THEIRS)
    return server.control.model_config(artifact.name)


@pytest.mark.triton
def test_a_model_keeps_all_that_the_scenario_does_not_say_and_is_put_back(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    before = theirs(open_server, artifacts["double"])
    told: list[str] = []
    with RemoteServer(f"http://127.0.0.1:{open_server.http_port}", say=told.append) as remote:
        infer(remote, "double", {"x": floats(2, 3)})
        counted = remote.statistics("double")
        remote.serve(artifacts["double"], OPEN)
        assert remote.statistics("double") == counted, "it was loaded anew for nothing"
        assert remote.loaded == settings(max_batch=16, queue_delay_us=100, instances=3)
        assert told == [
            "double is measured as it is loaded there: max batch size 16, "
            "instances KIND_CPU 1 and KIND_CPU 2, queue delay us 100, preferred batch 4 and 16, threads 1"
        ]

        remote.serve(artifacts["double"], OPEN.model_copy(update={"max_batch": 8}))
        assert remote.control.model_config("double") == before | {
            "max_batch_size": 8,
            "dynamic_batching": before["dynamic_batching"] | {"preferred_batch_size": [4]},
        }
        changes = "(max batch size 16 to 8, preferred batch 4 and 16 to 4)"
        assert f"loading double anew there, as the scenario asks {changes}" in told[-1]
        # the next point says something else, and has nothing of the point before
        remote.serve(artifacts["double"], OPEN.model_copy(update={"threads": 2, "instances": 1}))
        changed = remote.control.model_config("double")
        assert changed["parameters"].pop("intra_op_thread_count") == {"string_value": "2"}
        assert [group.pop("count") for group in changed["instance_group"]] == [1, 1]
        unsaid = json.loads(json.dumps(before))
        del unsaid["parameters"]["intra_op_thread_count"]
        for group in unsaid["instance_group"]:
            del group["count"]
        assert changed == unsaid
    assert open_server.control.model_config("double") == before
    assert told[-1] == "putting double back as it was loaded"


@pytest.mark.triton
def test_a_killed_harness_has_the_model_put_back(
    open_server: OpenServer, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    before = theirs(open_server, artifacts["double"])
    url, control = f"http://127.0.0.1:{open_server.http_port}", open_server.control
    asked = OPEN.model_copy(update={"max_batch": 2})
    script = (
        "import os, signal, sys; from harness.schema.model import ModelArtifact;"
        "from harness.schema.point import ServerSettings; from harness.triton.remote import RemoteServer;"
        "remote = RemoteServer(sys.argv[1]).__enter__();"
        "remote.serve(ModelArtifact.model_validate_json(sys.argv[2]),"
        " ServerSettings.model_validate_json(sys.argv[3])); os.killpg(0, signal.SIGKILL)"
    )
    words = (url, artifacts["double"].model_dump_json(), asked.model_dump_json())
    done = subprocess.run([sys.executable, "-c", script, *words], check=False, start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: control.model_config("double") == before)
    folder = tmp_path / "triton" / "remote"
    wait_for(lambda: not list(folder.iterdir()))

    # The guard went, too: the next run with that server does it, but only where nobody was there meanwhile.
    for changed_to, found in ((3, 16), (4, 3)):
        three, ours = (
            with_settings(before, artifacts["double"], OPEN.model_copy(update={"max_batch": size}))
            for size in (3, changed_to)
        )
        control.load("double", three)
        record = {"models": {"double": {"config": before, "changed_to": ours}}}
        record |= {"host": "127.0.0.1", "port": open_server.http_port}
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        file = folder / f"harness_remote_{namespace}_{2**22}_1_0123456789ab_.json"
        file.write_text(json.dumps(record))
        with RemoteServer(url):
            assert control.model_config("double")["max_batch_size"] == found
        assert not file.exists()


@pytest.mark.triton
def test_a_model_that_is_not_loaded_is_for_the_time_of_the_run(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    open_server.serve(artifacts["double"], settings(threads=2))
    open_server.control.unload("double")
    with reached(open_server) as remote:
        remote.serve(artifacts["double"], OPEN.model_copy(update={"max_batch": 4}))
        assert remote.loaded == settings(max_batch=4, threads=2)
    assert not open_server.control.model_ready("double")


def test_a_model_without_a_batch_axis_gets_one_where_its_tensors_have_it(artifacts: Artifacts) -> None:
    """As Triton completes a configuration that nobody wrote."""

    def tensor(name: str, *dims: int) -> dict[str, Any]:
        return {"name": name, "data_type": "TYPE_FP32", "dims": list(dims)}

    loaded = {"input": [tensor("x", -1, -1)], "output": [tensor("y", -1, -1), tensor("rows", -1)]}
    check_tensors(loaded, artifacts["double"], "it")
    batched = with_settings(loaded, artifacts["double"], OPEN.model_copy(update={"max_batch": 8}))
    check_tensors(batched, artifacts["double"], "it")
    assert batched["input"] == [tensor("x", -1)]
    assert batched["output"] == [tensor("y", -1), tensor("rows", 1) | {"reshape": {"shape": []}}]
    fixed = {"input": [tensor("x", 3, -1)], "output": []}
    with pytest.raises(InputError, match="without a batch axis"):
        with_settings(fixed, artifacts["double"], OPEN.model_copy(update={"max_batch": 8}))


@pytest.mark.triton
def test_a_model_that_nobody_configured_gets_our_defaults(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    open_server.serve(artifacts["double"], settings())
    assert open_server.control.model_ready("double")
    open_server.control.unload("double")
    (config,) = open_server.served_folder.rglob("config.pbtxt")
    kept = config.read_bytes()
    config.write_text('name: "double"')
    try:
        with reached(open_server) as remote:
            remote.serve(artifacts["double"], OPEN.model_copy(update={"instances": 2}))
            assert remote.loaded == settings(instances=2)
        assert not open_server.control.model_ready("double")
    finally:
        config.write_bytes(kept)


@pytest.mark.triton
def test_what_can_not_be_measured_there_is_told_with_the_remedy(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    open_server.serve(artifacts["double"], settings())
    elsewhere = artifacts["double"].model_copy(update={"name": "not_there"})
    (x,) = artifacts["double"].inputs
    other = artifacts["double"].model_copy(update={"inputs": (x.model_copy(update={"datatype": "INT64"}),)})
    wider = artifacts["double"].model_copy(
        update={"outputs": (*artifacts["double"].outputs, *artifacts["slow"].inputs)}
    )
    with reached(open_server) as remote:
        with pytest.raises(ServerError, match=r"it serves double: .*copy model_repo/not_there"):
            remote.serve(elsewhere, OPEN)
        with pytest.raises(InputError, match="input 'x' is TYPE_FP32 there, and INT64 here"):
            remote.serve(other, OPEN)
        with pytest.raises(InputError, match="no output 'x' there"):
            remote.serve(artifacts["double"].model_copy(update={"outputs": artifacts["slow"].inputs}), OPEN)
        remote.serve(wider, OPEN)
        assert remote.outputs == {"y", "rows"}, "its owner may have left some out"


@pytest.mark.triton
def test_a_server_in_its_default_control_mode_is_measured_as_it_is(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["double"], settings(max_batch=5, instances=2))
    with reached(server) as remote:
        assert remote.serve(artifacts["double"], OPEN) == name
        assert remote.loaded == settings(max_batch=5, instances=2)
        with pytest.raises(ServerError, match=r"leave them out .*--model-control-mode=explicit"):
            remote.serve(artifacts["double"], OPEN.model_copy(update={"max_batch": 2}))
    assert server.control.model_ready(name)


@pytest.mark.triton
def test_a_server_that_is_open_to_anybody_is_told_from_one_that_is_not(
    server: EmbeddedServer, open_server: OpenServer, artifacts: Artifacts
) -> None:
    for each in (server, open_server):
        each.serve(artifacts["double"], settings())
    with reached(server) as closed, reached(open_server) as open_:
        assert closed.open_interfaces() == ()
        told = ("load models", "map its shared memory", "change its traces", "change its log")
        assert open_.open_interfaces() == told
        assert open_.control.model_ready("double"), "asking changed nothing"


class WithGpus(BaseHTTPRequestHandler):
    """As much of a Triton with two GPUs as serving a model asks of it."""

    config: dict[str, Any] | None
    loads: list[dict[str, Any]]

    def do_GET(self) -> None:
        if self.path == "/v2":
            return self.answer(200, {"version": "2.60.0"})
        if self.config is None:
            return self.answer(400, {"error": "no model"})
        return self.answer(200, self.config if self.path.endswith("/config") else {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        config = json.loads(asked["parameters"]["config"])
        self.loads.append(config)
        (group,) = config["instance_group"]
        if group["kind"] != "KIND_CPU":  # as Triton's NormalizeInstanceGroup does
            group |= {"kind": "KIND_GPU", "gpus": group.get("gpus", [0, 1])}
        type(self).config = config
        self.answer(200, {})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def with_gpus() -> Iterator[str]:
    WithGpus.config, WithGpus.loads = None, []
    with HTTPServer(("127.0.0.1", 0), WithGpus) as there:
        Thread(target=there.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{there.server_port}"
        there.shutdown()


def test_what_is_asked_of_a_gpu_there_is_loaded_beside_what_was(with_gpus: str, artifacts: Artifacts) -> None:
    plain = model_config(artifacts["double"], settings(kind="gpu", max_batch=4), gpu=True)
    plain["instance_group"] = [{"kind": "KIND_GPU", "count": 3, "gpus": [0, 1]}]
    WithGpus.config = plain
    with RemoteServer(with_gpus) as remote:
        for asked in (OPEN, OPEN.model_copy(update={"kind": "gpu", "gpus": (0, 1)})):
            remote.serve(artifacts["double"], asked)
            assert (remote.execution_provider, remote.provider_options) == ("CUDAExecutionProvider", {})
            assert remote.loaded is not None and remote.loaded.instances == 6
        assert not WithGpus.loads, "it was loaded again for nothing"
        remote.serve(artifacts["double"], OPEN.model_copy(update={"gpus": (1,), "provider": "tensorrt"}))
        assert remote.execution_provider == "TensorrtExecutionProvider"
        assert WithGpus.loads[-1]["instance_group"] == [{"kind": "KIND_GPU", "count": 3, "gpus": [1]}]
        remote.serve(artifacts["double"], OPEN.model_copy(update={"cuda_graph": True}))
        assert (remote.execution_provider, remote.provider_options) == ("CUDAExecutionProvider", None)
        remote.serve(artifacts["double"], OPEN.model_copy(update={"kind": "cpu"}))
        assert WithGpus.loads[-1]["instance_group"] == [{"kind": "KIND_CPU", "count": 3}]
    assert WithGpus.config == plain


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "grpc://h:1", "http://", "http://h:port", "http://h:99999", "http://u:p@h:1",
     "http://h:1?q=1", "https://h:1/p?q=1"],
)  # fmt: skip
def test_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="http://host:port"):
        RemoteServer(url)


def test_nobody_there_is_told() -> None:
    with pytest.raises(ServerError, match="can't be reached"):
        RemoteServer("http://127.0.0.1:9").__enter__()


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>hello</html>", b"\xff\xfe", b"null"])
def test_something_that_is_not_triton_is_told(body: bytes, artifacts: Artifacts) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        try:
            with pytest.raises(ServerError), RemoteServer(f"http://127.0.0.1:{other.server_port}") as remote:
                remote.serve(artifacts["double"], settings())
        finally:
            other.shutdown()
