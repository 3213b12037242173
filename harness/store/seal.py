"""Whether a run was begun by this user: a seal on its scenario, which only the key in their cache can make.

A run that goes on executes and reads what its scenario names. One that somebody sent must not choose that.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from harness.cache import cache_dir, lock, written
from harness.plain_file import open_plain, read_plain

_KEY_BYTES = 32


def seal(*contents: bytes) -> str:
    """What only this user's harness can say of `contents`. Raises HarnessError where the cache can't be
    written."""
    code = hmac.new(_key(), digestmod="sha256")
    for content in contents:
        code.update(len(content).to_bytes(8, "big") + content)
    return code.hexdigest()


def _key() -> bytes:
    """Made once, and readable by this user alone."""
    with lock("seal"):
        file = cache_dir() / "seal.key"
        key = _kept(file)
        if key is None:
            key = secrets.token_bytes(_KEY_BYTES)
            with written(), os.fdopen(open_plain(file, os.O_WRONLY | os.O_CREAT), "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.truncate(0)
                stream.write(key)
        return key


def _kept(file: Path) -> bytes | None:
    """None where there is no key, or only a part of one."""
    try:
        key = read_plain(file, _KEY_BYTES)
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES else None
