"""The Runs page in a real Chromium, over the real endpoints."""

import json
import re
import socket
import threading
import time

import pytest

from run_folders import RECIPE, RIGHT, begin, evaluate, kept_group, unit
from serve.browser import browser as start_browser
from serve.browser import chromium, opened, until
from shoestring.rl.store import SCHEMA

pytestmark = [pytest.mark.slow, chromium]
pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

NASTY = "<think><img src=x onerror=\"document.title='owned'\"></think><script>document.title='owned'</script>"


def step(stage, number: int) -> None:
    said = [("<think>hm</think>7<|im_end|>", 1.0), ("8", 0.0), (NASTY, 0.0)]
    stage.rollouts(number, kept_group(number, number, "p", said), SCHEMA)
    stage.use("rollout", 10.0, 100, 1e9)
    stage.log(number, {"reward": number / 10, "odd": float(number)})
    stage.progress(number, 9)


@pytest.fixture(scope="module")
def browser():
    with start_browser() as browser:
        yield browser


@pytest.fixture
def running(tmp_path):
    folder = begin(tmp_path / "runs" / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    for number in (1, 2, 3):
        step(stage, number)
    return tmp_path / "runs", stage, folder


@pytest.fixture
def url(running):
    from fastapi import FastAPI

    from shoestring.serve.pages import Pages
    from shoestring.serve.runs import runs_router

    app = FastAPI()
    app.include_router(runs_router(running[0]))
    app.mount("/", Pages())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/runs.html"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(url, browser):
    with opened(browser) as context:
        page = context.new_page()
        page.errors = []
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#curves canvas")
        yield page


def test_a_run_that_goes_on_is_followed(page, running):
    _, stage, folder = running
    assert page.locator("h1").last.inner_text() == "r"
    assert page.locator("#stages li").all_inner_texts()[0].startswith("zero\ngrpo")
    assert page.locator("#stages li").nth(0).get_attribute("data-state") == "running"
    assert page.locator("#stages li").nth(1).get_attribute("data-state") == "to come"
    assert page.locator("figcaption").all_inner_texts() == ["mean reward\n0.3"]
    time.sleep(1.1)  # status.json is written once a second
    step(stage, 4)
    page.wait_for_selector("figcaption >> text=0.4")
    assert "4 of 9" in page.locator(".now").inner_text()
    eta = json.loads((folder.path / "status.json").read_text())["eta_seconds"]
    assert eta > 0
    left = re.search(r"about ([\d.]+) s left in this stage", page.locator(".now").inner_text())
    assert float(left.group(1)) == pytest.approx(eta, abs=0.6)  # which the page rounds
    page.wait_for_selector("#step option >> nth=3", state="attached")
    stage.finish({"steps": 4})
    evaluate(unit(folder, 3, RECIPE["stage"][2]), RIGHT)
    folder.status("finished")
    page.wait_for_selector("#standing .badge >> text=finished")
    page.wait_for_selector("#scores td >> text=50.8 %")
    assert page.errors == []


def test_rollouts_by_verdict_are_shown_as_text(page):
    page.wait_for_selector(".sample")
    assert page.locator(".sample").count() == 3
    assert "33 % right" in page.locator(".keys").inner_text()
    page.select_option("#verdict", "right")
    until(page, "document.querySelectorAll('.sample').length === 1")
    assert page.locator(".sample .think").inner_text() == "hm"
    page.select_option("#verdict", "wrong")
    until(page, "document.querySelectorAll('.sample').length === 2")
    assert page.locator(".sample img, .sample script").count() == 0
    assert page.title() == "Runs – Shoestring"
    page.locator("#verdicts g").first.click()
    until(page, "document.querySelector('#step').value === '1'")


def test_another_metric_and_the_bill(page):
    page.select_option("#more", "odd")
    page.wait_for_selector("figcaption >> text=odd")
    assert "30 s" in page.locator("#bill").inner_text()
    assert "counted" in page.locator("#bill").inner_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(page, width):
    page.set_viewport_size({"width": width, "height": 740})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
