"""`harness run --url` against servers that mean no good: a sentence or failed requests, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from harness.schema.errors import ExitCode
from tests.e2e.conftest import ONE, Workplace

CONFIG = {
    "name": "double",
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [
        {"name": "y", "data_type": "TYPE_FP32", "dims": [-1]},
        {"name": "rows", "data_type": "TYPE_FP32", "dims": [1]},
    ],
}
STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
STATISTICS = {
    "model_stats": [
        {
            "inference_count": 0,
            "execution_count": 0,
            "inference_stats": {stage: {"count": 0, "ns": 0} for stage in STAGES},
        }
    ]
}


@contextmanager
def triton_but_for(**odd: bytes) -> Iterator[str]:
    """Address of as much of a Triton as a run asks for, with other answers to some questions."""
    loaded: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            what = self.path.rpartition("/")[2]
            if what in odd:
                return self.answer(400 if what == "infer" else 200, odd[what])
            if what in ("config", "ready") and not loaded:
                return self.answer(400, b'{"error": "no such model"}')
            said = {"v2": {"version": "2.51.0"}, "config": loaded, "stats": STATISTICS}.get(what, {})
            return self.answer(200, json.dumps(said).encode())

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/load"):
                given = json.loads(asked).get("parameters")
                loaded.update(json.loads(given["config"]) if given else CONFIG)
            self.do_GET()

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        Thread(target=there.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{there.server_port}"
        there.shutdown()


def test_an_answer_of_another_shape_is_one_sentence(workplace: Workplace) -> None:
    with triton_but_for(config=b'{"instance_group": 7}') as url:
        done = workplace.run("run", workplace.scenario(ONE), "--url", url)
    assert done.code == ExitCode.FAILED, done.stderr
    assert "Traceback" not in done.stderr and "a bug in harness" not in done.stderr
    assert "was answered as no Triton does" in done.stderr


def test_refusals_that_mean_harm_are_failed_requests(workplace: Workplace) -> None:
    refusal = json.dumps({"error": "\x1b[2J\u202e" + "x" * 1_000_000}).encode()
    with triton_but_for(infer=refusal) as url:
        done = workplace.run("run", workplace.scenario(ONE), "--url", url, "--json")
    assert "Traceback" not in done.stderr
    (point,) = done.document["points"]
    assert point["errors"] == point["requests"] > 0
    (reason,) = point["error_reasons"]
    assert reason.isprintable() and len(reason) <= 500
    assert "double on Triton at 127.0.0.1" in done.stderr and "could not be put back as it was" in done.stderr
