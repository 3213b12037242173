"""Every error that a user can meet: one sentence with the remedy, and the exit code it ends in."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `harness` tells the shell. Stable: scripts and CI depend on these numbers."""

    FINE = 0
    OBJECTIVE_MISSED = 1
    BAD_INPUT = 2
    INVALID = 3
    """A measurement is invalid or inconclusive."""
    FAILED = 4
    """The server or the harness itself failed."""


class HarnessError(Exception):
    """A failure told in one sentence that names the remedy, or a file's several, each as an argument and a
    line of its own. `exit_code` says how the process ends."""

    exit_code = ExitCode.FAILED

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class InputError(HarnessError):
    """The user asked for something that cannot be done: a wrong file, key, type, path or combination."""

    exit_code = ExitCode.BAD_INPUT


class NotWritable(HarnessError):
    """This user may not write there, or nobody may."""


class ServerError(HarnessError):
    """Triton did not start, did not become ready, refused a model or went away."""


class ModelRefused(ServerError):
    """Triton runs, and a model or what is asked for it is nothing that it can serve: the user's to mend."""

    exit_code = ExitCode.BAD_INPUT
