"""What somebody else may write where a name or a message is expected."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

HOSTILE = (
    "\x1b]0;title\x07\x1b[31m \x9b31m \x9d0;c1\x9c \x1b]8;;file:///etc/passwd\x07link\x1b]8;;\x07 "
    "\u202egnp.exe\u2066 "
    "[red]m[/red] [link=file:///x]l[/link] :smile: \x7f\x08\u2028\x85\r\nharness: all is well | "
    "<img src=x> <!-- ](http://evil.example) https://evil.example www.evil.example _a_ ~~b~~"
)

HONEST = "é, 中文, हिन्दी, 👩‍💻 🏴󠁧󠁢󠁥󠁮󠁧󠁿, عربى, naïve_name [1]"
"""What honest people write, with joiners and tags that their scripts and emoji are made with."""

ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What acts on a terminal or a page, but for the line break."""

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""What rich writes for a colour."""


def poisoned(value: Any, kind: Any = None) -> Any:
    """A copy of a record of ours with HOSTILE after every text in it that isn't one of a few given words."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return value.model_copy(
            update={n: poisoned(getattr(value, n), f.annotation) for n, f in fields.items()}
        )
    if isinstance(value, dict):
        return {k: poisoned(v, kind) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(poisoned(v, kind) for v in value)
    return f"{value} {HOSTILE}" if isinstance(value, str) and "Literal" not in str(kind) else value
