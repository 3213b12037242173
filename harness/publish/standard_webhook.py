"""Headers of a signed webhook.

Source: Standard Webhooks 1.0.0: HMAC-SHA256 over "id.timestamp.body", with a secret of 24 to 64 bytes that is
written as `whsec_` and base64. The id stays the same when a message is sent again, the timestamp doesn't.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def key_of(secret: str) -> bytes:
    """Raises ValueError for what is no such secret; the error doesn't show it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(f"it is to be {PREFIX} and base64 of {LEAST_BYTES} to {MOST_BYTES} random bytes")
    return key


def signed_headers(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """`message_id` has no full stop; `timestamp_s` is of this attempt, in seconds since 1970."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{signature}",
    }
