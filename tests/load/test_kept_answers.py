"""Answers that are kept to be compared: one in a while, none too large, and as they came."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from harness.load import kept_answers
from harness.load.kept_answers import KeptAnswers, answers_file, kept_in
from harness.load.wire import Reply
from harness.measurement.first_answers import FirstAnswers
from harness.schema.errors import ServerError
from harness.schema.samples import Status
from harness.schema.tensors import Tensors


def reply(body: bytes | None, json_bytes: int | None = None) -> Reply:
    return Reply(Status.OK, None, 1, 2, 3, 4, 5, body, json_bytes)


def test_what_is_kept_is_read_as_it_came(tmp_path: Path) -> None:
    for worker in range(2):
        kept = KeptAnswers(answers_file(tmp_path, worker))
        kept.keep(1, 7, reply(b"{}tensors", 2))
        kept.keep(0, worker, reply(b""))
        kept.keep(0, 3, reply(None))  # it was too large, or failed
        kept.write()
    found = [(k.request_class, k.variant, k.reply.body, k.reply.json_bytes) for k in kept_in(tmp_path)]
    assert found == [(1, 7, b"{}tensors", 2), (0, 0, b"", None), (1, 7, b"{}tensors", 2), (0, 1, b"", None)]
    cut = answers_file(tmp_path, 0)
    cut.write_bytes(cut.read_bytes()[:-3])
    assert len(list(kept_in(tmp_path))) == 3, "what a killed process left is passed over"


def test_it_is_one_in_a_while_and_not_too_much_together(tmp_path: Path) -> None:
    kept = KeptAnswers(answers_file(tmp_path, 0))
    assert kept.due_ns == 0
    kept.wait(10**9)
    assert kept.due_ns == 10**9 + 50_000_000
    for _ in range(16):
        kept.keep(0, 0, reply(b"x" * kept_answers.LARGEST))
    kept.wait(10**9)
    assert kept.due_ns > 2**60
    assert KeptAnswers(None).due_ns > 2**60


class Decodes:
    """A connection to whose bytes these tensors belong."""

    def __init__(self, **bodies: Tensors) -> None:
        self._bodies = bodies
        self.asked: list[bytes] = []

    def call(self, request: bytes, *, keep_body: bool) -> Reply:
        """The answer is named by the request."""
        assert keep_body
        self.asked.append(request)
        if request == b"refused":
            return Reply(Status.REFUSED, "no", 1, 2, 3, 4, 5)
        return reply(request)

    def decode(self, reply: Reply) -> Tensors:
        assert reply.body is not None
        if reply.body == b"broken":
            raise ServerError("no tensors")
        return self._bodies[reply.body.decode()]


def test_later_answers_are_compared_with_the_first_to_the_same_payload(tmp_path: Path) -> None:
    right = {"y": np.array([1.0, 2.0], np.float32)}
    near = {"y": right["y"] * np.float32(1.00001)}
    wrong = {"y": np.array([1.0, 2.2], np.float32)}
    other = {"y": np.array([1.0, 2.0, 3.0], np.float32)}
    connection = Decodes(right=right, near=near, wrong=wrong, other=other)

    def kept(*answers: tuple[int, int, bytes]) -> KeptAnswers:
        some = KeptAnswers(answers_file(tmp_path, 0))
        for request_class, variant, body in answers:
            some.keep(request_class, variant, reply(body))
        some.write()
        return some

    first = FirstAnswers(tolerance=1e-4)
    kept((0, 0, b"right"), (0, 1, b"wrong"), (1, 0, b"other"), (0, 2, b"broken"))
    assert first.compare(kept_in(tmp_path), connection) is None, "each is the first of its payload"  # type: ignore[arg-type]
    kept((0, 0, b"near"), (0, 0, b"wrong"), (0, 1, b"wrong"))
    check = first.compare(kept_in(tmp_path), connection)  # type: ignore[arg-type]
    assert check is not None and (check.compared, check.different) == (3, 1)
    assert check.largest_error is not None and abs(check.largest_error - 0.1) < 1e-6
    kept((0, 0, b"other"))
    check = first.compare(kept_in(tmp_path), connection)  # type: ignore[arg-type]
    assert check is not None and (check.different, check.largest_error) == (1, None)


def test_what_is_asked_alone_is_the_first_and_a_request_that_fails_ends_it(tmp_path: Path) -> None:
    right, wrong = {"y": np.array([1.0], np.float32)}, {"y": np.array([2.0], np.float32)}
    connection = Decodes(right=right, wrong=wrong)
    first = FirstAnswers(tolerance=1e-4)
    requests = [((0, 0), b"right"), ((1, 0), b"right"), ((0, 1), b"refused"), ((1, 1), b"right")]
    first.ask(requests, connection)  # type: ignore[arg-type]
    assert connection.asked == [b"right", b"right", b"refused"]
    some = KeptAnswers(answers_file(tmp_path, 0))
    for payload in ((0, 0), (1, 0), (0, 1), (1, 1)):
        some.keep(*payload, reply(b"wrong"))
    some.write()
    check = first.compare(kept_in(tmp_path), connection)  # type: ignore[arg-type]
    assert check is not None and (check.compared, check.different) == (2, 2), "those that were asked alone"


def test_asking_alone_takes_a_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 10.0, 0.04).tolist())
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    connection = Decodes(right={"y": np.array([1.0], np.float32)})
    FirstAnswers(tolerance=1e-4).ask([((0, n), b"right") for n in range(9)], connection)  # type: ignore[arg-type]
    assert len(connection.asked) == 3
