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
    # Triton may have answered those, too, that the client had given up by then.
    given_up = int(np.count_nonzero(evidence.requests.status == Status.TIMEOUT))
    if not by_client <= by_triton <= by_client + given_up:
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
    if seen is not None and seen.different > limit * seen.compared:
        yield f"{different_words(seen)}: batches, instances or precision change what the model says"


def different_words(seen: AnswerCheck) -> str:
    """ "3 of 95 answers differ from the first one to the same payload, by up to 0.02 of …"."""
    by = "" if seen.largest_error is None else f", by up to {seen.largest_error:.2g} of its largest value"
    return (
        f"{seen.different} of {seen.compared} answers that were compared differ from the first one to the "
        f"same payload{by} (tolerance {seen.tolerance:g})"
    )


GATES = (failed_requests, counts_differ, cached_answers, different_answers)
