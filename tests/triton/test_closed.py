"""Nobody but harness does more with its servers than send requests; with an open Triton, anybody can."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.ownership import SHARED_MEMORY
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact
from harness.triton import access, hidden_argument, process
from harness.triton.embedded import EmbeddedServer
from tests.triton import intruder
from tests.triton.clients import floats, infer
from tests.triton.models import settings
from tests.triton.open_server import OpenServer

Artifacts = dict[str, ModelArtifact]
Places = tuple[Path, Path]


@pytest.fixture
def region() -> Iterator[Path]:
    """A piece of shared memory of harness's user, with something in it."""
    path = SHARED_MEMORY / intruder.REGION
    path.write_bytes(b"sixteen bytes ok")
    yield path
    path.unlink()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "somebody's code ran"


def intruded(server: EmbeddedServer, marker: Path) -> set[str]:
    """What is granted to a program without the secret, of another user where this one is root."""
    words = [str(server.http_port), str(server.grpc_port), str(marker)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton.intruder", *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()) - {""}


ANYTHING = {f"{protocol} {name}" for protocol in ("http", "grpc") for name in intruder.requests(Path())}
NOT_HERE = {"http cuda memory", "grpc cuda memory", "grpc traces of the model"}
"""What Triton refuses for another reason: no GPU, and no file for the traces."""


@pytest.mark.triton
def test_an_open_triton_lets_anybody_run_code(
    places: Places, artifacts: Artifacts, marker: Path, region: Path
) -> None:
    with OpenServer(*places) as server:
        server.serve(artifacts["double"], settings())
        granted = intruded(server, marker)
    assert granted >= ANYTHING - NOT_HERE
    assert marker.read_text().startswith("ran")
    assert region.exists()


@pytest.mark.triton
def test_nobody_without_the_secret_does_anything_with_ours(
    places: Places, artifacts: Artifacts, marker: Path, region: Path
) -> None:
    with EmbeddedServer(*places) as server:
        name = server.serve(artifacts["double"], settings())
        assert intruded(server, marker) == set()
        assert not marker.exists() and region.read_bytes() == b"sixteen bytes ok"
        assert infer(server, name, {"x": floats(2, 3)})["y"].shape == (2, 3)


@pytest.mark.triton
def test_even_the_secret_loads_no_code(places: Places, artifacts: Artifacts, marker: Path) -> None:
    from http.client import HTTPConnection

    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings())
        answers = {}
        for name in ("load code", "load", "unload", "index"):
            method, path, body = intruder.requests(marker)[name]
            connection = HTTPConnection("127.0.0.1", server.http_port, timeout=30)
            connection.request(method, path, json.dumps(body), dict(server.access))
            answers[name] = connection.getresponse().status
            connection.close()
    assert answers == {"load code": 503, "load": 503, "unload": 503, "index": 200}
    assert not marker.exists()


@pytest.mark.triton
def test_a_secret_is_on_no_command_line_in_no_log_and_new_at_each_start(
    places: Places, artifacts: Artifacts
) -> None:
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings())
        secret = server.access[access.HEADER]
        assert re.fullmatch("[0-9a-f]{32}", secret)
        shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.process_ids()]
        assert shown and not any(secret.encode() in line for line in shown)
        assert server.command is not None and secret not in " ".join(server.command)
        assert server.control.takes("GET", "/v2/logging"), "harness has it"
        server.restart()
        assert server.access[access.HEADER] != secret
    assert secret not in places[1].read_text()


@pytest.mark.triton
def test_another_user_reads_nothing_of_a_server(places: Places, artifacts: Artifacts) -> None:
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings(instances=2))
        regions = list(SHARED_MEMORY.glob(f"{server.name}*"))
        assert len(regions) == 2
        folder = server._folder
        assert folder is not None
        made = [*regions, folder.path, *(Path(f"/proc/{pid}/environ") for pid in server.process_ids())]
        for path in made:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert len(server.process_ids()) == 3
        for pid in server.process_ids():
            assert Path(f"/proc/{pid}/cwd").readlink() == folder.work
            assert b"PYTHONSAFEPATH=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


PAGE = """<script>
const all = %s;
Promise.all(all.map(([method, path, body]) =>
  fetch("http://127.0.0.1:%d" + path, {method, mode: "no-cors", body: method == "GET" ? null : body})
    .catch(error => String(error)))).then(() => document.title = "tried");
</script>"""


@pytest.fixture
def website(marker: Path) -> Iterator[Any]:
    """A page of somebody's that does to a port of this machine whatever a browser lets it do."""

    class Site(BaseHTTPRequestHandler):
        port = 0

        def do_GET(self) -> None:
            attempts = [[m, p, json.dumps(b)] for m, p, b in intruder.requests(marker).values()]
            text = (PAGE % (json.dumps(attempts), self.port)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()

    def visited(browser: Any, port: int) -> None:
        Site.port = port
        browser.get(f"http://localhost:{site.server_port}/{port}")
        give_up = time.monotonic() + 60
        while browser.title != "tried":
            assert time.monotonic() < give_up
            time.sleep(0.1)

    yield visited
    site.shutdown()
    site.server_close()


@pytest.mark.triton
@pytest.mark.browser
def test_a_web_page_runs_code_on_an_open_triton_and_none_on_ours(
    places: Places, artifacts: Artifacts, marker: Path, website: Any, browser: Any
) -> None:
    with OpenServer(*places) as theirs:
        theirs.serve(artifacts["double"], settings())
        website(browser, theirs.http_port)
        assert marker.exists(), "the page can do it"
    marker.unlink()
    with EmbeddedServer(*places) as ours:
        name = ours.serve(artifacts["double"], settings())
        before = [ours.control._call("GET", path) for path in ("/v2/logging", "/v2/trace/setting")]
        website(browser, ours.http_port)
        assert not marker.exists()
        assert ours.control._call("GET", "/v2/systemsharedmemory/status") == b"[]"
        assert [ours.control._call("GET", path) for path in ("/v2/logging", "/v2/trace/setting")] == before
        assert infer(ours, name, {"x": floats(2, 3)})["y"].shape == (2, 3)


SHOW = "import sys, time; print(sys.argv[1:], flush=True); time.sleep(600)"


def test_a_hidden_argument_reaches_the_program_and_no_command_line(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\n{SHOW}\n")  # the kernel puts its interpreter before its arguments
    script.chmod(0o755)
    for command in ([sys.executable, "-c", SHOW], [str(script)]):
        begun = hidden_argument.start(
            [*command, "--a=…", "plain", "--b=…"],
            {"--a=…": "--a=secret", "--b=…": "--b=another"},
            env={},
            stdout=subprocess.PIPE,
        )
        try:
            assert begun.stdout is not None
            assert begun.stdout.readline() == b"['--a=secret', 'plain', '--b=another']\n"
            shown = Path(f"/proc/{begun.pid}/cmdline").read_bytes()
            assert b"secret" not in shown and "--a=…".encode() in shown
        finally:
            begun.kill()
            begun.communicate()


def test_where_nothing_can_be_hidden_the_server_starts_and_its_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise hidden_argument.CannotHide(1, "not permitted")

    monkeypatch.setattr(hidden_argument, "_replace", cannot)
    log = tmp_path / "log"
    begun = process.start(
        [sys.executable, "-c", SHOW, "--a=…"], os.environ, log, "no remedy", hidden={"--a=…": "--a=secret"}
    )
    try:
        give_up = time.monotonic() + 20
        while "['--a=secret']" not in log.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert "harness: other users of this machine can see its secret" in log.read_text()
    finally:
        begun.kill()
        begun.wait()


@pytest.mark.parametrize("how", ["link", "another name"])
def test_a_log_that_leads_elsewhere_is_not_written_to(tmp_path: Path, how: str) -> None:
    target, log = tmp_path / "theirs", tmp_path / "server.log"
    target.write_text("kept")
    log.symlink_to(target) if how == "link" else log.hardlink_to(target)
    with pytest.raises(InputError, match=r"server\.log (is a link|has another name).*: remove it"):
        process.start([sys.executable, "-c", "print('written')"], os.environ, log, "no remedy")
    assert target.read_text() == "kept"
