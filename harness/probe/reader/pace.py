"""How often something is read: at its interval, or more seldom where it would take too much of a core."""

from __future__ import annotations


class Pace:
    """What a call to the driver costs differs a thousandfold between calls and drivers, so it is measured.

    The smaller of the last two costs counts: the first call resolves symbols, and one outlier is no trend.
    """

    def __init__(self, interval_ns: int, share: float, least_ns: int = 0) -> None:
        """`share` is the share of one core that reading may take, 0.002 for a fifth of a percent. Less than
        `least_ns` after the last time it can't be read at all."""
        self._interval_ns = interval_ns
        self._share = share
        self._least_ns = least_ns
        self._possible_ns = 0
        self._due_ns = 0
        self._cost_ns = 0

    def due(self, at_ns: int) -> bool:
        return at_ns >= self._due_ns

    def possible(self, at_ns: int) -> bool:
        return at_ns >= self._possible_ns

    def took(self, at_ns: int, cost_ns: int) -> None:
        """It was read at `at_ns`, for `cost_ns` of CPU time."""
        rest_ns = int(min(self._cost_ns, cost_ns) / self._share)
        self._cost_ns = cost_ns
        self._due_ns = at_ns + max(self._interval_ns, rest_ns)
        self._possible_ns = at_ns + self._least_ns
