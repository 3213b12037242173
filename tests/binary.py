"""A `tritonserver` as a user would have it on PATH: the embedded one, behind a script that knows its folders.

In a test:

    def test_it(tritonserver: Path) -> None:
        subprocess.run([...], env=os.environ | {"PATH": f"{tritonserver}:/usr/bin:/bin"})

where a conftest.py has `from tests.binary import tritonserver`.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from harness.triton.install import provision

SCRIPT = """\
#!/bin/sh
export LD_LIBRARY_PATH={libraries}
export PATH={python}:$PATH
exec {server} "$@" --backend-directory={backends} --cache-directory={caches}
"""


@pytest.fixture
def tritonserver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to put on PATH."""
    triton = provision()
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "tritonserver"
    words = {
        "libraries": triton.library_path,
        "python": os.fspath(Path(sys.executable).parent),
        "server": os.fspath(triton.server),
        "backends": os.fspath(triton.backends),
        "caches": os.fspath(triton.caches),
    }
    program.write_text(SCRIPT.format(**{name: shlex.quote(word) for name, word in words.items()}))
    program.chmod(0o755)
    return folder
