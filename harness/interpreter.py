"""This environment's Python as a child process.

Without more, Python looks for modules in the folder it works in before it looks anywhere else: a file there
with the name of a package that a child imports would run in its place, whoever put it there.
"""

from __future__ import annotations

import sys

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For the environment of a program that starts a Python of its own."""


def python(*arguments: str) -> list[str]:
    """The command line of this Python, which imports nothing from the folder it works in."""
    return [sys.executable, "-P", *arguments]
