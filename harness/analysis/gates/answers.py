"""Gates that ask whether the answers are those of the model to the requests that were sent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.analysis.gates.gate import Evidence, gate
from harness.schema.result import AnswerCheck
from harness.schema.samples import Status
from harness.schema.scenario import Validity


@gate(f"more than {Validity().errors:.0%} of the requests failed", limit="errors")
def failed_requests(evidence: Evidence) -> Iterator[str]:
    facts, limit = evidence.facts, evidence.point.validity.errors
    if facts.errors / facts.requests > limit:
        yield (
            f"{facts.errors} of {facts.requests} requests failed, over {limit:.0%}: "
            "the latency of the others doesn't stand for the load"
        )


@gate("client and Triton count differently")
def counts_differ(evidence: Evidence) -> Iterator[str]:
    facts, server = evidence.facts, evidence.facts.server
    if server is None or evidence.observed.ended is not None:
        return
    by_client, by_triton = facts.requests - facts.errors, server.requests - server.failures
    # Triton may have answered those, too, that the client had given up by then, and its Python backend counts
    # an error that the model gives as an answer.
    status = evidence.requests.status
    perhaps = int(np.count_nonzero((status == Status.TIMEOUT) | (status == Status.REFUSED)))
    if not by_client <= by_triton <= by_client + perhaps:
        yield (
            f"the client counted {by_client} answers and Triton {by_triton}: "
            "somebody else uses the model, or answers were lost"
        )


@gate("answers came from a response cache that the scenario doesn't ask for")
def cached_answers(evidence: Evidence) -> Iterator[str]:
    server = evidence.facts.server
    if server is not None and server.cache_hits and not evidence.point.server.response_cache:
        yield (
            f"{server.cache_hits} answers came from a response cache that the scenario doesn't ask for, "
            "without computing: switch the cache off, or set server.response_cache"
        )


@gate(
    f"more than {Validity().different_answers:.0%} of the answers that were compared differ from the first "
    "one to the same payload",
    limit="different_answers",
)
def different_answers(evidence: Evidence) -> Iterator[str]:
    seen, limit = evidence.observed.answer_check, evidence.point.validity.different_answers
    if seen is not None and seen.unlike_first > limit * seen.against_first:
        yield f"{different_words(seen)}: batches, instances or precision change what the model says"


@gate("more of the answers that were validated than allowed are wrong", limit="wrong_answers")
def wrong_answers(evidence: Evidence) -> Iterator[str]:
    seen, limit = evidence.observed.answer_check, evidence.point.validity.wrong_answers
    if seen is not None and seen.wrong > limit * seen.validated:
        yield f"{wrong_words(seen)}: see whether the model and its data belong together"


def different_words(seen: AnswerCheck) -> str:
    """ "3 of 95 answers differ from the first one to the same payload, by up to 0.02 of …"."""
    return (
        f"{seen.unlike_first} of {seen.against_first} answers that were compared "
        f"differ from the first one to the same payload{_by(seen)} (tolerance {seen.tolerance:g})"
    )


def wrong_words(seen: AnswerCheck) -> str:
    """ "3 of 95 answers that were validated are wrong, by up to 0.02 of …"."""
    return (
        f"{seen.wrong} of {seen.validated} answers that were validated are wrong{_by(seen)} "
        f"(tolerance {seen.tolerance:g})"
    )


def _by(seen: AnswerCheck) -> str:
    return "" if seen.largest_error is None else f", by up to {seen.largest_error:.2g} of its largest value"


GATES = (failed_requests, counts_differ, cached_answers, different_answers, wrong_answers)
