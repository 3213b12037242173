"""Whatever a server answers to questions about itself ends in a value or in one sentence, soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from harness.load.shared_memory.region_control import RegionControl, ServerGone
from harness.schema.errors import HarnessError, ServerError
from harness.schema.model import ModelArtifact
from harness.triton.as_loaded import effective, kind_of
from harness.triton.control import MOST_SHOWN, Control
from harness.triton.provider import provider_of
from harness.triton.remote import RemoteServer
from harness.triton.statistics import read
from tests.load.rogue import rogue_server
from tests.triton.models import settings

Artifacts = dict[str, ModelArtifact]
LONG_S = 10.0


@contextmanager
def answering(answers: dict[str, bytes], status: int = 200) -> Iterator[int]:
    """Port of a server that gives each path that ends in a key the key's answer, and all others {}."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next((body for end, body in answers.items() if self.path.endswith(end)), b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        Thread(target=there.serve_forever, args=(0.01,), daemon=True).start()
        yield there.server_port
        there.shutdown()


ODD = [
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"[1]",
    b"<html>",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"version": NaN}',
    b'{"version": 7}',
    b'{"version": "\\ud800"}',
    b'{"version": "\\u001b[2J"}',
    b'{"version": "' + b"x" * 10_000 + b'"}',
    b'{"version": null}',
]


@pytest.mark.parametrize("answer", [*ODD, b"{}"], ids=range(len(ODD) + 1))
def test_a_server_that_does_not_say_its_version_is_no_triton(answer: bytes) -> None:
    with (
        answering({"/v2": answer}) as port,
        pytest.raises(ServerError, match="see what listens there") as told,
    ):
        RemoteServer(f"http://127.0.0.1:{port}").__enter__()
    assert str(told.value).isprintable() and len(str(told.value)) < MOST_SHOWN


STATISTICS = {
    "inference_stats": {
        stage: {"count": 1, "ns": 1}
        for stage in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    },
    "inference_count": 1,
    "execution_count": 1,
}


def statistics(**changed: Any) -> bytes:
    return json.dumps({"model_stats": [STATISTICS | changed]}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        *ODD,
        b"{}",
        b'{"model_stats": 7}',
        b'{"model_stats": [[[]]]}',
        statistics(inference_count=10**30),
        statistics(inference_count=-1),
        statistics(inference_count=1.5),
        statistics(inference_count="1" * 5000),
        statistics(inference_count=[[[[]]]]),
        statistics(inference_stats={"success": 7}),
        statistics(inference_stats=STATISTICS["inference_stats"] | {"cache_hit": 5}),  # type: ignore[operator]
        statistics(inference_count=0).replace(b'"execution_count": 1', b'"execution_count": Infinity'),
        statistics(inference_count=0).replace(b'"execution_count": 1', b'"execution_count": 1e999'),
    ],
)
def test_statistics_of_another_shape_are_one_sentence(answer: bytes) -> None:
    with answering({"/stats": answer}) as port, pytest.raises(ServerError):
        read(Control("127.0.0.1", port), "m")


def test_statistics_of_the_right_shape_are_read_as_digits_too() -> None:
    with answering({"/stats": statistics(inference_count="12")}) as port:
        assert read(Control("127.0.0.1", port), "m").inferences == 12


CONFIGS: list[dict[str, Any]] = [
    {"instance_group": 7},
    {"instance_group": {}},
    {"instance_group": ["x"]},
    {"instance_group": [{"kind": 7}]},
    {"instance_group": [{"count": "many"}]},
    {"instance_group": [{"gpus": 7}]},
    {"instance_group": [{"gpus": [10**30]}]},
    {"optimization": []},
    {"optimization": {"execution_accelerators": []}},
    {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [7]}}},
    {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{}]}}},
    {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{"name": []}]}}},
    {
        "optimization": {
            "execution_accelerators": {"gpu_execution_accelerator": [{"name": "cuda", "parameters": [1]}]}
        }
    },
    {
        "optimization": {
            "execution_accelerators": {
                "gpu_execution_accelerator": [{"name": "cuda", "parameters": {"x": {}}}]
            }
        }
    },
    {
        "optimization": {
            "execution_accelerators": {
                "gpu_execution_accelerator": [{"name": "cuda", "parameters": {"x": "\x1b[2J"}}]
            }
        }
    },
    {"optimization": {"cuda": 7}},
    {"dynamic_batching": []},
    {"dynamic_batching": {"max_queue_delay_microseconds": "soon"}},
    {"dynamic_batching": {"max_queue_delay_microseconds": 10**400}},
    {"parameters": [1]},
    {"parameters": {"intra_op_thread_count": 7}},
    {"parameters": {"intra_op_thread_count": {"string_value": []}}},
    {"response_cache": 7},
    {"input": [{}]},
    {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["wide"]}]},
    {"input": [{"name": ["x"], "data_type": "TYPE_FP32", "dims": [1]}]},
    {"output": 7},
    {"max_batch_size": []},
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_a_configuration_of_another_shape_is_one_sentence(
    config: dict[str, Any], artifacts: Artifacts
) -> None:
    answers = {"/v2": b'{"version": "1"}', "/config": json.dumps(config).encode()}
    with answering(answers) as port, RemoteServer(f"http://127.0.0.1:{port}") as remote:
        with pytest.raises(ServerError, match="/config of Triton at"):
            remote.control.model_config("m")
        for wanted in (settings(kind="cpu"), settings(kind="auto"), settings(kind="gpu", gpus=(1,))):
            with pytest.raises(ServerError):
                remote.serve(artifacts["double"], wanted)


@pytest.mark.parametrize("answer", [*ODD, b"{}"], ids=range(len(ODD) + 1))
def test_a_configuration_that_is_none_is_one_sentence(answer: bytes, artifacts: Artifacts) -> None:
    with answering({"/v2": b'{"version": "1"}', "/config": answer}) as port:
        remote = RemoteServer(f"http://127.0.0.1:{port}")
        with remote, pytest.raises(HarnessError):
            remote.serve(artifacts["double"], settings(kind="auto", gpus=(1,)))


@pytest.mark.parametrize("answer", [each for each in ODD if not each.startswith(b"{")])
def test_instances_that_are_none_are_one_sentence(answer: bytes) -> None:
    with (
        answering({"/config": answer}) as port,
        pytest.raises(ServerError, match="instances of m as no Triton"),
    ):
        RegionControl("127.0.0.1", port).gpu_of("m")


def test_a_configuration_that_leaves_much_out_can_be_gone_on_with() -> None:
    with answering({"/config": b"{}"}) as port:
        config = Control("127.0.0.1", port).model_config("m")
    assert (kind_of(config), provider_of(config), effective(config)["instances"]) == (
        "KIND_AUTO",
        (None, {}),
        [],
    )


@pytest.mark.parametrize(
    "answer",
    [*ODD[:3], b'{"name": "a"}', b'[{"name": 7}]', b"[{}]", b'[{"name": "a", "state": 7}]', b"[null]"],
)
def test_an_index_of_another_shape_is_one_sentence(answer: bytes) -> None:
    if answer == b"[]":
        return
    with answering({"/index": answer}) as port:
        for ask in (lambda c: c.repository_index(), lambda c: c.unload("a", limit_s=1)):
            with pytest.raises(ServerError, match="index of Triton at"):
                ask(Control("127.0.0.1", port))


@pytest.mark.parametrize(
    "body", [b"\x1b[2J no" * 1000, b'{"error": "\\u001b[2J no"}', b'{"error": [1]}', b"[" * 9999]
)
def test_a_refusal_is_one_line_that_a_terminal_can_be_shown(body: bytes) -> None:
    with answering({"/v2": body, "/register": body}, status=400) as port:
        with pytest.raises(ServerError) as told:
            Control("127.0.0.1", port).server_metadata()
        with pytest.raises(ServerError) as refused:
            RegionControl("127.0.0.1", port).register("system", "r", {"key": "k"})
    for said in map(str, (told.value, refused.value)):
        assert said.isprintable() and 0 < len(said) <= MOST_SHOWN


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error": ""}', b'{"error": [1]}'])
def test_a_refusal_without_words_is_told_by_its_status(body: bytes) -> None:
    with answering({"/v2": body}, status=418) as port, pytest.raises(ServerError, match="with HTTP 418"):
        Control("127.0.0.1", port).server_metadata()


@pytest.mark.parametrize("gpus", [b"7", b'["0"]', b"[-1]", b"[1e3]", b"[99999999]", b"[[]]", b"[null]"])
def test_a_gpu_that_cannot_be_is_one_sentence(gpus: bytes) -> None:
    config = b'{"instance_group": [{"gpus": %s}]}' % gpus
    with answering({"/config": config}) as port, pytest.raises(ServerError, match="as no Triton does"):
        RegionControl("127.0.0.1", port).gpu_of("m")


def endless(connection: Any) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(1 << 16))


def drip(connection: Any) -> None:
    connection.recv(4096)
    while True:
        connection.sendall(b"H")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("handler", "why"), [(endless, "longer than 4194304 bytes"), (drip, "did not answer within 0.5 s")]
)
def test_an_answer_without_end_is_one_sentence(
    handler: Callable[[Any], None], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.shared_memory.region_control._ANSWER_LIMIT_S", 0.5)
    with rogue_server(handler) as port:
        began = time.monotonic()
        with pytest.raises(ServerError, match=why):
            Control("127.0.0.1", port, timeout_s=0.5).statistics("m")
        assert not Control("127.0.0.1", port).live(0.5)
        regions = RegionControl("127.0.0.1", port)
        with pytest.raises(ServerGone):
            regions.register("system", "r", {})
        regions.unregister("system", "r")
        assert time.monotonic() - began < LONG_S


def test_headers_go_with_every_question() -> None:
    heard: list[bytes] = []

    def listen(connection: Any) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with rogue_server(listen) as port:
        Control("127.0.0.1", port, headers={"X-Secret": "abc"}).model_config("m")
        RegionControl("127.0.0.1", port, headers={"X-Secret": "abc"}).register("system", "r", {"key": "k"})
    assert len(heard) == 2 and all(b"X-Secret: abc\r\n" in each for each in heard)
