"""The chat page over the real API, whose engine says what it is told to."""

import pytest

from serve.browser import browser as start_browser
from serve.browser import chromium, opened, ready, until

pytestmark = [pytest.mark.slow, chromium]
scripted = pytest.importorskip("scripted_engine")

THINKING = "<think>\nI add them up.\n</think>\n"


def say(prompt: str, sample: int) -> str:
    asked = prompt.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
    begun = prompt.rpartition("<|im_start|>assistant\n")[2]
    if asked == "count":
        rest = " ".join(str(i) for i in range(400))
        return rest.removeprefix(begun.removeprefix(THINKING).strip()) if begun.strip() else rest
    if asked == "circles":
        return "again and again " * 400
    return f"{THINKING}It is **42**."


@pytest.fixture(scope="module")
def lm():
    from tiny import tiny_lm

    return tiny_lm(window=4096)


@pytest.fixture
def room(lm):
    """(a page on the server, its engines, the house)"""
    engines = []

    def make():
        engines.append(scripted.ScriptedEngine(lm, say))
        return engines[-1]

    house = scripted.house_of(lm, make, (), lambda line: None)
    with scripted.serving(house) as probe, start_browser() as browser, opened(browser) as context:
        page = context.new_page()
        page.goto(probe._parts.geturl().removesuffix("v1"))
        ready(page)
        yield page, engines, house


def ask(page, text: str) -> None:
    page.fill("#draft", text)
    page.press("#draft", "Enter")


def test_the_page_and_the_api_agree(room):
    page, *_ = room
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)

    ask(page, "q")
    page.wait_for_selector('.reply[data-state="done"]')
    page.wait_for_selector(".reply strong >> text=42")
    assert page.locator(".thinking-words").inner_text() == "Thought"
    # the server's own count and what was applied come after the end of the text
    until(page, "!document.querySelector('.thinking-figures').innerText.includes('about')")
    until(page, "document.querySelector('.figures').title.includes('seed')")

    page.click("#new-chat")
    ask(page, "circles")
    page.wait_for_selector('.reply[data-state="looped"]')

    page.click("#new-chat")
    page.click("#open-settings")
    page.fill("#max-tokens", "40")
    page.get_by_role("button", name="Done").click()
    ask(page, "count")
    page.wait_for_selector('.reply[data-state="cut"]')
    assert "the token limit was met" in page.locator(".reply .banner").inner_text()

    page.click("#what")
    assert "none: what it writes is what you see" in page.locator("#card").inner_text()
    page.keyboard.press("Escape")
    assert errors == []


def test_a_cut_reply_goes_on(room):
    page, *_ = room
    page.click("#new-chat")
    page.click("#open-settings")
    page.fill("#max-tokens", "40")
    page.get_by_role("button", name="Done").click()
    ask(page, "count")
    page.wait_for_selector('.reply[data-state="cut"]')
    page.get_by_role("button", name="Go on", exact=True).click()
    # a token is a character: 80 of them, in one paragraph, though the server was done before the page looked
    wanted = " ".join(map(str, range(30)))
    until(page, f"document.querySelector('.reply .markdown').innerText.trim() === '{wanted}'")
    assert page.locator('.reply[data-state="cut"]').count() == 1


def test_stop_frees_the_engine(room):
    page, engines, house = room
    engines[0].gate.clear()  # nothing more is made
    ask(page, "count")
    page.wait_for_selector('.reply[data-state="sending"]')
    page.keyboard.press("Escape")
    page.wait_for_selector('.reply[data-state="stopped"]')
    engines[0].gate.set()
    for _ in range(100):
        if engines[0].aborted and not engines[0].running:
            break
        page.wait_for_timeout(50)
    assert engines[0].aborted
    assert not engines[0].running
    assert house.busy == 0


def test_the_runs_page_is_there(room):
    page, *_ = room
    page.goto(page.url + "runs.html")
    page.wait_for_selector("#empty:not([hidden]), #page:not([hidden])")
    assert not page.locator("#trouble").is_visible()
