"""The page in a real browser: headless Chromium, driven by Playwright, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from insitu.experiment.record import Results
from insitu.report.page import write_report
from tests.browser import MISSING, opened
from tests.report import factory

pytestmark = MISSING


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture(scope="module")
def url(results: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    evil = factory.changed(results, 2, label='<script>throw Error("x")</script>')
    return write_report(evil, tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The open page; afterwards: no error was reported and nothing else was loaded."""
    page = browser.new_page()
    trouble: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.emulate_media(color_scheme="light")
    page.goto(url)
    yield page
    page.close()
    assert trouble == []
    assert requests == [url]


def test_sorting(page: Any) -> None:
    table = page.locator("table").first
    names = table.locator("tbody th")
    assert names.all_inner_texts()[0] == "bp"
    header = table.locator("thead tr").nth(1).locator("th").nth(1)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert names.all_inner_texts()[0] == "shallow"
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts()[0] == "bp"
    table.locator("thead button").first.click()
    assert header.get_attribute("aria-sort") == "none"
    assert names.all_inner_texts()[-1] == "usf"


def test_theme(page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    dark = page.evaluate(colour)
    assert dark != light
    page.locator("#theme").click()
    assert page.evaluate(colour) == light


def test_paper_is_white_and_names_the_rules(page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) != light
    name = page.locator(".slot .caption b").first
    assert not name.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colour) == light
    assert name.is_visible()
    page.set_viewport_size({"width": 1030, "height": 700})  # A4, landscape
    assert page.evaluate("document.documentElement.scrollWidth") <= 1030


def test_memory_pictures(page: Any) -> None:
    memories = page.locator(".memories").first
    left, right = memories.locator(".slot").nth(0), memories.locator(".slot").nth(1)
    assert left.locator(".picture").get_attribute("data-label") == "bp"
    assert right.locator(".picture").get_attribute("data-label") == "drtp-regenerated"
    before = left.locator(".readout").inner_text()
    right.locator("select").select_option(label="bp")
    assert right.locator(".picture").get_attribute("data-label") == "bp"
    memories.locator(".views button").nth(1).click()
    assert left.locator(".picture").get_attribute("data-view") == "eager"
    assert left.locator(".readout").inner_text() != before


def test_pointer_and_keys_tell_an_op(page: Any) -> None:
    slot = page.locator(".slot").first
    chart, readout = slot.locator("svg"), slot.locator(".readout")
    rest = readout.inner_text()
    assert rest.startswith("peak at op")
    chart.hover(position={"x": 60, "y": 100})
    assert readout.inner_text().startswith("ops 1–2: matmul · l0 … relu · l0 (forward)")
    assert "24.0 KiB" in slot.locator("[data-role=activation]").inner_text()
    page.mouse.move(0, 0)
    assert readout.inner_text() == rest
    chart.focus()
    chart.press("End")
    assert "l0" in readout.inner_text() and "gradient" in readout.inner_text()
    chart.press("Home")
    chart.press("ArrowRight")
    assert "forward" in readout.inner_text()


def test_a_rule_stands_out(page: Any) -> None:
    page.locator(".legend li[data-rule=dfa]").first.hover()
    network = page.locator(".network").first
    assert network.locator(".chart .bright[data-rule=dfa]").count() >= 3
    assert network.locator(".chart .dim[data-rule=bp]").count() >= 3


def test_copy(page: Any) -> None:
    page.locator(".copy").first.click()
    page.get_by_text("Copied").wait_for(timeout=3000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 700])
def test_the_page_fits_its_window(page: Any, tmp_path: Path, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot = page.screenshot(path=tmp_path / "page.png")
    assert len(shot) > 20_000


def test_without_scripts_everything_is_there(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.route("**/*", lambda route: route.fulfill(body=_without_scripts(url), content_type="text/html"))
    page.goto(url)
    assert page.locator(".slot .picture svg").first.is_visible()
    assert not page.locator("#theme").is_visible()
    page.locator(".store summary").first.click()
    assert page.locator(".store").first.locator("svg").count() == 2 * len(factory.RULES)
    assert page.locator(".store").first.locator("svg").last.is_visible()
    page.close()


def _without_scripts(url: str) -> str:
    html = Path(url.removeprefix("file://")).read_text(encoding="utf-8")
    return html.replace("script-src 'unsafe-inline'", "script-src 'none'")
