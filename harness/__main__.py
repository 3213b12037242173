"""`python -m harness`."""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path[0] == str(Path.cwd()):
    # Python has put the folder it works in before its packages; `harness`, the command, does without.
    del sys.path[0]

from harness.cli import main

main()
