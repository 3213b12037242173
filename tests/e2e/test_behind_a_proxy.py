"""A Triton behind nginx, as people have it: HTTPS, a path of its own, a token; and what goes wrong there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.headers import VARIABLE
from harness.triton.their_repository import TheirRepository
from tests.certificates import Certificates
from tests.e2e.conftest import Finished, Workplace, valid
from tests.nginx import Nginx, nginx
from tests.ports import free_port
from tests.triton import their_models
from tests.triton.open_server import OpenServer

__all__ = ["nginx"]

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]

TOKEN = "Bearer 5c1a-very-secret"
SCENARIO = """\
model: {served: strings}
requests:
  - {name: lines, payload: text}
load: {concurrency: 2}
measure: {warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""


class Proxy:
    """Ports of one nginx: `port` with a certificate that is valid, `expired` with one that isn't, `mutual`,
    which asks for the client's; and a Unix socket."""

    def __init__(self, nginx: Nginx, server: OpenServer, certificates: Certificates) -> None:
        self.nginx, self.certificates = nginx, certificates
        self.port, self.expired, self.mutual = free_port(), free_port(), free_port()
        guarded = f'if ($http_authorization != "{TOKEN}") {{ return 401; }}'

        def listening(port: int, name: str, places: str, more: str = "") -> str:
            return f"""
  server {{
    listen 127.0.0.1:{port} ssl http2;
    {more}
    ssl_certificate {certificates.file(name)};
    ssl_certificate_key {certificates.file(name, "key")};
    {places}
  }}"""

        passed_on = "proxy_http_version 1.1; proxy_set_header Connection '';"
        places = f"""
    location /triton/ {{ {guarded} {passed_on} proxy_pass http://triton/; }}
    location /inference.GRPCInferenceService/ {{ {guarded} grpc_pass grpc://127.0.0.1:{server.grpc_port}; }}
    location /gone/ {{ {passed_on} proxy_pass http://127.0.0.1:{free_port()}/; }}
    location /busy/ {{ return 429; }}"""
        self.socket = Path(tempfile.mkdtemp(prefix="harness-")) / "triton.sock"
        certificates.expired()
        nginx.start(
            f"upstream triton {{ server 127.0.0.1:{server.http_port}; keepalive 16; }}"
            + f"server {{ listen unix:{self.socket};"
            + f" location / {{ {passed_on} proxy_pass http://triton; }} }}"
            + listening(self.port, "server", places)
            + listening(self.expired, "expired", places)
            + listening(
                self.mutual,
                "server",
                places,
                f"ssl_client_certificate {certificates.ca}; ssl_verify_client on;",
            )
        )

    def url(self, path: str = "/triton", *, expired: bool = False) -> str:
        return f"https://127.0.0.1:{self.expired if expired else self.port}{path}"

    @property
    def ca(self) -> tuple[str, str]:
        return "--http-ca", self.certificates.ca


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxied")
    their_models.strings(folder / "models")
    theirs = TheirRepository.at(folder / "models")
    with OpenServer(folder / "none", folder / "triton.log", theirs=theirs) as server:
        server.start(theirs.entry("strings", None))
        (folder / "certificates").mkdir()
        yield Proxy(nginx, server, Certificates(folder / "certificates"))


def token_file(place: Workplace) -> Path:
    file = place.path.parent / f"{place.path.name}-token"
    file.write_text(f"Authorization: {TOKEN}\nX-Team: ours\n")
    return file


def measured(place: Workplace, *options: str | Path) -> Finished:
    return place.run("run", place.scenario(SCENARIO), "--json", *options)


def test_it_is_measured_through_https_a_path_and_a_token(workplace: Workplace, proxy: Proxy) -> None:
    grpc = ("--grpc-port", str(proxy.port), "--grpc-ca", proxy.certificates.ca)
    way = ("--url", proxy.url(), *proxy.ca, *grpc, "--header-file", token_file(workplace))
    workplace.env["https_proxy"] = f"http://127.0.0.1:{free_port()}"  # where nobody listens
    done = measured(workplace, *way, "--set", "protocol=[http, grpc]")
    found = valid(done)
    assert done.stderr.count("https_proxy is set, and not heeded") == 1
    for point in found["points"]:
        assert point["errors"] == 0 and point["requests"] > 20
    assert found["environment"]["server_url"] == proxy.url()
    posts = [line for line in proxy.nginx.log.splitlines() if "/triton/v2/models/strings/infer" in line]
    assert len(posts) > 20 and {line.split('" ')[1].split()[0] for line in posts} == {"200"}
    secret = TOKEN.split()[1].encode()
    for file in workplace.path.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), f"{file} has the token"


def test_a_proxy_that_asks_for_the_clients_certificate(workplace: Workplace, proxy: Proxy) -> None:
    url = f"https://127.0.0.1:{proxy.mutual}/triton"
    way = ("--url", url, *proxy.ca, "--header-file", token_file(workplace))
    files = proxy.certificates
    own = ("--http-cert", files.file("client"), "--http-key", files.file("client", "key"))
    (point,) = valid(measured(workplace, *way, *own))["points"]
    assert point["errors"] == 0 and point["requests"] > 20
    without = measured(workplace, *way)
    assert without.code == 4 and "No required SSL certificate was sent" in without.stderr, without.stderr


def test_it_is_measured_over_a_unix_socket(workplace: Workplace, proxy: Proxy) -> None:
    url = f"unix:{proxy.socket}"
    assert workplace.run("init", "strings", "--url", url).code == 0
    found = valid(measured(workplace, "--url", url))
    (point,) = found["points"]
    assert found["environment"]["server_url"] == url
    assert point["errors"] == 0 and point["requests"] == point["server"]["requests"] > 20
    grpc = measured(workplace, "--url", url, "--grpc-port", "1", "--set", "protocol=grpc")
    assert grpc.code == 2 and "HTTP alone is spoken: set protocol to http" in grpc.stderr
    gone = measured(workplace, "--url", f"{url}.gone")
    assert gone.code == 4 and "No such file" in gone.stderr and "Traceback" not in gone.stderr
    relative = measured(workplace, "--url", "unix:triton.sock")
    assert relative.code == 2 and "give it as unix:/run/triton.sock" in relative.stderr


def test_init_and_a_first_look_go_the_same_way(workplace: Workplace, proxy: Proxy) -> None:
    workplace.env[VARIABLE] = f"Authorization: {TOKEN}"
    way = ("--url", proxy.url(), *proxy.ca)
    assert workplace.run("init", "strings", *way).code == 0
    assert "answered to nothing" not in (workplace.path / "scenarios/strings.yaml").read_text()
    short = ("--set", "measure={warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}")
    lenient = ("--set", SCENARIO.splitlines()[-1].replace(": {", "={", 1))
    valid(workplace.run("run", "--model", "strings", "--concurrency", "1", *way, *short, *lenient, "--json"))


def test_what_a_proxy_refuses_is_one_sentence(workplace: Workplace, proxy: Proxy) -> None:
    token = ("--header-file", token_file(workplace))
    for url, options, said in (
        (proxy.url(), proxy.ca, "401 Authorization Required"),
        (proxy.url(), token, "certificate verify failed"),
        (proxy.url(), ("--http-ca", proxy.certificates.other, *token), "certificate verify failed"),
        (proxy.url(expired=True), (*proxy.ca, *token), "certificate has expired"),
        (proxy.url("/gone"), (*proxy.ca, *token), "502 Bad Gateway"),
        (proxy.url("/busy"), (*proxy.ca, *token), "429 Too Many Requests"),
        (proxy.url().replace("https", "http"), token, "400 The plain HTTP request was sent to HTTPS port"),
    ):
        done = measured(workplace, "--url", url, *options)
        assert done.code == 4 and said in done.stderr, f"{url} {options}: {done.code} {done.stderr}"
        assert "Traceback" not in done.stderr and TOKEN not in done.stderr
    assert not workplace.runs


def test_headers_that_are_none_are_refused_without_being_shown(workplace: Workplace, proxy: Proxy) -> None:
    file = workplace.path / "headers"
    for text, said in (
        ("Authorization Bearer x", ":1 is no header"),
        ("A: b\nHost: elsewhere", ":2 sets Host, which each request sets by itself"),
        ("A: b\x00c", ":1 is no header"),
    ):
        file.write_text(text)
        done = measured(workplace, "--url", proxy.url(), "--header-file", file)
        assert done.code == 2 and said in done.stderr and "Bearer" not in done.stderr
    assert VARIABLE not in os.environ
