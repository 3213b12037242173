"""A signed webhook, to a real receiver that is well, slow, broken, or somebody else."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from harness.commands.comparing.announce import announce, of_comparison, of_night
from harness.commands.progress import Progress
from harness.publish import webhook
from harness.publish.standard_webhook import key_of, signed_headers
from harness.publish.webhook import Webhook
from harness.schema.announcement import Announcement
from harness.schema.errors import InputError
from tests.load.test_tls import Certificates
from tests.publish.compared_night import NIGHT
from tests.publish.receiver import SECRET, Receiver, receiver, status
from tests.report.test_comparison_page import comparison

ENDED = of_comparison(comparison())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES_S", (0.01, 0.02))


def told(found: Receiver, announcement: Announcement = ENDED) -> str | None:
    one = Webhook.of(found.environment)
    assert one is not None
    return one.tell(announcement)


def test_a_receiver_gets_a_small_signed_document() -> None:
    with receiver(status(204)) as found:
        assert told(found) is None
    (message,) = found.messages
    assert message.signed and message.path == "/hooks/a?b=c"
    assert message.headers["content-type"] == "application/json" and len(message.body) < 20_000
    assert "." not in message.headers["webhook-id"]
    document = message.document
    assert document["schema_version"] == 1 and document["type"] == "harness.ab"
    assert (document["scenario"], document["outcome"]) == ("after", "regressed")
    assert document["why"].endswith("8 users: throughput; 8 users: p50")
    assert [point["outcome"] for point in document["points"]] == ["pass", "regressed"]
    assert document["points"][1]["metrics"]["p50"] == "regressed"
    message.body = message.body.replace(b"regressed", b"pass")
    assert not message.signed, "what was changed on its way has another signature"


def test_the_signature_is_that_of_the_specifications_own_example() -> None:
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_may_pass_is_tried_again_under_the_same_id() -> None:
    with receiver(status(503, 429, 200)) as found:
        assert told(found) is None
    assert len(found.messages) == 3 and all(message.signed for message in found.messages)
    assert len({message.headers["webhook-id"] for message in found.messages}) == 1


def hangs(handler: BaseHTTPRequestHandler, _before: int) -> None:
    handler.rfile.read(1)  # until the other side goes


def drips(handler: BaseHTTPRequestHandler, _before: int) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" * 20:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def garbage(handler: BaseHTTPRequestHandler, _before: int) -> None:
    handler.wfile.write(b"\x00\x1b[31m what?\r\n\r\n")


def floods(handler: BaseHTTPRequestHandler, _before: int) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize(
    ("answers", "said", "tries"),
    [
        (status(500), "it answered 500", 3),
        (status(404), "it answered 404", 1),
        (status(307), "a redirect isn't followed", 1),
        (hangs, "no answer in time", 3),
        (drips, "no answer in time", 3),
        (garbage, "what?", 3),
        (floods, "is longer than 65536 bytes", 3),
    ],
)
def test_a_receiver_that_fails_is_a_sentence_after_a_bound(
    answers: Callable[[BaseHTTPRequestHandler, int], None],
    said: str,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if said == "no answer in time":
        monkeypatch.setattr(webhook, "TRY_S", 1.5)
    with receiver(answers) as found:
        why = told(found)
        assert len(found.awaited(tries)) == tries
    assert why is not None and said in why and "\x1b" not in why and "\n" not in why
    assert why.startswith(f"the webhook at 127.0.0.1:{found.port} was not told: ") and "hooks" not in why


def test_nobody_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with receiver(status(200)) as found:
        pass
    announce(Webhook.of(found.environment), ENDED, Progress())
    assert "was not told: Connection refused" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_receiver_over_tls_must_prove_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", made.ca)
    for name, ca, said in (
        ("server", made.ca, None),
        ("elsewhere", made.ca, "its certificate isn't trusted (IP address mismatch"),
        ("server", made.other, "its certificate isn't trusted (unable to get"),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", ca)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.file(name), made.file(name, "key"))
        with receiver(status(200), context) as found:
            why = told(found)
        if said is None:
            assert why is None and found.messages[0].signed
        else:
            assert why is not None and said in why and not found.messages


@pytest.mark.timeout(40)
def test_a_tls_handshake_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TRY_S", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody reads
        why = told(Receiver(silent.getsockname()[1], "https"))
    assert why is not None and "no answer in time" in why


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("ftp://127.0.0.1/x", SECRET, "is no address that can be told"),
        ("https://user:pass@host/x", SECRET, "is no address that can be told"),
        ("hook", SECRET, "is no address that can be told"),
        ("http://example.org/s3cret", SECRET, "is http and leads to another machine"),
        ("https://example.org/s3cret", "", "can't sign"),
        ("https://example.org/s3cret", "s3cret", "can't sign"),
        ("https://example.org/s3cret", "whsec_c2hvcnQ=", "can't sign"),
    ],
)
def test_what_cannot_be_told_is_refused_before_anything_is_measured(url: str, secret: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        Webhook.of({"HARNESS_WEBHOOK_URL": url, "HARNESS_WEBHOOK_SECRET": secret})
    assert "s3cret" not in str(refused.value) and "pass" not in str(refused.value)


def test_plain_http_to_another_machine_must_be_named() -> None:
    environment = {"HARNESS_WEBHOOK_URL": "http://Hooks.lan/x", "HARNESS_WEBHOOK_SECRET": SECRET}
    found = Webhook.of(environment | {"HARNESS_WEBHOOK_HTTP_HOST": "hooks.lan"})
    assert found is not None and str(found.url.address) == "hooks.lan:80"
    assert SECRET not in repr(found) and str(found.key) not in repr(found)
    https = Webhook.of(environment | {"HARNESS_WEBHOOK_URL": "https://[::1]"})
    assert https is not None and (str(https.url.address), https.url.path) == ("[::1]:443", "/")
    assert Webhook.of({}) is None and Webhook.of({"HARNESS_WEBHOOK_SECRET": SECRET}) is None


@given(some.text())
def test_whatever_the_url_is_it_is_told_or_refused(text: str) -> None:
    try:
        found = Webhook.of({"HARNESS_WEBHOOK_URL": text, "HARNESS_WEBHOOK_SECRET": SECRET})
    except InputError:
        return
    assert found is None or found.url.scheme in ("http", "https")


def test_a_night_without_a_baseline_has_no_points() -> None:
    first = NIGHT.model_copy(update={"outcome": "no baseline", "comparison": None})
    found = of_night(first)
    assert (found.type, found.outcome, found.points) == ("harness.nightly", "no baseline", ())
    assert of_night(NIGHT).points == ENDED.points
