"""Pages opened in a headless Chromium."""

import pytest

from harness.report.page.page import write_page
from tests.report import samples
from tests.report.browser import choose, complaints, requested, visit
from tests.report.factory import DEMO_RUN

SELECTS = ("chosen", "percentile")


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of a run, open it, and afterwards hold it to silence on the console and the network."""

    def opened(run, series=None):
        path = tmp_path / "report.html"
        write_page(run, samples.series_for(run) if series is None else series, path)
        visit(browser, path)
        return browser

    yield opened
    assert complaints(browser) == []
    assert requested(browser) == []


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "report.html"
    write_page(DEMO_RUN, samples.series_for(DEMO_RUN), path)
    return path


@pytest.fixture
def demo(browser, demo_file):
    """The page of the demo, loaded once for all the tests that only read it, as it was when it opened."""
    if browser.current_url != demo_file.as_uri():
        visit(browser, demo_file)
    yield browser
    assert complaints(browser) == []
    assert requested(browser) == []


@pytest.fixture
def demo_to_change(demo):
    """The same for a test that leaves the page other than it found it."""
    yield demo
    demo.get("about:blank")


@pytest.fixture
def demo_to_choose_from(demo):
    """The same for a test that changes what is chosen, and nothing else: it is chosen again as it was."""
    before = {select: demo.find_element("id", select).get_attribute("value") for select in SELECTS}
    yield demo
    for select, value in before.items():
        if demo.find_element("id", select).get_attribute("value") != value:
            choose(demo, select, value)
