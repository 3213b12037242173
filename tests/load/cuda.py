"""The double for the CUDA driver, and a Triton that can open what it hands out.

The dynamic linker finds the double as `libcuda.so.1` through LD_LIBRARY_PATH, which it reads once, when a
process starts: so what meets the double runs in a process of its own, as a function of tests.load.cuda_cases.
`cuda_double/cuda_double.c` says what `CUDA_DOUBLE` can script.

`translating` stands before the real Triton and registers a region of the double, which is a file in /dev/shm,
as system shared memory: everything else, all requests included, is Triton's own doing.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.triton.embedded import EmbeddedServer
from tests.shared_library import built

SOURCE = Path(__file__).parent / "cuda_double" / "cuda_double.c"
FOLDER = Path("/dev/shm")


@dataclass
class CudaDouble:
    """Starts cases in processes that meet the double."""

    library: Path
    log: Path

    def environment(self, script: str = "") -> dict[str, str]:
        others = os.environ.get("LD_LIBRARY_PATH")
        folder = str(self.library.parent)
        return os.environ | {
            "LD_LIBRARY_PATH": f"{folder}:{others}" if others else folder,
            "CUDA_DOUBLE": f"log={self.log} {script}",
        }

    def start(self, case: str, script: str = "", **arguments: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.load.cuda_cases", case, json.dumps(arguments)],
            env=self.environment(script),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, case: str, script: str = "", **arguments: Any) -> Any:
        """What the case returns. It fails here where it fails there."""
        process = self.start(case, script, **arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return json.loads(out.splitlines()[-1])

    def calls(self, what: str) -> list[list[str]]:
        """The arguments of the calls of that name, as logged."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == what]

    def kept(self) -> tuple[int, int]:
        """Allocations and contexts that were taken and not given back, of all processes so far."""
        return (
            len(self.calls("alloc")) - len(self.calls("free")),
            len(self.calls("retain")) - len(self.calls("release")),
        )


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The double, built once."""
    return built([SOURCE], "libcuda.so.1", tmp_path_factory.mktemp("cuda_double"))


@pytest.fixture
def cuda_double(cuda_library: Path, tmp_path: Path) -> Iterator[CudaDouble]:
    before = set(FOLDER.glob("cuda_double_*"))
    yield CudaDouble(cuda_library, tmp_path / "cuda.log")
    for left in set(FOLDER.glob("cuda_double_*")) - before:  # of a process that was killed
        left.unlink()


@dataclass
class Translating:
    """What the front heard."""

    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Of the requests to register CUDA memory."""
    gpus: list[int] = field(default_factory=list)
    """Whose memory it was, by the handles."""
    gpus_of_model: list[int] = field(default_factory=list)
    """Where its instances are, by its configuration."""
    fails: int = 0
    """From this registration on they are refused; 0 for none."""


@contextmanager
def translating(triton: EmbeddedServer) -> Iterator[Translating]:
    """A front of Triton, which lets it in, for the requests about shared memory."""
    heard = Translating()
    regions: set[str] = set()

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/v2/models/echo/config":
                groups = [{"kind": "KIND_CPU"}, {"kind": "KIND_GPU", "gpus": heard.gpus_of_model}]
                self._answer(200, json.dumps({"instance_group": groups}).encode())
                return
            asked = re.fullmatch(r"/v2/(\w+)sharedmemory/region/(\w+)/(\w+)", self.path)
            assert asked is not None, self.path
            kind, name, what = asked.groups()
            if kind == "cuda" and what == "register":
                heard.bodies.append(json.loads(body))
                if heard.fails and len(heard.bodies) >= heard.fails:
                    self._answer(400, b'{"error":"failed to open CUDA IPC handle: invalid argument"}')
                    return
                handle = base64.b64decode(heard.bodies[-1]["raw_handle"]["b64"], validate=True)
                assert len(handle) == 64
                heard.gpus.append(handle[63])
                key = handle[: handle.index(0)].decode()
                size = heard.bodies[-1]["byte_size"]
                body = json.dumps({"key": f"/{key}", "offset": 0, "byte_size": size}).encode()
                regions.add(name)
            elif what != "register" and (kind == "cuda") != (name in regions):
                self._answer(404 if what == "status" else 200, b"")  # there is none of that kind
                return
            connection = HTTPConnection("127.0.0.1", triton.http_port, timeout=10)
            path = f"/v2/systemsharedmemory/region/{name}/{what}"
            connection.request(self.command, path, body or None, dict(triton.access))
            response = connection.getresponse()
            self._answer(response.status, response.read())
            connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    heard.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
