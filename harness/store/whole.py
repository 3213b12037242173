"""What is said of a file of a run's folder that isn't whole: it is missing, damaged, unreadable, or of a
later harness. Each has its own sentence, and whoever reads the rest of the folder notes it and goes on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.schema.errors import InputError

_COPY = "take it from a copy of the run, if there is one"


class NotWhole(InputError):
    """A file that can't be used as it is; whatever is the matter, it may become whole again."""


class Lost(NotWhole):
    """A file whose content isn't there any more: only a copy, or measuring again, brings it back."""


class Absent(Lost):
    """A file that isn't there."""


class Later(InputError):
    """A file of a format that only a later harness knows: the folder isn't one for this harness."""


def missing(file: Path) -> Absent:
    return Absent(f"{file} is missing: {_COPY}")


def damaged(file: Path, why: str = "it isn't as harness wrote it") -> Lost:
    return Lost(f"{file} is damaged ({why}): {_COPY}")


def unreadable(file: Path, error: OSError) -> NotWhole:
    remedy = "check the disk" if error.errno == errno.EIO else "give yourself the right to read it"
    return NotWhole(f"{file} can't be read ({error.strerror or error}): {remedy}")


def later(file: Path, number: int, known: int) -> Later:
    """Of a file that a later harness wrote, with the number of its format and the last one known here."""
    return Later(
        f"{file} has format {number}, and this harness reads up to {known}: use one as new as that which "
        "wrote it"
    )


def is_there(file: Path) -> bool:
    """Whether something has that name, be it that this user may not look at it."""
    try:
        file.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def noted(faults: list[str], then: str, *, if_lost: str = "") -> Iterator[None]:
    """Note what isn't whole in the block, with what follows from it, and go on behind the block.

    `if_lost` is added where the file's content is gone.
    """
    try:
        yield
    except NotWhole as fault:
        faults.append(f"{fault}; {then}{if_lost if isinstance(fault, Lost) else ''}")
