"""What one life of a server of ours has to itself on disk: the models that it serves, and where it works.

Triton serves whatever is in its repository, and its Python backend imports from the folder that it works in:
neither may be a folder that anybody else writes to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.cache import cache_dir
from harness.ownership import orphaned
from harness.schema.errors import HarnessError

Entry = Callable[[Path], str]
"""Writes a model's entry into the repository that it is given, and returns the model's name."""


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """A folder in the user's cache, from `make` to `remove`. It lies beside the exports, so
    that its models are links to them."""

    path: Path

    @classmethod
    def of(cls, life: str) -> ServerFolder:
        """`life`: a name of `harness.ownership`."""
        return cls(_home() / life)

    @property
    def repository(self) -> Path:
        return self.path / "models"

    @property
    def work(self) -> Path:
        """Empty when the server starts."""
        return self.path / "work"

    def make(self, entries: Sequence[Entry]) -> None:
        """Make the folder with these models in it. Raises HarnessError, and what `entries` do."""
        try:
            self.path.mkdir(parents=True, mode=0o700)
            self.repository.mkdir()
            self.work.mkdir()
        except OSError as error:
            raise HarnessError(
                f"the server's folder {self.path} can't be made ({error.strerror}): "
                "set HARNESS_CACHE to a folder that you can write"
            ) from error
        for write in entries:
            write(self.repository)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def sweep_dead() -> None:
    """Remove the folders of servers whose harness is gone."""
    with suppress(OSError):  # there is none, or none that this user may look into
        for path in _home().iterdir():
            if orphaned(path.name):
                ServerFolder(path).remove()


def _home() -> Path:
    return cache_dir() / "triton" / "lives"
