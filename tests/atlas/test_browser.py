"""The atlas in a real browser: Chromium where it is installed (Debian: apt-get install chromium), else skipped."""

import os
import shutil
from pathlib import Path

import pytest

PAGES = ("index.html", "papers/xcit.html", "parts/mixers/attention.html", "compare/mqar.html", "parts.html", "choose.html",
         "source/mixers/attention.html", "lengths.html", "speed.html", "compare.html", "null.html")  # fmt: skip
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],  # what passes is thousands of nodes, which nobody reads
}
ASK = "async (rules) => (await axe.run(document, rules)).violations"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser was asked")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium): no browser was asked")
    with playwright.sync_playwright() as driver:
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        started = driver.chromium.launch(executable_path=found, args=root)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A fresh page; what its scripts or the console complain of fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    said = []
    opened.on("pageerror", lambda fault: said.append(str(fault)))
    opened.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("requestfailed", lambda request: said.append(request.url))
    yield opened
    opened.close()
    assert not said, said


def shown(page):
    return page.locator("#rows tbody tr:visible").count()


def test_search_and_filters(page, address):
    page.goto(address)
    every = page.locator("#rows tbody tr").count()
    assert shown(page) == every == 448
    page.get_by_role("searchbox").fill("xcit")
    assert shown(page) == 1 and page.locator(".count").inner_text() == "1 of 448 papers"
    page.get_by_role("searchbox").fill("")
    page.locator("select[name=status]").select_option("not upheld")
    page.locator("select[name=causal]").select_option("yes")
    cells = page.locator("#rows tbody tr:visible")
    assert 0 < cells.count() < every
    for i in range(cells.count()):
        texts = cells.nth(i).locator("td").all_inner_texts()
        assert "not upheld" in texts[3] and texts[6] == "yes"
    assert "status=not+upheld" in page.url
    page.reload()
    assert shown(page) == cells.count() < every, "the address keeps the filters"
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelector('.count').textContent.startsWith('448 of')")
    assert shown(page) == every


def test_a_family_leads_to_its_papers_and_a_paper_to_its_part(page, address):
    page.goto(address)
    page.locator(".glance").get_by_role("link", name="positions").click()
    page.wait_for_function("document.querySelector('select[name=family]').value == 'positions'")
    assert 0 < shown(page) < 448
    page.goto(f"{address}?q=xcit")
    page.locator("#rows a:visible").click()
    assert page.locator("h1").inner_text().startswith("XCiT")
    assert page.locator(".check").count() == 5 and page.locator("svg.plot:visible").count() >= 5
    numbers = page.locator(".check details").first
    assert not numbers.locator("table").is_visible()
    numbers.locator("summary").click()
    assert numbers.locator("table").is_visible()
    page.get_by_role("link", name="mixers/cross_covariance").first.click()
    assert page.locator("h1").inner_text() == "cross_covariance"


def test_the_keyboard_reaches_search_and_filters(page, address):
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("searchbox").focus()
    page.keyboard.type("rotary")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "family" and 0 < shown(page) < 448


def test_without_scripts_the_table_is_whole(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert shown(page) == 448 and not page.locator("form").is_visible()
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_accessibility(browser, address, scheme, width):
    """axe finds nothing on any kind of page, and no page is wider than its window."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = next(Path(axe.__path__[0]).rglob("axe.min.js")).read_text("utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    found = []
    for name in PAGES:
        page.goto(address + name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width}"
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.add_script_tag(content=script)
        told = page.evaluate(ASK, RULES)
        found += [f"{name}: {v['id']}: {v['nodes'][0]['html'][:150]} ({len(v['nodes'])})" for v in told]
    context.close()
    assert not found, "\n".join(found)


def test_axe_can_find_something(browser, address):
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = next(Path(axe.__path__[0]).rglob("axe.min.js")).read_text("utf-8")
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(address + "compare.html")
    page.evaluate(
        "document.querySelector('h1').style.color = '#bbb'; document.querySelector('main').append(new Image())"
    )
    page.add_script_tag(content=script)
    told = page.evaluate(ASK, RULES)
    assert {"color-contrast", "image-alt"} <= {v["id"] for v in told}
    context.close()
