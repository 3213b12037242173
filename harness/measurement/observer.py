"""Whom a measurement tells how it goes."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Whatever it does, it does quickly: the driver of the load calls it."""

    def say(self, text: str) -> None:
        """A sentence for the user."""

    def load(self, phase: str, elapsed_s: float, requests: int, errors: int) -> None:
        """How far the load of a point is, some times a second: "warmup" or "measure", its seconds, requests
        that succeeded and that failed so far."""


class Nobody:
    """An Observer that keeps it to itself."""

    def say(self, text: str) -> None: ...

    def load(self, phase: str, elapsed_s: float, requests: int, errors: int) -> None: ...
