"""A webhook is told by the real command what a night came to, and has no say in its exit code."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Workplace
from tests.e2e.test_nightly import NIGHT, nights
from tests.publish.receiver import receiver, status
from tests.triton.models import slow


def test_a_night_tells_what_it_found_and_goes_on_where_nobody_listens(workplace: Workplace) -> None:
    slow(workplace.path, steps=2)
    workplace.scenario(NIGHT, "models.yaml")
    workplace.lock_for_itself()
    workplace.env["HARNESS_WEBHOOK_URL"] = "https://example.org/s3cret"
    refused = workplace.run("nightly", "models.yaml")
    assert refused.code == 2 and "HARNESS_WEBHOOK_SECRET can't sign" in refused.stderr
    assert not nights(workplace) and "s3cret" not in refused.stderr
    with receiver(status(404)) as deaf:
        workplace.env |= deaf.environment
        first = workplace.run("nightly", "models.yaml")
    assert first.code == 0 and "was not told: it answered 404" in " ".join(first.stderr.split())
    assert deaf.messages[0].document["outcome"] == "no baseline"
    with receiver(status(200)) as found:
        workplace.env |= found.environment
        second = workplace.run("nightly", "models.yaml", "--minutes-per-point", "0.01", "--json")
    assert second.code == 3, f"{second.stdout}{second.stderr}"  # after one round nothing can be told
    (message,) = found.messages
    assert message.signed and message.document["type"] == "harness.nightly"
    folder = nights(workplace)[-1]
    night = json.loads((folder / "nightly.json").read_text())
    assert {name: message.document[name] for name in ("run_id", "scenario", "outcome", "why")} == {
        name: night[name] for name in ("run_id", "scenario", "outcome", "why")
    }
    assert [point["point"] for point in message.document["points"]] == [
        point["point"] for point in night["comparison"]["points"]
    ]
    assert folder.joinpath("benchmark.json").is_file()
    secret = found.environment["HARNESS_WEBHOOK_SECRET"]
    assert secret not in second.stderr + second.stdout
    kept = (
        file for file in Path(workplace.path).rglob("*") if file.suffix in (".json", ".log", ".md", ".yaml")
    )
    assert not any(secret in file.read_text(errors="replace") for file in kept)
