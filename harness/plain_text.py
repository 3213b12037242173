"""Text that others wrote, made harmless to show: what would act on a terminal or a page stands as its escape.

A server, a scenario, a file or the name of another machine may hold characters that set a terminal's title or
its colours, hide a link behind other words, turn the order of what stands around them, or begin a new line.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

_ACTING = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: among them ESC, which begins every command to a terminal
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u206a-\u206f"  # direction of writing
    "\u2028\u2029"  # line and paragraph separators
    "\u200b\u2060-\u2065\ufeff\ufff9-\ufffb"  # unseen; not the two joiners, which scripts and emoji need
    "\ud800-\udfff"  # halves of a pair, which no encoding takes: names of files that aren't UTF-8
    "]"
)
MOST_QUOTED = 500
"""Characters."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str) -> str:
    r"""`text` on one line, what acts shown as \n, \x1b or \u202e. All that is only written stays as it is."""
    return _ACTING.sub(_escape, text)


def shown_lines(text: str) -> str:
    """As `shown`, for a text of several lines: its line breaks stay, and only those."""
    return "\n".join(map(shown, text.split("\n")))


def shown_json(document: str) -> str:
    """A JSON document that means the same, with what acts in its strings as JSON's own escapes.

    JSON lets no other character of theirs stand outside a string but line breaks and tabs, which stay.
    """
    return _ACTING.sub(lambda m: m[0] if m[0] in "\n\r\t" else f"\\u{ord(m[0]):04x}", document)


def ascii_json(document: str) -> str:
    """A JSON document that means the same, in ASCII."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], document)


def written(path: Path) -> str:
    """A path that can be written as UTF-8: bytes of a name that isn't UTF-8 stand as their escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def quoted(text: str, most: int = MOST_QUOTED) -> str:
    """`text` in one line of at most `most` characters.

    Nothing is left in it that a terminal would obey, that turns the direction of writing, or that has no
    encoding (half of a surrogate pair).
    """
    seen = text[: 8 * most]
    line = " ".join("".join(c if c.isprintable() else " " for c in seen).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
