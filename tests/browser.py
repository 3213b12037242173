"""A headless Chromium, one for all tests of a worker that ask for it: `def test_it(browser)`.

The suite's own conftest.py has the fixture. Another that imported it would have a Chromium of its own.
"""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait


class Browser(webdriver.Chrome):
    """A Chromium whose `get` comes back when the page has been loaded, with all its scripts run."""

    def get(self, url: str) -> None:
        super().get(url)
        # chromedriver comes back at once, one time in ten or so on a busy machine, with the page still being
        # parsed. What a page's scripts put behind the "#" is theirs.
        WebDriverWait(self, 30).until(
            lambda b: b.execute_script(
                "return document.readyState === 'complete'"
                " && location.href.split('#')[0] === new URL(arguments[0]).href.split('#')[0]",
                url,
            )
        )


@pytest.fixture(scope="session")
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
    with Browser(options=options, service=webdriver.ChromeService(driver)) as chrome:
        chrome.get("about:blank")  # away from the browser's own first page, which may be fetching still
        yield chrome
