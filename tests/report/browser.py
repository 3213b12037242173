"""What a browser has of a page: what it says, fetches, draws and shows."""

import json

from selenium.webdriver.support.wait import WebDriverWait


def visit(browser, path):
    """Open a page. What the browser logged before is forgotten."""
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())


def arrived(browser, title):
    """Wait until the page with this title, which a click led to, has been loaded."""
    WebDriverWait(browser, 30).until(
        lambda b: b.title == title and b.execute_script("return document.readyState") == "complete"
    )


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
    """Ids of the charts that have a plot with at least one mark in it, and are not hidden."""
    return set(
        browser.execute_script(
            "return [...document.querySelectorAll('.js-plotly-plot')].filter(p => p.offsetParent &&"
            " p.querySelector('svg.main-svg .point, svg.main-svg .js-line')).map(p => p.id)"
        )
    )


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
    """The traces that are visible."""
    return browser.execute_script(
        "const all = document.getElementById(arguments[0]).data ?? [];"
        "return all.filter(t => t.visible !== false).map(t => ({"
        " name: t.name, x: t.x, y: t.y, ids: t.customdata, text: t.text, hover: t.hovertext, on: t.xaxis,"
        " marker: t.marker?.color, symbol: t.marker?.symbol, hatches: t.marker?.pattern?.shape,"
        " error_x: t.error_x, error_y: t.error_y, opacity: t.opacity}))",
        chart,
    )


def layout_of(browser, chart):
    return browser.execute_script("return document.getElementById(arguments[0]).layout", chart)


def note_of(browser, chart):
    return browser.find_element("id", f"{chart}-note").text


def listed(browser):
    """Ids of the rows of the table of points that are there to be seen."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#points-table tbody tr')].filter(tr => !tr.hidden)"
        ".map(tr => tr.dataset.id)"
    )
