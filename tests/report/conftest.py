"""A headless Chromium for the tests of the page, and pages opened in it."""

import os
import shutil

import pytest
from selenium import webdriver

from harness.report.page import write_page
from tests.report import samples
from tests.report.browser import complaints, requested, visit
from tests.report.factory import DEMO_RUN


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "chromium and chromedriver are not here: apt-get install chromium chromium-driver"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        "window-size=1400,1000",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as chrome:
        chrome.get("about:blank")  # away from the browser's own first page, which may be fetching still
        yield chrome


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
