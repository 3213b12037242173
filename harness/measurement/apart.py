"""What each replica did of a load that was spread over several, by its own statistics."""

from __future__ import annotations

from contextlib import suppress

from harness.schema.errors import ServerError
from harness.schema.observed import ReplicaObserved
from harness.schema.result import ServerFigures
from harness.triton.continuity import Continuity
from harness.triton.server import Server
from harness.triton.statistics import Statistics, difference


class Apart:
    """The counters of each of a server's replicas, from one moment to another; nothing where it is one."""

    def __init__(self, server: Server, model: str, version: int | None) -> None:
        several = server.replicas if len(server.replicas) > 1 else ()
        self._courses = [(each, Continuity(each, model, version)) for each in several]
        self._before: list[Statistics] = []

    def begin(self) -> None:
        """Raises ServerError where one doesn't tell."""
        self._before = [course.look() for _, course in self._courses]

    def found(self) -> tuple[ReplicaObserved, ...]:
        """Since then."""
        return tuple(
            ReplicaObserved(
                address=each.way.words, server=self._figures(number, course) if self._before else None
            )
            for number, (each, course) in enumerate(self._courses)
        )

    @property
    def broken(self) -> str | None:
        """How it was first seen that one of them began anew; None if none did."""
        return next(
            (f"{each.way.words}: {course.broken}" for each, course in self._courses if course.broken), None
        )

    def _figures(self, number: int, course: Continuity) -> ServerFigures | None:
        with suppress(ServerError):
            return difference(self._before[number], course.look())
        return None
