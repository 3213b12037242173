"""Gates that ask whether the answers are those of the model to the requests that were sent."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate
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
    if by_triton != by_client:
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


GATES = (failed_requests, counts_differ, cached_answers)
