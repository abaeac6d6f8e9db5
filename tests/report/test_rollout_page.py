"""The rollouts in report.html: which, how many are left out, and what the page does with them."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from run_folders import RECIPE, begin, kept_group, unit
from shoestring.report import rollout_page
from shoestring.report.html import render_html
from shoestring.report.markdown import render_markdown
from shoestring.report.read import read_run
from shoestring.report.rollout_folders import rollout_folders
from shoestring.report.rollout_logic import LOGIC
from shoestring.report.rollout_page import STEPS, page_json, pick_pages, spread
from shoestring.report.rollout_script import SCRIPT
from shoestring.rl.store import SCHEMA

NASTY = '</script><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script><!--'


@pytest.fixture(scope="module")
def run_path(tmp_path_factory) -> Path:
    """Twelve steps of three groups; one sample tries to break out of the page."""
    folder = begin(tmp_path_factory.mktemp("runs") / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    for step in range(1, 13):
        rows = kept_group(step, step, "same", [("<think>hm</think>7<|im_end|>", 1.0), ("8", 0.0)])
        rows += kept_group(step, step, f"own{step}", [(NASTY, 0.0), ("9<|im_end|>", None)])
        rows += kept_group(step, step, "even", [("so be it", 0.0)] * (2 if step < 12 else 4))
        stage.rollouts(step, rows, SCHEMA)
    return folder.path


@pytest.fixture(scope="module")
def page(run_path) -> str:
    return render_html(read_run(run_path))


class Scripts(HTMLParser):
    """What a browser would take for the scripts' texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script"
        if self.inside:
            self.texts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data


def data_of(page: str) -> dict:
    return json.loads(Scripts(page).texts[0])["stages"][0]


def test_steps_are_spread_from_the_first_to_the_last():
    assert spread([3, 9], 8) == [3, 9]
    assert spread(range(1, 41), 8) == [1, 7, 12, 18, 23, 29, 34, 40]


def test_the_data_is_what_was_kept(run_path, page):
    stage = data_of(page)
    steps = [step["step"] for step in stage["steps"]]
    assert steps == [1, 3, 4, 6, 7, 9, 10, 12]
    assert set(stage["changes"]) == {f"{a}-{b}" for a in steps for b in steps if a < b}
    (rollouts,) = rollout_folders(run_path)
    for step in stage["steps"]:
        kept = rollouts.read(step["step"])
        assert step["all"]["samples"] == len(kept) == sum(len(g["rows"]) for g in step["groups"])
        texts = {"".join(text for _, text in row["pieces"]) for g in step["groups"] for row in g["rows"]}
        assert texts == {row.completion for row in kept}
    same = next(g for g in stage["steps"][-1]["groups"] if g["problem"] == "same")
    assert same["live"] is True
    assert same["rows"][0]["pieces"] == [
        *(["", "<think>"], ["think", "hm"], ["", "</think>"], ["answer", "7"], ["", "<|im_end|>"]),
    ]
    assert (same["rows"][0]["advantage"], same["rows"][0]["parts"]) == (0.5, {"format": 0.25})
    assert stage["changes"]["1-12"]["suites"]["sums"][1]["samples"] == 8


def test_what_is_kept_and_left_out_is_said(run_path, page, monkeypatch):
    size = sum(file.stat().st_size for file in run_path.rglob("step-*.parquet"))
    line = (
        f"zero: 74 samples of 12 steps are kept, {size / 1e6:.2f} MB; {STEPS} of the steps are in this page"
    )
    report = read_run(run_path)
    for text in (page, render_markdown(report)):
        assert f"{line} whole, and 4 steps are left out" in text
        assert f"shoestring show {run_path} --rollouts" in text
    # room for less than one group a step: one is taken, whole
    monkeypatch.setattr(rollout_page, "STAGE_BYTES", 10)
    (small,) = pick_pages(rollout_folders(run_path))
    assert [len(step.groups) for step in small.steps] == [1] * STEPS
    inside = sum(len(step.groups[0]) for step in small.steps)
    assert small.left_out == (4, 50 - inside)
    assert f"but {50 - inside} of their samples are left out" in small.line
    assert all(step.all.samples == (8 if step.step == 12 else 6) for step in small.steps)


def test_a_page_stays_small(tmp_path):
    folder = begin(tmp_path / "r")
    for number, name in enumerate(("zero", "more", "most", "again"), start=1):
        stage = unit(folder, number, RECIPE["stage"][0] | {"name": name})
        for step in range(1, 9):
            said = [("x" * 30_000, 1.0)] * 4
            stage.rollouts(step, [r for i in range(5) for r in kept_group(step, i, f"p{i}", said)], SCHEMA)
    pages = pick_pages(rollout_folders(folder.path))
    assert len(page_json(pages)) < 1.1 * rollout_page.PAGE_BYTES
    assert all(page.left_out[1] > 0 for page in pages)
    values = json.loads(page_json(pages))["stages"][0]["steps"][0]["groups"][0]["rows"][0]["pieces"]
    assert "[... 24,000 characters are not in this page ...]" in values[0][1]


def test_what_a_model_wrote_ends_no_script(page):
    texts = Scripts(page).texts
    assert len(texts) == 2
    assert texts[1] == SCRIPT
    assert NASTY in json.dumps(json.loads(texts[0])).replace('\\"', '"')
    assert not re.search(r"[<>&]", texts[0])


def test_only_the_pages_own_script_may_run_and_nothing_may_be_fetched(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(Scripts(page).texts[1].encode()).digest()).decode()
    assert policy
    assert policy[1] == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "innerHTML" not in SCRIPT
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|://|eval\(", SCRIPT)


def test_without_rollouts_there_is_no_browser(tmp_path):
    folder = begin(tmp_path / "r")
    unit(folder, 1, RECIPE["stage"][0])
    assert Scripts(render_html(read_run(folder.path))).texts == []


node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def run_node(source: str) -> str:
    done = subprocess.run(["node", "-"], input=source, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@node
def test_the_browsers_logic(page):
    source = f"""{LOGIC}
    const stage = {json.dumps(data_of(page))};
    const last = stage.steps[stage.steps.length - 1], first = stage.steps[0];
    const any = {{ verdict: "", live: "", text: "" }};
    const names = (wanted) => Object.fromEntries(
      chosen(last.groups, {{ ...any, ...wanted }}).map((i) => [i.group.problem, i.rows.length]));
    const own = last.groups.find((g) => g.problem === "own12");
    console.log(JSON.stringify([
      names({{}}), names({{ verdict: "wrong" }}), names({{ verdict: "cut" }}), names({{ live: "live" }}),
      names({{ live: "dead" }}), names({{ text: "ONERROR" }}), names({{ text: "what is even" }}),
      names({{ text: "nothing of it" }}),
      facts(last.groups.find((g) => g.problem === "same").rows[0]), facts(own.rows[1]),
      stepLine(last), changeOf(stage, 12, 1).change === stage.changes["1-12"],
      changeRows(stage.changes["1-12"]), samePrompt(first, own) === undefined,
      samePrompt(first, last.groups.find((g) => g.problem === "same")).group,
    ]));"""
    found = json.loads(run_node(source))
    assert found[:8] == [
        {"same": 2, "own12": 2, "even": 4},
        {"same": 1, "own12": 1, "even": 4},
        {"same": 1, "own12": 1, "even": 4},
        {"same": 2},
        {"own12": 2, "even": 4},
        {"own12": 1},
        {"even": 4},
        {},
    ]
    assert found[8] == "reward 1 · advantage +0.5 · (format 0.25) · 28 tokens"
    assert found[9] == "no reward · (format 0.25) · 11 tokens"
    assert found[10].startswith("Step 12: 8 samples in 3 groups, 25.0 % of them in live groups; 12.5 % right")
    assert found[10].endswith("In this page: 8 samples in 3 groups.")
    assert found[11] is True
    assert found[12][0] == ["sums", "samples", "6", "8"]
    assert ["sums", "wrong", "66.7 %", "75.0 %"] in found[12]
    assert found[13] is True
    assert found[14] == "1/same"


@node
def test_the_whole_script_is_javascript(tmp_path):
    path = tmp_path / "browser.js"
    path.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_in_a_real_browser(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'c'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "<title>laptop</title>" in dom  # nothing a model wrote was run
    assert dom.count('role="option"') == 3
    assert 'class="card ' in dom
    assert '<option value="unparsed">' in dom
    assert "<img" not in dom
