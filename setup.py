"""The version of what is built: the release that harness/version.py names, and the commit, which setuptools-scm finds
in a clone, in an archive of one (.git_archival.txt) and in a source distribution (PKG-INFO)."""

import re
from pathlib import Path
from typing import Any

from setuptools import setup

RELEASE = re.search(r'^RELEASE = "(.+)"$', Path("harness/version.py").read_text(), re.MULTILINE)[1]


def commit(found: Any) -> str:
    """As harness.version writes it."""
    if found.node is None:
        return ""
    return f"+g{found.node.removeprefix('g')[:7]}" + (".dirty" if found.dirty else "")


setup(
    use_scm_version={
        "version_scheme": lambda _: RELEASE,
        "local_scheme": commit,
        "fallback_version": RELEASE,
    }
)
