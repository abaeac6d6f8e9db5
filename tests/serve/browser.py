"""Chromium as the system has it, driven by playwright; where either is missing the tests are skipped."""

import importlib.util
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="needs chromium and playwright"
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP box.lan 127.0.0.1",  # a page over plain http from another machine
]


@contextmanager
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, **options) -> Iterator:
    """A context with a storage of its own, for an English page of usual size unless `options` say else."""
    context = browser.new_context(
        **({"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options)
    )
    try:
        yield context
    finally:
        context.close()


def ready(page) -> None:
    """The chat page has its models."""
    page.wait_for_selector("#model option", state="attached")


def until(page, expression: str, seconds: float = 20) -> None:
    """Playwright's own wait_for_function needs eval, which the pages' policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never came true: {expression}"
        page.wait_for_timeout(50)
