"""Which harness this is: its release, and the commit that it is made of.

A clone is asked itself, each time, since an editable install outlives the commit that it was made at. What
was built from a clone, or from an archive of one, was given the commit then (setup.py). A copy that has
lost both is told from others by its content.
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
    """E.g. "0.2.0.dev0+g7ec17eb"; with ".d" and a hash of the changes where the clone has some."""
    commit = _checked_out()
    if commit is not None:
        return f"{RELEASE}+{commit}"
    installed = _installed()
    return installed if "+" in installed else f"{installed}+nogit.{_content()}"


def _installed() -> str:
    """What this copy was given when it was installed; a copy that lies elsewhere than the one that was has
    only its release."""
    try:
        found = metadata.distribution("harness")
    except metadata.PackageNotFoundError:  # run from its source without having been installed
        return RELEASE
    editable = (found.read_text("direct_url.json") or "").find(_CLONE.as_uri() + '"') >= 0
    here = Path(str(found.locate_file("harness/version.py"))).resolve() == Path(__file__).resolve()
    return found.version if here or editable else RELEASE


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


def _content() -> str:
    """A hash of harness's own files."""
    package, content = _CLONE / "harness", hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return content.hexdigest()[:8]
