"""The secret that a run and its load processes on other machines share, and the keys that it makes.

ZeroMQ's own cipher (CURVE) keeps the channel: a worker talks to nobody but who knows the secret, nothing can
be read or changed on the way, and a stranger's bytes never come as far as a message.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from typing import Any

from harness.schema.errors import InputError

SECRET_VARIABLE = "HARNESS_WORKER_SECRET"
"""In the environment, which other users can't read; never an argument, which they can."""
_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Secret:
    """The key of the run's side, of which the public half is the secret's too: it is never sent.

    So whoever can talk to it knows the secret, and a worker needs no key of its own that would be known.
    """

    private: bytes
    public: bytes

    def guard(self, socket: Any) -> None:
        """Have `socket`, which will listen, understand nobody without the secret."""
        socket.curve_secretkey, socket.curve_publickey = self.private, self.public
        socket.curve_server = True

    def prove(self, socket: Any) -> None:
        """Have `socket`, which will connect, talk to nobody without the secret."""
        import zmq

        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = self.public


def is_set() -> bool:
    """Whether there is a secret. Raises InputError for one that can be guessed."""
    secret = os.environ.get(SECRET_VARIABLE)
    if secret is not None and len(secret.strip()) < _SHORTEST:
        raise InputError(
            f"{SECRET_VARIABLE} has less than {_SHORTEST} characters: set it to what `openssl rand -hex 16` "
            "prints, there and here"
        )
    return secret is not None


def shared_secret() -> Secret | None:
    """That of the environment; None where there is none. Raises InputError for one that can be guessed."""
    return _derived(os.environ[SECRET_VARIABLE].strip()) if is_set() else None


@functools.cache
def _derived(secret: str) -> Secret:
    import zmq
    from zmq.utils import z85

    # What is sent can be tried against guesses: each guess shall cost something.
    key = hashlib.scrypt(secret.encode(), salt=b"harness worker 1", n=1 << 14, r=8, p=1, dklen=32)
    private = z85.encode(key)
    return Secret(private, zmq.curve_public(private))
