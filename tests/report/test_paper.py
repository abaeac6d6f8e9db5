"""The report on paper, where nothing can be scrolled."""

import pytest

from serve.browser import browser, chromium
from shoestring.report.html import render_html
from shoestring.report.read import read_run

PAPER = 703  # CSS pixels between the margins of an A4 page
WIDER = """() => [...document.querySelectorAll("table, pre, svg, details")]
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(e => e.innerText.slice(0, 80))"""


@chromium
@pytest.mark.slow
def test_nothing_is_wider_than_the_paper(run_folder, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(render_html(read_run(run_folder)), encoding="utf-8")
    with browser() as chrome:
        page = chrome.new_page(viewport={"width": PAPER, "height": 900})
        page.goto(file.as_uri())
        assert page.evaluate(WIDER), "on a screen of this width tables are scrolled: the test looks at some"
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(WIDER) == []
        ground = "getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()"
        assert page.evaluate(ground) == "#ffffff"
