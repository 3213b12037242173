"""The version of what is built: the release that harness/version.py names, and the commit.

setuptools-scm finds it in a clone, in an archive of one (.git_archival.txt) and in a source distribution
(PKG-INFO).
"""

import re
import shutil
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

RELEASE = re.search(r'^RELEASE = "(.+)"$', Path("harness/version.py").read_text(), re.MULTILINE)[1]


def commit(found: Any) -> str:
    """As harness.version writes it."""
    if found.node is None:
        return ""
    return f"+g{found.node.removeprefix('g')[:7]}" + (".dirty" if found.dirty else "")


class WithScenarios(build_py):
    """A wheel brings the scenarios, where harness.store.shipped looks for them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("scenarios", Path(self.build_lib) / "harness" / "shipped", dirs_exist_ok=True)


setup(
    cmdclass={"build_py": WithScenarios},
    use_scm_version={
        "version_scheme": lambda _: RELEASE,
        "local_scheme": commit,
        "fallback_version": RELEASE,
    },
)
