"""What a browser has of a page: what it says, fetches, draws and shows."""

import json
from contextlib import suppress

from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.wait import WebDriverWait


def complaints(browser):
    return [e["message"] for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def requested(browser):
    """Everything fetched but the page's own file and what it carries as data."""
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    entries = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    own = ("file:///", "data:", "blob:")
    return [url for url in sent + entries if not url.startswith(own)]


def drawn(browser):
    """Ids of the charts with a mark in their plot, once every shown one has one, or after 10 s."""
    shown = "[...document.querySelectorAll('.js-plotly-plot')].filter(p => !p.hidden)"
    marked = "p.querySelector('svg.main-svg .point, svg.main-svg .js-line')"
    with suppress(TimeoutException):  # a plot may be drawn a moment after the page was loaded
        WebDriverWait(browser, 10).until(
            lambda b: b.execute_script(f"return {shown}.every(p => {marked})"),
        )
    return set(browser.execute_script(f"return {shown}.filter(p => {marked}).map(p => p.id)"))


def rows(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#points-table tbody tr')].map(tr =>"
        " ({id: tr.dataset.id, verdict: tr.className, cells: [...tr.cells].map(c => c.innerText)}))"
    )


def headings(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#points-table thead th')]"
        ".map(th => th.innerText.split('\\n')[0])"
    )


def choose(browser, select, value):
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        " s.dispatchEvent(new Event('change'))",
        select,
        value,
    )


def data_of(browser, chart):
    return browser.execute_script(
        "return document.getElementById(arguments[0]).data.filter(t => t.visible !== false)"
        ".map(t => ({name: t.name, x: t.x, y: t.y, marker: t.marker && t.marker.color}))",
        chart,
    )
