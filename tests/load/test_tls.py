"""gRPC over TLS against the real Triton, with certificates made here; and what goes wrong with it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.load.coordinator.driver import drive
from harness.load.job import Job
from harness.load.spools import read_spool
from harness.load.wire import Reply, Tls, open_connection, prepare
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.http2 import Frame
from harness.schema.errors import ExitCode, InputError
from harness.schema.load import PointLoad
from harness.schema.samples import Status
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
from tests.certificates import Certificates
from tests.load import rogue
from tests.load.rogue import GRPC_OK, grpc_says, rogue_server
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import endpoint, point
from tests.load.triton_models import tiny_triton

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]

INPUTS: Tensors = {"X": np.arange(6, dtype=np.float32).reshape(2, 3)}
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def options(certificates: Certificates, *, mutual: bool) -> list[str]:
    return [
        f"--grpc-use-ssl{'-mutual' if mutual else ''}=1",
        f"--grpc-server-cert={certificates.file('server')}",
        f"--grpc-server-key={certificates.file('server', 'key')}",
        f"--grpc-root-cert={certificates.ca}",
    ]


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[EmbeddedServer]:
    with tiny_triton(tmp_path_factory.mktemp("tls"), options(certificates, mutual=False)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[EmbeddedServer]:
    with tiny_triton(tmp_path_factory.mktemp("mtls"), options(certificates, mutual=True)) as server:
        yield server


def called(port: int, tls: Tls | None, inputs: Tensors = INPUTS, timeout_s: float = TIMEOUT_S) -> Reply:
    connection = open_connection("grpc", "127.0.0.1", port, timeout_s, tls)
    try:
        return connection.call(prepare("grpc", "echo", inputs, ["Y"], "127.0.0.1"), keep_body=True)
    finally:
        connection.close()


def plain_answer(port: int, tls: Tls, inputs: Tensors) -> bytes:
    """The message that tritonclient gets, with nothing of harness in between."""
    import tritonclient.grpc as client

    tensor = client.InferInput("X", list(inputs["X"].shape), "FP32")
    tensor.set_data_from_numpy(inputs["X"])
    with client.InferenceServerClient(
        f"127.0.0.1:{port}",
        ssl=True,
        root_certificates=tls.ca,
        private_key=tls.key,
        certificate_chain=tls.certificate,
    ) as connected:
        answer = connected.infer("echo", [tensor], outputs=[client.InferRequestedOutput("Y")])
    return bytes(answer.get_response().SerializeToString())


@pytest.mark.parametrize("who", ["encrypted", "mutual"])
def test_answers_over_tls_are_those_of_tritonclient_byte_for_byte(
    request: pytest.FixtureRequest, certificates: Certificates, who: str
) -> None:
    server: EmbeddedServer = request.getfixturevalue(who)
    tls = certificates.tls(client=who == "mutual")
    connection = open_connection("grpc", "127.0.0.1", server.grpc_port, 30, tls)
    for shape in ((1, 1), (2, 3), (8, 5_000), (3, 1_000_000), (1, 2)):
        inputs: Tensors = {"X": np.random.default_rng(1).random(shape, np.float32)}
        prepared = prepare("grpc", "echo", inputs, ["Y"], "127.0.0.1")
        reply = connection.call(prepared, keep_body=True)
        assert (reply.status, reply.reason) == (Status.OK, None)
        assert connection.decode(reply)["Y"].tobytes() == inputs["X"].tobytes()
        assert reply.body == plain_answer(server.grpc_port, tls, inputs)
        for _ in range(3):  # as a load does: nobody keeps the answer
            again = connection.call(prepared)
            assert (again.status, again.received_bytes) == (Status.OK, again.received_bytes)
            assert again.received_bytes > inputs["X"].nbytes
            assert again.sent_ns < again.first_byte_ns <= again.completed_ns
    connection.close()


def test_a_server_by_an_unknown_ca_is_refused(encrypted: EmbeddedServer, certificates: Certificates) -> None:
    reply = called(encrypted.grpc_port, Tls(ca=certificates.other))
    assert reply.status is Status.CONNECTION and reply.reason is not None
    assert reply.reason.startswith("the server's certificate isn't trusted: ")
    assert "--grpc-ca" in reply.reason
    assert reply.sent_bytes == 0 and reply.first_byte_ns == -1


def test_the_systems_trust_does_not_reach_to_a_private_ca(encrypted: EmbeddedServer) -> None:
    reply = called(encrypted.grpc_port, Tls())
    assert reply.reason is not None and reply.reason.startswith("the server's certificate isn't trusted: ")


def test_a_client_without_a_certificate_is_told_so(
    mutual: EmbeddedServer, certificates: Certificates
) -> None:
    reply = called(mutual.grpc_port, certificates.tls())
    assert reply.status is Status.CONNECTION and reply.reason is not None
    assert "if it asks for the client's certificate, give one with --grpc-cert" in reply.reason


def test_a_plain_client_at_a_tls_port_gets_a_reason(encrypted: EmbeddedServer) -> None:
    began = time.monotonic()
    reply = called(encrypted.grpc_port, None)
    assert reply.status in (Status.CONNECTION, Status.PROTOCOL), reply
    assert reply.reason is not None and "TLS" in reply.reason
    assert time.monotonic() - began < TIMEOUT_S


def test_a_tls_client_at_a_plain_port_gets_a_reason(
    triton: EmbeddedServer, certificates: Certificates
) -> None:
    for port in (triton.grpc_port, triton.http_port):
        reply = called(port, certificates.tls())
        assert reply.status is Status.CONNECTION, reply
        assert reply.reason is not None and "TLS" in reply.reason


def over_tls(
    handler: rogue.Handler,
    certificates: Certificates,
    server: str = "server",
    protocols: tuple[str, ...] = ("h2",),
) -> rogue.Handler:
    """The rogue handler behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.file(server), certificates.file(server, "key"))
    context.set_alpn_protocols(list(protocols))

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            handler(secured)

    return handle


def close(connection: socket.socket) -> None:
    connection.close()


def without_end(connection: socket.socket) -> None:
    """Data, so fast that there is always more to decrypt."""
    many = http2.frame(Frame.DATA, 0, 1, bytes(16_000)) * 60
    while True:
        connection.sendall(many)


CASES: dict[str, tuple[rogue.Handler, Status, str]] = {
    "closed": (
        grpc_says(then=close),
        Status.CONNECTION,
        "the server closed the connection without an answer",
    ),
    "half an answer": (
        grpc_says(rogue.START, rogue.DATA, then=close),
        Status.CONNECTION,
        "the server closed the connection before the answer was whole",
    ),
    "stalled": (grpc_says(), Status.TIMEOUT, "no answer within 0.4 s"),
    "half, then stalled": (
        grpc_says(rogue.START, rogue.DATA),
        Status.TIMEOUT,
        "half an answer within 0.4 s",
    ),
    "data without end": (
        grpc_says(rogue.START, then=without_end),
        Status.TIMEOUT,
        "half an answer within 0.4 s",
    ),
    "a status with text": (
        grpc_says(
            rogue.trailers((":status", "200"), ("grpc-status", "14"), ("grpc-message", "busy")), then=close
        ),
        Status.REFUSED,
        "UNAVAILABLE: busy",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_goes_wrong_over_tls_is_an_error_with_its_reason(certificates: Certificates, case: str) -> None:
    wrong, status, why = CASES[case]
    right = over_tls(grpc_says(*GRPC_OK), certificates)
    with rogue_server(over_tls(wrong, certificates), right) as port:
        connection = open_connection("grpc", "127.0.0.1", port, 0.4, certificates.tls())
        reply = connection.call(b"message")
        assert (reply.status, reply.reason) == (status, why)
        while connection.connected:  # after a refusal, which was whole; this server hangs up then
            connection.call(b"message")
        good = connection.call(b"message", keep_body=True)
        assert (good.status, good.reason, good.body) == (Status.OK, None, b"hello")
        connection.close()


def test_a_stalled_handshake_is_a_timeout(certificates: Certificates) -> None:
    with rogue_server(lambda _: time.sleep(1)) as port:
        reply = called(port, certificates.tls(), timeout_s=0.3)
        assert (reply.status, reply.reason) == (Status.TIMEOUT, "no answer within 0.3 s")


def test_a_reset_in_the_handshake_is_a_connection_error(certificates: Certificates) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        rogue.reset(connection)

    with rogue_server(reset) as port:
        reply = called(port, certificates.tls())
        assert (reply.status, reply.reason) == (Status.CONNECTION, "connection reset by peer")


def test_a_certificate_for_another_address_is_refused(certificates: Certificates) -> None:
    handler = over_tls(grpc_says(*GRPC_OK), certificates, server="elsewhere")
    with rogue_server(handler) as port:
        reply = called(port, certificates.tls())
    assert reply.reason is not None and "IP address mismatch" in reply.reason


def test_a_tls_server_without_http2_is_named(certificates: Certificates) -> None:
    with rogue_server(over_tls(close, certificates, protocols=("http/1.1",))) as port:
        reply = called(port, certificates.tls())
    assert reply.status in (Status.PROTOCOL, Status.CONNECTION), reply
    assert reply.reason is not None and "TLS" in reply.reason


def test_answers_in_small_tls_records_are_whole(certificates: Certificates) -> None:
    """Many records in one segment: what OpenSSL holds back must be read without waiting for the socket."""

    def in_bytes(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        stream.read(len(http2.PREFACE))
        pieces = [http2.frame(Frame.SETTINGS, 0, 0), *(frame(1) for frame in GRPC_OK)]
        for byte in b"".join(pieces):
            connection.sendall(bytes([byte]))
        connection.recv(1)

    with rogue_server(over_tls(in_bytes, certificates)) as port:
        reply = called(port, certificates.tls())
    assert (reply.status, reply.body) == (Status.OK, b"hello")


def test_files_are_checked_before_anything_is_sent(certificates: Certificates, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no PEM")
    encrypted_key = tmp_path / "encrypted.key"
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            certificates.file("client", "key"),
            "-aes128",
            "-passout",
            "pass:x",
            "-out",
            str(encrypted_key),
        ],
        check=True,
        capture_output=True,
    )
    client, key = certificates.file("client"), certificates.file("client", "key")
    for tls, message in (
        (Tls(ca=str(tmp_path / "none.pem")), "can't be read"),
        (Tls(ca=str(nonsense)), "holds no certificate"),
        (Tls(certificate=client, key=str(nonsense)), "no certificate with its unencrypted key"),
        (Tls(certificate=client, key=certificates.file("other", "key")), "belong together"),
        (Tls(certificate=client, key=str(encrypted_key)), "unencrypted key"),
        (Tls(key=key), "without its certificate"),
    ):
        with pytest.raises(InputError, match=message):
            tls.check()


def test_one_process_may_hold_many_tls_connections(
    encrypted: EmbeddedServer, certificates: Certificates
) -> None:
    import gevent

    prepared = prepare("grpc", "echo", INPUTS, ["Y"], "127.0.0.1")

    def client() -> set[Status]:
        connection = open_connection("grpc", "127.0.0.1", encrypted.grpc_port, 10, certificates.tls())
        found = {connection.call(prepared).status for _ in range(40)}
        connection.close()
        return found

    clients = [gevent.spawn(client) for _ in range(12)]
    gevent.joinall(clients)
    assert all(each.value == {Status.OK} for each in clients)
    assert threading.active_count() < 30


@pytest.mark.parametrize("load", [PointLoad(concurrency=3), PointLoad(rate_per_s=200)], ids=str)
def test_a_whole_drive_over_mutual_tls(
    mutual: EmbeddedServer, certificates: Certificates, tmp_path: Path, load: PointLoad
) -> None:
    tls = certificates.tls(client=True)
    payloads: dict[str, list[Tensors]] = {name: [INPUTS] for name in ("short", "long")}
    what, folder = point("grpc", load, warmup_s=0.3, duration_s=1.0), tmp_path / "load"
    job = Job(what, "echo", payloads, ["Y"], endpoint(what, mutual.grpc_port, tls=tls), folder, tmp_path)
    outcome = drive(job, fork_server=shared_fork_server())
    requests, reasons = read_spool(folder)
    assert outcome.ended is None and not reasons and len(requests) > 50
    assert (requests["status"] == Status.OK).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--url", "http://127.0.0.1:1", "--grpc-ca", "none.pem"), "none.pem can't be read"),
        (("--url", "http://127.0.0.1:1", "--grpc-key", "none.pem"), "none.pem can't be read"),
        (("--grpc-tls",), "give its --url too"),
        (("--url", "https://127.0.0.1:1", "--http-ca", "none.pem"), "none.pem can't be read"),
        (
            ("--url", "http://127.0.0.1:1", "--http-ca", "CA"),
            "--http-ca, --http-cert and --http-key are of https",
        ),
        (("--header-file", "none.txt"), "--header-file is of a Triton that is already running"),
        (("--url", "http://127.0.0.1:1", "--header-file", "none.txt"), "none.txt can't be read"),
    ],
)
def test_the_command_line_refuses_tls_that_cannot_be_had(
    certificates: Certificates, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "scenario.yaml").write_text(
        "model: minilm\nrequests: [{name: one, tokens: 4}]\nload: {concurrency: 1}\n"
    )
    options = tuple(certificates.ca if option == "CA" else option for option in options)
    command = [sys.executable, "-m", "harness", "run", "scenario.yaml", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
