"""Headers of the user's own, which a proxy before the server asks for: a token, say.

They are secrets, so they stand in the environment of this process and of those that it starts, and in no file
that is written, no result and no command line. Load processes on other machines have their own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.schema.errors import InputError

VARIABLE = "HARNESS_HEADERS"
"""A header a line, `Name: value`."""

_MOST = 64
_MOST_BYTES = 64 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_OURS = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "inference-header-content-length",
    "te",
    "transfer-encoding",
    "upgrade",
}
"""What a request says of itself."""


def read(file: Path) -> None:
    """Have this process, and those that it starts, send what is in the file. Raises InputError."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"--header-file {file} can't be read ({error.strerror}): name a text file"
        ) from error
    if len(text) > _MOST_BYTES:
        raise InputError(f"--header-file {file} is over {_MOST_BYTES // 1024} kB, too large for headers")
    lines = text.decode("latin-1").replace("\r\n", "\n")
    parsed(lines, f"--header-file {file}")
    os.environ[VARIABLE] = lines


def given() -> tuple[tuple[str, str], ...]:
    """Those of this process. Raises InputError for what can't be a header."""
    return parsed(os.environ.get(VARIABLE, ""), VARIABLE)


def parsed(text: str, where: str) -> tuple[tuple[str, str], ...]:
    """The headers in the lines. Raises InputError, which never shows a value."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InputError(f"{where}:{number} is no header: write `Name: value`")
        if name.lower() in _OURS:
            raise InputError(f"{where}:{number} sets {name}, which each request sets by itself: leave it out")
        found.append((name, value))
    if len(found) > _MOST:
        raise InputError(f"{where} has {len(found)} headers, and {_MOST} are the most")
    return tuple(found)
