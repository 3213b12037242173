"""What a server that isn't ours had loaded before harness changed it, and how it gets that back.

It is written down before the first change and put back when the run ends. Where harness is killed, a guard
process does it; what even that left (the whole machine went down, say) is put back by the next run with that
server, if it still is as harness left it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import atomic
from harness.address import Address
from harness.cache import cache_dir
from harness.interpreter import python
from harness.ownership import new_name, orphaned
from harness.plain_file import read_plain
from harness.schema.errors import HarnessError, ServerError
from harness.schema.frozen import Frozen
from harness.triton import as_loaded
from harness.triton.control import Control
from harness.triton.process import Guard
from harness.triton.way import Way

_MOST_BYTES = 64 << 20
_BY_HAND = "load it there again by hand (POST /v2/repository/models/{name}/load)"


class _Before(Frozen):
    config: dict[str, Any] | None
    """What it was; None where the model wasn't loaded."""
    changed_to: dict[str, Any]


class _Record(Frozen):
    """The file."""

    host: str
    port: int
    models: dict[str, _Before]
    way: Way | None = None
    """None of an earlier harness, which knew no other than host and port."""

    @property
    def way_there(self) -> Way:
        return self.way or Way(host=self.host, port=self.port)

    def control(self) -> Control:
        return self.way_there.control()


class Restoration:
    """The changes of one run to one server."""

    def __init__(self, way: Way, say: Callable[[str], None]) -> None:
        self._say = say
        self._record = _Record(host=way.host, port=way.port, models={}, way=way)
        self._file = _folder() / f"{new_name('remote')}.json"
        self._guard: Guard | None = None

    @contextmanager
    def changing(
        self, model: str, before: dict[str, Any] | None, changed_to: dict[str, Any]
    ) -> Iterator[None]:
        """A change is made in the block; `before`: what is loaded now, None for nothing. Raises HarnessError
        where that can't be written down."""
        noted = self._record
        first = noted.models.get(model)
        kept = _Before(config=before if first is None else first.config, changed_to=changed_to)
        self._write(noted.model_copy(update={"models": {**noted.models, model: kept}}))
        try:
            yield
        except ServerError as error:
            if error.__cause__ is None:  # it answered, and what it refuses leaves it as it was
                self._write(noted)
            raise

    def _write(self, record: _Record) -> None:
        self._record = record
        _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write_text(self._file, record.model_dump_json(), "make room, or set HARNESS_CACHE")
        if self._guard is None:
            command = python("-m", "harness.triton.restoration", str(self._file))
            words = {f"WORD{number}": word for number, word in enumerate(command)}
            script = " ".join(f'"${name}"' for name in words)
            self._guard = Guard(f"exec {script}", **words)

    def put_back(self) -> None:
        """Have everything as it was. Where the server refuses, that is said, and the guard tries once more:
        what was measured is not to be lost by it."""
        if self._guard is None:
            return
        for model in self._record.models:
            self._say(f"putting {model} back as it was loaded")
        try:
            _put_back(self._record)
        except ServerError as error:
            for sentence in error.args:
                self._say(sentence)
            self._guard.act()
        else:
            self._file.unlink(missing_ok=True)
            self._guard.dismiss()
        self._guard = None


def put_back_what_dead_runs_left(way: Way, say: Callable[[str], None]) -> None:
    """Restore what runs that were killed with their guard had changed on this server, where nobody has
    changed it since."""
    for file in _orphans():
        record = _read(file)
        if record is None or not record.way_there.leads_to(way):
            continue
        control = way.control()
        for model, was in record.models.items():
            with suppress(ServerError):
                if as_loaded.same(control.model_config(model), was.changed_to):
                    say(f"an earlier run was killed and left {model} changed: putting it back as it was")
                    _put_back(record.model_copy(update={"models": {model: was}, "way": way}))
        file.unlink(missing_ok=True)


def _put_back(record: _Record) -> None:
    control, failed = record.control(), list[str]()
    for model, was in record.models.items():
        try:
            control.unload(model) if was.config is None else control.load(model, was.config)
        except ServerError as error:
            failed.append(
                f"{model} on Triton at {Address(control.host, control.port)} could not be put back as it was "
                f"({error}): {_BY_HAND.format(name=model)}"
            )
    if failed:
        raise ServerError(*failed)


def _folder() -> Path:
    return cache_dir() / "triton" / "remote"


def _orphans() -> Iterator[Path]:
    for file in _folder().glob("harness_remote_*.json"):
        if orphaned(file.name):
            yield file


def _read(file: Path) -> _Record | None:
    try:
        return _Record.model_validate_json(read_plain(file, _MOST_BYTES))
    except (HarnessError, OSError, ValidationError):
        return None


def main(file: Path) -> None:
    """The guard's work: harness is gone."""
    record = _read(file)
    if record is not None:
        with suppress(ServerError):
            _put_back(record)
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
