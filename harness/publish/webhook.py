"""Tell a webhook that a night or a comparison has come to its end: a few tries, within a bounded time."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException

from harness import address
from harness.address import Address, Url
from harness.http_json import Answer, Client, words
from harness.publish.standard_webhook import key_of, signed_headers
from harness.schema.announcement import Announcement
from harness.schema.errors import InputError
from harness.version import version

URL, SECRET, HTTP_HOST = "HARNESS_WEBHOOK_URL", "HARNESS_WEBHOOK_SECRET", "HARNESS_WEBHOOK_HTTP_HOST"
"""Environment variables. None of them is an option, which other users of the machine could read."""

TRY_S = 10.0
"""The longest that one try may take."""
PAUSES_S = (1.0, 4.0)
"""Before the second and the third try, which is the last. All of it so takes 35 s at most."""
MOST_ANSWER_BYTES = 1 << 16
AGAIN = frozenset({408, 425, 429})
"""Refusals that may pass; so may every 5xx."""
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver, and what its messages are signed with."""

    url: Url
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Webhook | None:
        """The receiver that the environment names, if it does. Raises InputError, which shows neither the
        secret nor the URL, whose path may be one."""
        text, secret = environment.get(URL, ""), environment.get(SECRET, "")
        if not text:
            return None
        url = _receiver(text)
        if url.scheme == "http" and not _may_be_plain(url.address, environment):
            raise InputError(
                f"{URL} is http and leads to another machine: make it https, or name its host in {HTTP_HOST} "
                "where others may read what is sent"
            )
        try:
            return cls(url, key_of(secret))
        except ValueError as error:
            raise InputError(f"{SECRET} can't sign what {URL} is sent: {error}") from error

    def tell(self, announcement: Announcement) -> str | None:
        """Send it; None where the receiver took it, else a sentence that says why not. Never raises for what
        the receiver does: redirects aren't followed, and its answer is read up to a bound."""
        body = announcement.model_dump_json().encode()
        message_id = f"msg_{secrets.token_hex(16)}"
        for pause_s in (*PAUSES_S, None):
            why, again = self._try(message_id, body)
            if why is None or not again or pause_s is None:
                break
            time.sleep(pause_s)
        return why and f"the webhook at {self.url.address} was not told: {why}"

    def _try(self, message_id: str, body: bytes) -> tuple[str | None, bool]:
        """Why it failed, None where it didn't, and whether another try may help."""
        headers = signed_headers(self.key, message_id, int(time.time()), body)
        headers["User-Agent"] = f"harness/{version()}"
        tls = ssl.create_default_context() if self.url.scheme == "https" else None
        try:
            with Client(self.url.address.host, self.url.address.port, headers, tls=tls) as client:
                answer = client.ask("POST", self.url.path, body, limit_s=TRY_S, most_bytes=MOST_ANSWER_BYTES)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate isn't trusted ({error.verify_message})", False
        except (OSError, HTTPException) as error:
            return words(error), True
        return _refused(answer)


def _refused(answer: Answer) -> tuple[str | None, bool]:
    if 200 <= answer.status < 300:
        return None, False
    if 300 <= answer.status < 400:
        return f"it answered {answer.status}, and a redirect isn't followed: set {URL} to its end", False
    return f"it answered {answer.status}", answer.status in AGAIN or answer.status >= 500


def _receiver(text: str) -> Url:
    """With the scheme's port where the URL has none."""
    with suppress(ValueError):
        scheme, (host, port), path = Url.parse(text.strip(), 0)
        if scheme in _PORTS:
            return Url(scheme, Address(host, port or _PORTS[scheme]), path if path[:1] == "/" else f"/{path}")
    raise InputError(f"{URL} is no address that can be told: give it as https://host/path")


def _may_be_plain(receiver: Address, environment: Mapping[str, str]) -> bool:
    return address.is_loopback(receiver.host) or receiver.host == environment.get(HTTP_HOST, "").lower()
