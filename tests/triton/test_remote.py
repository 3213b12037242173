"""`--url`: the shared embedded server, reached as if it were someone else's."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.triton.embedded import EmbeddedServer
from harness.triton.remote import RemoteServer, effective
from harness.triton.repository import model_config, write_model
from harness.triton.server import Server
from harness.triton.statistics import difference
from tests.triton.clients import floats, infer
from tests.triton.models import settings

Artifacts = dict[str, ModelArtifact]


def reached(server: EmbeddedServer) -> RemoteServer:
    return RemoteServer(f"http://{server.host}:{server.http_port}", grpc_port=server.grpc_port)


@pytest.mark.triton
def test_both_servers_are_one_interface(server: EmbeddedServer) -> None:
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


@pytest.mark.parametrize(
    "changed",
    [
        {"max_batch": 3},
        {"queue_delay_us": 9},
        {"instances": 2},
        {"threads": 2},
        {"kind": "gpu"},
        {"response_cache": True},
    ],
)
def test_every_setting_makes_another_effective_configuration(
    artifacts: Artifacts, changed: dict[str, Any]
) -> None:
    plain = model_config(artifacts["double"], settings(), gpu=False)
    assert effective(plain) == effective(plain | {"platform": "onnxruntime_onnx", "model_warmup": []})
    assert effective(plain) != effective(model_config(artifacts["double"], settings(**changed), gpu=False))


@pytest.mark.triton
def test_model_with_other_settings_is_loaded_with_the_wanted_ones(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    changed = {"max_batch": 3, "queue_delay_us": 9, "instances": 2, "threads": 2}
    name = server.serve(artifacts["double"], settings(queue_delay_us=300))
    with reached(server) as remote:
        remote.serve(artifacts["double"], settings(**changed))
        config = remote.control.model_config(name)
    wanted = settings(**changed)
    assert config["max_batch_size"] == wanted.max_batch
    assert config["instance_group"][0]["count"] == wanted.instances
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == wanted.queue_delay_us
    assert config["parameters"]["intra_op_thread_count"]["string_value"] == str(wanted.threads)


@pytest.mark.triton
def test_model_that_the_remote_does_not_have_is_told_with_the_remedy(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    elsewhere = artifacts["double"].model_copy(update={"name": "not_there"})
    with reached(server) as remote, pytest.raises(ServerError, match="copy model_repo/not_there"):
        remote.serve(elsewhere, settings())


@pytest.mark.triton
def test_server_that_does_not_load_on_request_serves_only_what_it_has(
    places: tuple[Path, Path], artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_model(places[0], artifacts["double"], settings(), gpu=False)
    plain = EmbeddedServer._command
    monkeypatch.setattr(
        EmbeddedServer, "_command", lambda *a: [c for c in plain(*a) if not c.startswith("--model-control")]
    )
    with EmbeddedServer(*places) as fixed, reached(fixed) as remote:
        assert remote.serve(artifacts["double"], settings()) == name
        with pytest.raises(ServerError, match="--model-control-mode=explicit"):
            remote.serve(artifacts["double"], settings(max_batch=2))


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
