"""What a person sees while a run goes on."""

import pytest

from harness.commands.progress import Progress
from harness.schema.load import Load
from harness.schema.scenario import Measure
from harness.schema.shapes.ramp import Ramp
from tests.report import factory


def points(**changes):
    return factory.run_of(factory.ONE_POINT.model_copy(update=changes)).points


def test_a_result_has_its_verdict_its_interval_and_what_limits_it(capsys):
    (point,) = points()
    Progress().result(1, 1, point)
    line = capsys.readouterr().err
    assert "valid  1/1 concurrency 1: 429 inferences/s, p99 5.37 ms (5.15–5.69), bottleneck load" in line
    few = factory.run_of(factory.ONE_POINT, verdicts={0: "inconclusive"}).points[0]
    Progress().result(1, 1, few.model_copy(update={"bottleneck": None}))
    said = capsys.readouterr().err
    assert "429 inferences/s, no p99\n" in said and few.reasons[0] in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("phase", "elapsed_s", "goes_on"),
    [("measure", 9.0, False), ("measure", 11.0, True), ("warmup", 11.0, False), ("measure", 31.0, False)],
)
def test_a_point_that_goes_on_says_why(monkeypatch, phase, elapsed_s, goes_on):
    for load in (Load(concurrency=1), Load(ramp=Ramp(from_per_s=1.0, to_per_s=9.0))):
        (result,) = points(measure=Measure(duration_s=10, at_most_s=30), load=load)
        progress, seen = Progress(), []
        monkeypatch.setattr(progress, "_live", True)
        with progress.point(1, 1, result.point):
            monkeypatch.setattr(progress._status, "update", seen.append)
            progress.load(phase, elapsed_s, 1234, 0)
        assert ("not precise enough yet, goes on to 30 s at most" in seen[0]) == (
            goes_on and load.shape is not Ramp
        )
