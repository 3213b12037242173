"""Which harness this is: its release, and the commit that it is made of.

A clone is asked itself, each time, since an editable install outlives the commit that it was made at. What was
built from a clone or from an archive of one has the commit in the version that it was built with (setup.py).
"""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path

from harness import git

RELEASE = "0.2.0.dev0"
"""The release that is being made; it changes by hand, and the rest of the version by itself."""

_CLONE = Path(__file__).resolve().parents[1]


@functools.cache
def version() -> str:
    """E.g. "0.2.0.dev0+g7ec17eb"; with ".d" and a hash of the changes where the clone has some. The release
    alone where nobody can tell the commit."""
    commit = _checked_out()
    if commit is not None:
        return f"{RELEASE}+{commit}"
    try:
        return metadata.version("harness")
    except metadata.PackageNotFoundError:  # run from its source without having been installed
        return RELEASE


def _checked_out() -> str | None:
    """The commit of the clone that this file is in; None where it is in none."""
    if not ((_CLONE / ".git").exists() and (_CLONE / "setup.py").exists()):
        return None
    commit = git.said(_CLONE, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changes = git.said(_CLONE, "diff", "HEAD", "--no-ext-diff", "--binary", "--", "harness")
    mark = f".d{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return f"g{commit[:7]}{mark}"
