"""What another machine said, fit for one line of ours."""

from __future__ import annotations

MOST_CHARACTERS = 500


def quoted(text: str, most: int = MOST_CHARACTERS) -> str:
    """`text` in one line of at most `most` characters.

    Nothing is left in it that a terminal would obey, that turns the direction of writing, or that has no
    encoding (half of a surrogate pair).
    """
    seen = text[: 8 * most]
    line = " ".join("".join(c if c.isprintable() else " " for c in seen).split())
    return line if len(line) <= most else line[: most - 1] + "…"
