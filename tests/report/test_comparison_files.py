"""What a comparison leaves for CI: JUnit's XML, Markdown, and annotations."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from harness.report.comparison_files import github_annotations, junit, summary_of, write_comparison
from harness.verdict.judge import RoundsOfPoint, judge
from tests.report.test_comparison_page import comparison
from tests.verdict.test_judge import TERMS

HOSTILE = "</testcase>\x1b[31m\x00\n::error::%"


def test_a_regression_is_a_failure_and_what_cannot_be_told_is_skipped() -> None:
    suite = ElementTree.fromstring(junit(comparison()))
    assert suite.attrib["tests"] == "8" and suite.attrib["failures"] == "2"
    cases = {(each.attrib["classname"], each.attrib["name"]): each for each in suite.findall("testcase")}
    failure = cases["8 users", "p50"].find("failure")
    assert failure is not None and failure.attrib["message"].startswith("regressed: +6.")
    assert failure.text is not None and failure.text.startswith("compute: +6.")
    assert cases["1 user", "p50"].find("failure") is None
    skipped = cases["8 users", "p99"].find("skipped")
    assert skipped is not None and int(suite.attrib["skipped"]) == 1
    assert "minutes of it would settle it" in skipped.attrib["message"]

    assert all(part in failure.text.split("\n")[1] for part in (": ", "%")), "a part of the time a line"


def test_a_point_that_was_never_measured_is_skipped_too() -> None:
    found = comparison(points=judge([RoundsOfPoint("1 user", {})], TERMS), outcome="inconclusive")
    suite = follows_the_schema(junit(found))
    (case,) = suite.findall("testcase")
    assert (suite.get("tests"), suite.get("skipped")) == ("1", "1")
    skipped = case.find("skipped")
    assert skipped is not None and skipped.attrib["message"] == "nothing was measured"


def follows_the_schema(text: str) -> ElementTree.Element:
    """The suite in `text`, as junit-10.xsd of Jenkins' xUnit plugin and Surefire's schema have it: which
    elements and attributes there are, how times are written, and that the counts are those of the cases."""
    suite = ElementTree.fromstring(text)
    assert suite.tag == "testsuite"
    assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"} == set(suite.attrib)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    for element in suite.iter():
        if "time" in element.attrib:
            assert re.fullmatch(r"[0-9]+\.[0-9]{3}", element.attrib["time"])
    for case in suite:
        assert case.tag == "testcase" and set(case.attrib) == {"classname", "name", "time"}
        assert len(case) <= 1
        for said in case:
            assert said.tag in ("failure", "skipped") and set(said.attrib) <= {"message", "type"}
    assert int(suite.attrib["tests"]) == len(suite)
    assert int(suite.attrib["failures"]) == len(suite.findall("*/failure"))
    assert int(suite.attrib["skipped"]) == len(suite.findall("*/skipped"))
    return suite


@given(some.text(max_size=20) | some.sampled_from(["\ufffe", "\uffff", "]]>", "a\x00", "\ud800"]))
def test_whatever_a_point_is_called_it_is_xml_and_one_annotation(name: str) -> None:
    unmeasured = judge([RoundsOfPoint(name, {})], TERMS)
    follows_the_schema(junit(comparison(name, points=unmeasured, outcome="inconclusive")))
    (first, *_) = (point for point in comparison().points if point.outcome == "regressed")
    renamed = comparison(points=(first.model_copy(update={"point": name}),))
    follows_the_schema(junit(renamed))
    for line in github_annotations(renamed):
        assert len(line.splitlines()) == 1 and line.startswith(("::error title=", "::warning title="))
        assert not re.search("%(?!25|0A|0D)", line)


def test_hostile_names_act_in_none_of_them(tmp_path) -> None:
    found = comparison(HOSTILE, points=judge([RoundsOfPoint(HOSTILE, {})], TERMS))
    suite = ElementTree.fromstring(junit(found))
    (case,) = suite.findall("testcase")
    assert "\x1b" not in case.attrib["classname"] and "testcase>" in case.attrib["classname"]
    for line in github_annotations(comparison().model_copy(update={"points": found.points})):
        assert "\n" not in line
    assert "\x1b" not in summary_of(found) and "\x00" not in summary_of(found)
    write_comparison(found, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"ab.html", "summary.md", "junit.xml"}


def test_the_summary_has_a_row_a_metric_and_what_moved() -> None:
    text = summary_of(comparison())
    assert text.startswith("# after beside before: regressed\n")
    assert sum(line.startswith("| 8 users | ") for line in text.splitlines()) == 4
    assert "| 8 users | p50 | regressed | +6." in text
    assert "- 8 users: compute moved by +6." in text
    assert "- **Differs in**: server.max_batch 1 → 8" in text


def test_each_alarm_is_annotated() -> None:
    lines = list(github_annotations(comparison()))
    assert [line.partition(" ")[0] for line in lines].count("::error") == 2
    assert any(line.startswith("::warning title=harness::8 users, p99: inconclusive") for line in lines)
    assert all("%" not in line or "%25" in line for line in lines)
