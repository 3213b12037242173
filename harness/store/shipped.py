"""The scenarios that ship with harness: in a clone those of `scenarios/`, else those of the wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_HOMES = (_PACKAGE.parent / "scenarios", _PACKAGE / "shipped")
"""A clone has the first, a wheel the second (setup.py)."""


def scenario_file(named: Path) -> Path:
    """The file that is meant: the one of that name, or else, for `scenarios/NAME`, the one that ships with
    harness, so that they can be run from any folder."""
    if named.exists() or named.parent != Path("scenarios"):
        return named
    return next((home / named.name for home in _HOMES if (home / named.name).is_file()), named)
