"""The build of one commit: its files beside the user's own, which stay as they are, and a process that
exports the model from them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import git
from harness.child_process import dying_with_us, exit_description
from harness.commands.bisecting.at_commit import Asked, Built
from harness.commands.run import Models, asked_of_export, served
from harness.interpreter import python
from harness.plain_text import shown
from harness.schema.bisect_result import Commit
from harness.schema.errors import InputError
from harness.store.scenario_file import LoadedScenario

ARCHIVE_S = 600.0
"""How long git may take to write a commit's files."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The user's, that a scenario lies in."""

    top: Path

    @classmethod
    def of(cls, folder: Path) -> Repository:
        """Raises InputError where the folder is in none."""
        top = git.said(folder, "rev-parse", "--show-toplevel")
        if not top:
            raise InputError(f"{folder} is in no git repository: --bisect looks for a commit of one")
        return cls(Path(top).resolve())

    def commit(self, name: str) -> Commit:
        """Raises InputError where there is none of that name."""
        told = git.said(
            self.top, "log", "-1", "--format=%H %s", "--end-of-options", f"{name}^{{commit}}", "--"
        )
        if not told:
            raise InputError(f"{self.top} has no commit {name!r}")
        sha, _, subject = told.partition(" ")
        return Commit(sha=sha, subject=shown(subject)[:200])

    def between(self, good: Commit, bad: Commit) -> list[Commit]:
        """The commits after `good` up to `bad`, the oldest first. Raises InputError where `bad` doesn't
        follow from it."""
        listed = git.said(
            self.top, "log", "--first-parent", "--reverse", "--format=%H %s", f"{good.sha}..{bad.sha}", "--"
        )
        ancestor = git.said(self.top, "merge-base", "--is-ancestor", good.sha, bad.sha)
        if ancestor is None or not listed:
            raise InputError(
                f"{bad.sha[:12]} doesn't follow from {good.sha[:12]}: give --bisect GOOD..BAD, the older "
                "commit first"
            )
        parts = [line.partition(" ") for line in listed.splitlines()]
        return [Commit(sha=sha, subject=shown(subject)[:200]) for sha, _, subject in parts]

    @contextmanager
    def files(self, commit: Commit) -> Iterator[Path]:
        """A folder with the commit's files, for the time of the block. No hook runs, and nothing is written
        into the repository."""
        with TemporaryDirectory(prefix="harness-commit-") as made:
            archive, folder = Path(made, "files.tar"), Path(made, "files")
            if git.said(self.top, "archive", f"--output={archive}", commit.sha, wait_s=ARCHIVE_S) is None:
                raise InputError(
                    f"git can't write the files of {commit.sha[:12]}: see `git archive` in {self.top}"
                )
            folder.mkdir()
            # tar writes no name through a link or out of the folder, as tarfile would before Python 3.11.4.
            unpacked = subprocess.run(
                ["tar", "-x", "--no-same-owner", "-C", folder, "-f", archive],
                capture_output=True,
                check=False,
            )
            if unpacked.returncode != 0:
                raise InputError(
                    f"{commit.sha[:12]} can't be unpacked into {folder.parent}: make room there, "
                    "or see what `git archive` and `tar` say"
                )
            archive.unlink()
            yield folder.resolve()


def built(commit: Commit, repository: Repository, loaded: LoadedScenario) -> Models | str:
    """The models of the scenario as the commit makes them, or why it doesn't."""
    dtypes, sizes = asked_of_export(loaded)
    with repository.files(commit) as files:

        def there(path: Path) -> Path:
            """A path of today's files, among the commit's."""
            return files / path.resolve().relative_to(repository.top)

        def ours(path: Path) -> bool:
            return path.resolve().is_relative_to(repository.top)

        base_dir = there(loaded.folder)
        if not base_dir.is_dir():
            return f"it has no folder {base_dir.relative_to(files)}"
        searched = [Path(entry) for entry in sys.path if entry and ours(Path(entry))]
        own = [there(path) for path in (*searched, Path.cwd()) if ours(path)]
        asked = Asked(
            model=str(loaded.scenario.model),
            base_dir=str(base_dir),
            dtypes=dtypes,
            sizes=sizes,
            today=str(repository.top),
        )
        found = _answer(asked, [str(path) for path in own if path.is_dir()], base_dir)
        if isinstance(found, str):
            return found
        try:
            return found.fault or served(loaded, found.models)
        except InputError as error:
            return str(error)


def _answer(asked: Asked, searched: list[str], folder: Path) -> Built | str:
    """What the process says, or how it ended."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*searched, *([before] if before else [])])
    process = subprocess.run(
        python("-m", "harness.commands.bisecting.at_commit"),
        input=asked.model_dump_json(),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=dying_with_us(),
        check=False,
    )
    *_, last = process.stdout.splitlines() or [""]
    try:
        return Built.model_validate_json(last)
    except ValueError:
        *_, said = process.stderr.strip().splitlines() or [exit_description(process.returncode)]
        return f"the process that exports its model failed: {shown(said)[:300]}"
