"""Texts of failures as they are kept: each error's once, and no more of them than a reader can use.

A server can give every refusal a text of its own, and what is kept by text then grows with the requests.
"""

from __future__ import annotations

import re

MOST_REASONS = 1000
LONGEST_REASON = 2000
"""Characters."""

_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\d{5,}")
"""Addresses, UUIDs and long numbers: what differs between two texts of the same error."""
_OTHER = f"another error, after {MOST_REASONS} different ones"


class Reasons:
    """The reasons of one process."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def kept(self, text: str) -> str:
        """What stands for `text`: the same for all texts of one error, and for all that are too many."""
        if text in self._known:
            return text
        same = _VOLATILE.sub("…", text)[:LONGEST_REASON]
        if same not in self._known:
            if len(self._known) >= MOST_REASONS:
                return _OTHER
            self._known.add(same)
        return same
