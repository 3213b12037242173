"""`--url`: the shared embedded server, reached as if it were someone else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton.embedded import EmbeddedServer
from harness.triton.remote import RemoteServer, effective
from harness.triton.repository import model_config
from harness.triton.server import Server
from harness.triton.statistics import difference
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
    "response_cache": True,
    "provider": "tensorrt",
    "cuda_graph": True,
}
ASKED_FOR_BESIDE = {"gpus"}
"""Where none are asked for, a server fills in all that it has, so that these are compared by themselves."""


@pytest.mark.parametrize("key", sorted(set(ServerSettings.model_fields) - ASKED_FOR_BESIDE))
def test_every_setting_makes_another_effective_configuration(artifacts: Artifacts, key: str) -> None:
    """One that is left out of `effective` would let a server with another value pass for the wanted one."""
    kind = "gpu" if key in ("provider", "cuda_graph") else "cpu"
    plain = model_config(artifacts["double"], settings(kind=kind), gpu=False)
    assert effective(plain) == effective(plain | {"platform": "onnxruntime_onnx", "model_warmup": []})
    changed = settings(**{"kind": kind, key: CHANGED[key]})
    assert effective(plain) != effective(model_config(artifacts["double"], changed, gpu=False))


@pytest.mark.triton
def test_model_with_other_settings_is_loaded_with_the_wanted_ones(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    changed = {"max_batch": 3, "queue_delay_us": 9, "instances": 2, "threads": 2}
    name = open_server.serve(artifacts["double"], settings(queue_delay_us=300))
    with reached(open_server) as remote:
        remote.serve(artifacts["double"], settings(**changed))
        config = remote.control.model_config(name)
    wanted = settings(**changed)
    assert config["max_batch_size"] == wanted.max_batch
    assert config["instance_group"][0]["count"] == wanted.instances
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == wanted.queue_delay_us
    assert config["parameters"]["intra_op_thread_count"]["string_value"] == str(wanted.threads)


@pytest.mark.triton
def test_model_that_the_remote_does_not_have_is_told_with_the_remedy(
    open_server: OpenServer, artifacts: Artifacts
) -> None:
    open_server.serve(artifacts["double"], settings())
    elsewhere = artifacts["double"].model_copy(update={"name": "not_there"})
    with reached(open_server) as remote, pytest.raises(ServerError, match="copy model_repo/not_there"):
        remote.serve(elsewhere, settings())


@pytest.mark.triton
def test_server_that_does_not_load_on_request_serves_only_what_it_has(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["double"], settings())
    with reached(server) as remote:
        assert remote.serve(artifacts["double"], settings()) == name
        with pytest.raises(ServerError, match="--model-control-mode=explicit"):
            remote.serve(artifacts["double"], settings(max_batch=2))


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


@pytest.mark.triton
def test_kind_auto_is_left_to_triton_there(open_server: OpenServer, artifacts: Artifacts) -> None:
    name = open_server.serve(artifacts["double"], settings(kind="cpu"))
    with reached(open_server) as remote:
        before = remote.statistics(name)
        infer(remote, name, {"x": floats(2, 3)})
        remote.serve(artifacts["double"], settings(kind="auto"))
        assert remote.statistics(name).inferences == before.inferences + 2  # it stays as it is loaded
        open_server.control.unload(name)
        remote.serve(artifacts["double"], settings(kind="auto"))
        assert remote.control.model_config(name)["instance_group"][0]["kind"] == "KIND_CPU"
        assert (remote.execution_provider, remote.provider_options) == ("CPUExecutionProvider", {})


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
        Thread(target=there.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{there.server_port}"
        there.shutdown()


def test_kind_auto_is_a_gpu_where_the_remote_has_one(with_gpus: str, artifacts: Artifacts) -> None:
    with RemoteServer(with_gpus) as remote:
        remote.serve(artifacts["double"], settings(kind="auto", max_batch=4))
        assert remote.execution_provider == "CUDAExecutionProvider"
        loaded = WithGpus.config
        remote.serve(artifacts["double"], settings(kind="auto", max_batch=4))
        assert WithGpus.config is loaded, "it was loaded again for nothing"
        remote.serve(artifacts["double"], settings(kind="auto", max_batch=4, gpus=(1,), provider="tensorrt"))
        assert remote.execution_provider == "TensorrtExecutionProvider"
        assert WithGpus.loads[-1]["instance_group"][0]["gpus"] == [1]
        remote.serve(
            artifacts["double"], settings(kind="auto", max_batch=4, gpus=(0, 1), provider="tensorrt")
        )
        assert WithGpus.loads[-1]["instance_group"][0]["gpus"] == [0, 1]


def test_cuda_graphs_of_a_remote_are_not_vouched_for(with_gpus: str, artifacts: Artifacts) -> None:
    with RemoteServer(with_gpus) as remote:
        remote.serve(artifacts["double"], settings(kind="gpu"))
        assert remote.provider_options == {}
        remote.serve(artifacts["double"], settings(kind="gpu", cuda_graph=True))
        assert (remote.execution_provider, remote.provider_options) == ("CUDAExecutionProvider", None)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "https://h:1", "grpc://h:1", "http://", "http://h:port", "http://h:99999", "http://u:p@h:1",
     "http://h:1/path", "http://h:1?q=1"],
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
        Thread(target=other.serve_forever, daemon=True).start()
        try:
            with pytest.raises(ServerError), RemoteServer(f"http://127.0.0.1:{other.server_port}") as remote:
                remote.serve(artifacts["double"], settings())
        finally:
            other.shutdown()
