"""What a reader chooses on the page: filters, the address that keeps them, the keyboard, clicks on marks."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.report import factory
from tests.report.browser import choose, data_of, listed, visit
from tests.report.factory import DEMO_RUN as DEMO

pytestmark = pytest.mark.browser


@pytest.fixture
def demo(demo_to_change):
    return demo_to_change


def press(browser, setting, value):
    browser.execute_script(
        '[...document.querySelectorAll(`[aria-label="Filter by ${arguments[0]}"] button`)]'
        ".find(b => b.textContent === arguments[1]).click()",
        setting,
        value,
    )


def pressed(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#filters [aria-pressed=true]')].map(b => b.textContent)"
    )


def address(browser):
    return browser.execute_script("return location.hash")


def drawn_points(browser):
    return {id_ for trace in data_of(browser, "curve") for id_ in trace["ids"] or () if id_}


def of(**wanted):
    names = {"tokens": "requests.text.tokens", "max_batch": "server.max_batch", "users": "load.concurrency"}
    return {p.id for p in DEMO.points if all(p.params[names[k]] in v for k, v in wanted.items())}


def test_table_charts_and_heat_maps_show_what_passes_all_filters(demo):
    press(demo, "tokens", "16")
    press(demo, "tokens", "64")
    press(demo, "max_batch", "16")
    wanted = of(tokens=(16, 64), max_batch=(16,))
    assert set(listed(demo)) == wanted == drawn_points(demo)
    assert demo.find_element("id", "count").text == "4 of 12 points"
    heads = "return [...document.querySelectorAll('#heat-maps caption')].map(c => c.innerText)"
    assert demo.execute_script(heads) == ["tokens 16", "tokens 64"]
    validity = "return [...document.querySelectorAll('#validity tbody tr')].filter(r => !r.hidden).length"
    assert demo.execute_script(validity) == 4
    press(demo, "tokens", "16")  # let go of again
    assert set(listed(demo)) == of(tokens=(64,), max_batch=(16,))
    demo.find_element("css selector", "#filters .reset").click()
    assert len(listed(demo)) == 12 and pressed(demo) == []
    assert not demo.find_element("css selector", "#filters .reset").is_displayed()


def test_a_verdict_and_a_load_are_filters_too(demo):
    press(demo, "verdict", "invalid")
    assert listed(demo) == [p.id for p in DEMO.points if p.verdict == "invalid"]
    press(demo, "verdict", "invalid")
    press(demo, "load", "concurrency 8")
    assert set(listed(demo)) == of(users=(8,))


def test_nothing_that_passes_is_said(demo):
    press(demo, "verdict", "invalid")
    press(demo, "tokens", "16")
    assert listed(demo) == []
    assert demo.find_element("id", "curve-note").text == "No point passes the filters."


def test_what_is_chosen_is_kept_in_the_address_and_opens_with_it(browser, demo_file):
    visit(browser, demo_file)
    press(browser, "tokens", "64")
    press(browser, "load", "concurrency 8")
    choose(browser, "percentile", "p50")
    choose(browser, "chosen", DEMO.points[4].id)
    kept = browser.current_url
    assert kept.endswith(f"#tokens=64&load=concurrency+8&point={DEMO.points[4].id}&percentile=p50")
    before = listed(browser)
    browser.get("about:blank")
    browser.get(kept)
    assert listed(browser) == before and set(before) == of(tokens=(64,), users=(8,))
    assert pressed(browser) == ["64", "concurrency 8"]
    assert browser.find_element("id", "percentile").get_attribute("value") == "p50"
    assert browser.find_element("id", "chosen").get_attribute("value") == DEMO.points[4].id
    browser.execute_script("location.hash = '#tokens=16'")  # as by hand, or by the way back
    WebDriverWait(browser, 10).until(lambda b: set(listed(b)) == of(tokens=(16,)))
    assert browser.find_element("id", "percentile").get_attribute("value") == "p99"
    browser.get("about:blank")


def test_an_address_that_names_nothing_there_is_changes_nothing(browser, demo_file):
    for hash_ in ("#tokens=17&max_batsh=1&point=x&percentile=p42&verdict=%3Cb%3E", "#points", "#%", "#=&=&"):
        browser.get("about:blank")
        browser.get(demo_file.as_uri() + hash_)
        assert len(listed(browser)) == 12 and pressed(browser) == [], hash_
    browser.get("about:blank")


def test_a_page_as_it_opens_has_no_address_of_its_own_and_links_leave_what_is_chosen(demo):
    assert address(demo) == ""
    press(demo, "tokens", "64")
    demo.execute_script("document.querySelector('nav a[href=\"#validity\"]').click()")
    assert address(demo) == "#tokens=64"
    WebDriverWait(demo, 10).until(
        lambda b: (
            abs(b.execute_script("return document.getElementById('validity').getBoundingClientRect().top"))
            < 60
        )
    )


def test_the_keyboard_reaches_filters_rows_and_cells(demo):
    button = demo.find_element("css selector", '[aria-label="Filter by tokens"] button')
    demo.execute_script("arguments[0].focus()", button)
    ActionChains(demo).send_keys(Keys.SPACE).perform()
    assert pressed(demo) == ["16"]
    ActionChains(demo).send_keys(Keys.TAB, Keys.ENTER).perform()
    assert pressed(demo) == ["16", "64"]
    for selector in ("#points-table tbody tr:nth-child(2) button.open", "#heat-maps td button"):
        row = demo.find_element("css selector", selector)
        wanted = row.get_attribute("data-open")
        demo.execute_script("arguments[0].focus()", row)
        ActionChains(demo).send_keys(Keys.ENTER).perform()
        assert demo.find_element("id", "chosen").get_attribute("value") == wanted
        assert demo.execute_script("return document.activeElement.id") == "chosen"


def test_a_click_on_a_mark_opens_its_point(demo):
    demo.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    wanted = DEMO.answers[1].best
    place = demo.execute_script(
        "const plot = document.getElementById('curve');"
        "plot.scrollIntoView({block: 'center'});"
        "const at = plot.data.find(t => t.name === 'best' && t.customdata[0] === arguments[0]);"
        "const axis = (kind, on) => plot._fullLayout[kind + 'axis' + on.slice(1)];"
        "const x = axis('x', at.xaxis), y = axis('y', at.yaxis), box = plot.getBoundingClientRect();"
        "return [box.x + x._offset + x.d2p(at.x[0]), box.y + y._offset + y.d2p(at.y[0])]",
        wanted,
    )
    assert demo.find_element("id", "chosen").get_attribute("value") != wanted
    mouse = ActionChains(demo)
    mouse.w3c_actions.pointer_action.move_to_location(*(round(v) for v in place))
    mouse.pause(0.3).click().perform()
    WebDriverWait(demo, 10).until(lambda b: b.find_element("id", "chosen").get_attribute("value") == wanted)
    assert f"point={wanted}" in address(demo)
    chosen = "return [...document.querySelectorAll('#points-table tr.chosen')].map(tr => tr.dataset.id)"
    assert demo.execute_script(chosen) == [wanted]


def test_the_rows_say_what_the_answers_call_them(demo):
    marks = demo.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('#points-table tbody tr')]"
        ".map(tr => [tr.dataset.id, [...tr.querySelectorAll('.mark')].map(m => m.textContent)]))"
    )
    for answer in DEMO.answers:
        assert "best" in marks[answer.best]
        assert all("tie" in marks[id_] for id_ in answer.ties)
        assert all("may be better" in marks[id_] for id_ in answer.undecided)
    assert sum("best" in each for each in marks.values()) == 3


def test_on_paper_the_filters_that_hold_are_told_and_the_others_are_not(demo):
    def shown():
        return demo.execute_script(
            "return [...document.querySelectorAll('#filters button')].filter(b => b.offsetParent)"
            ".map(b => b.textContent)"
        )

    press(demo, "tokens", "64")
    try:
        demo.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert shown() == ["64"]
        assert demo.find_element("css selector", "#filters").is_displayed()
    finally:
        demo.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert len(shown()) > 5


def test_of_very_many_points_those_are_listed_that_the_answers_name(show):
    """A thousand: tests/bench/test_thousand_points.py."""
    run = factory.run_of(factory.MORE)
    browser = show(run)
    first = listed(browser)
    assert len(run.points) == 250 and 5 <= len(first) <= 100
    assert {answer.best for answer in run.answers} <= set(first)
    note = browser.find_element("id", "listed")
    assert note.text.startswith(f"{len(first)} of 250 points are listed")
    press(browser, "max_batch", "8")
    assert len(listed(browser)) == 50 and not note.is_displayed()
    press(browser, "max_batch", "8")
    browser.execute_script("document.querySelector('#listed button').click()")
    assert len(listed(browser)) == 250
    answers = browser.execute_script("return document.querySelectorAll('#answers tbody tr').length")
    assert answers == len(run.answers) == 5
