"""A synthetic run folder read, and set as Markdown and HTML."""

import dataclasses
import io
import re
import shutil
import tomllib
from html.parser import HTMLParser

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from run_folders import RECIPE, begin, unit
from shoestring.errors import BadInput
from shoestring.report.curves import Plot, spark, svg, ticks
from shoestring.report.html import render_html
from shoestring.report.markdown import escape, fence, render_markdown
from shoestring.report.read import read_run
from shoestring.report.run_report import Curve, Sample
from shoestring.report.terminal import print_report

VOID = {"meta", "br", "circle", "line", "polyline"}


@pytest.fixture(scope="module")
def report(run_folder):
    return read_run(run_folder)


def row_of(markdown: str, *cells: str) -> list[str]:
    """The first table row that has these cells."""
    for line in markdown.replace("\\", "").replace("**", "").splitlines():
        found = [cell.strip() for cell in line.strip("|").split("|")]
        if all(cell in found for cell in cells):
            return found
    raise AssertionError(cells)


def test_the_headline_table(report):
    text = render_markdown(report)
    assert row_of(text, "base, longer") == [
        "sums:max_digits=1,max_terms=3",
        "base, longer",
        "25.0 % [20.1, 30.6]",
        "256",
        "1.2 %",
        "3.5 %",
        "",
        "",
    ]
    zero = row_of(text, "zero", "better")
    assert zero[2] == "50.8 % [44.7, 56.8]"
    assert zero[6].startswith("+25.8 [+20")
    # on the harder level 12 against 10 of 256 shows nothing
    assert row_of(text, "zero", "4.7 % [2.7, 8.0]")[-1] == "no difference shown"


def test_who_a_model_says_it_is(report):
    text = render_markdown(report)
    assert row_of(text, "zero", "zh") == [
        "zero",
        "zh",
        "100",
        "0",
        "9",
        "4.8 % to 16.2 %",
        "smollm 61, openai 12",
    ]


def test_the_base_is_named_with_the_copy_it_is(report):
    assert "4-bit copy (GGUF Q4_1)" in report.base
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in report.base
    assert "Apache-2.0" in report.base


def test_what_the_run_made_from_nothing_is_a_base(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    recipe["stage"].insert(0, {"name": "made", "job": "pretrain", "preset": "tiny"})
    for stage in recipe["stage"][1:3]:
        stage["model"] = "stage:made"
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    for path in folder.rglob("settings.toml"):
        path.write_text(path.read_text().replace('base = "smollm2-135m"', 'base = "stage:made"'))
    made = read_run(folder)
    assert made.base.startswith("made from nothing by stage made")
    assert {score.label for score in made.scores if score.is_base} == {"base"}
    assert made.against_base
    assert not any("base was not evaluated" in line for line in made.lacking)


def test_arms_beside_the_recipe(report):
    found = {(c.of[0].suite, c.of[0].unit.arm): c for c in report.against_recipe}
    first = found["sums:max_digits=1,max_terms=3", "random"]
    assert first.difference == pytest.approx((70 - 130) / 256)
    assert first.verdict == "worse"


def test_samples_are_picked_by_the_rule(report):
    right = [s for s in report.samples if s.right]
    wrong = [s for s in report.samples if not s.right]
    assert len(right) == len(wrong) == 10
    assert [s.step for s in wrong] == sorted((s.step for s in wrong), reverse=True)
    assert len({(s.prompt, s.completion) for s in right}) == 10
    assert all(not s.unit.arm for s in report.samples)
    assert all(s.outcome == "wrong" for s in wrong)


def test_replies_to_open_prompts_are_not_called_wrong(tmp_path):
    folder = begin(tmp_path / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    said = {"a": "right", "b": "wrong", "c": "open"}
    for step in (1, 2):
        rows = [{"prompt": "q", "completion": f"{c}{step}", "outcome": o} for c, o in said.items()]
        stage.rollouts(step, rows)
    found = read_run(folder.path)
    assert [(s.completion, s.right) for s in found.samples][:4] == [
        ("a2", True),
        ("a1", True),
        ("b2", False),
        ("b1", False),
    ]
    for text in (render_markdown(found), render_html(found)):
        assert "zero: 2 not right" in text
        assert "zero: 2 to open prompts, which have no right answer" in text
    assert '<div class="sample open">' in render_html(found)


def test_the_bill(report):
    # zero and its arm: 20 steps of 8 + 12 s; cold start 12 of 5 s; two evals of 200 s
    assert report.bill.total.seconds == pytest.approx(2 * 20 * 20 + 60 + 400, abs=1)
    assert report.bill.wasted["dead_groups"].seconds == pytest.approx(2 * 20 * 8 * 0.2)
    assert report.bill.prices.watts == 40
    text = render_markdown(report)
    assert "40 W (stated)" in text
    assert "0.3 USD/kWh (assumed)" in text


def test_curves_leave_out_what_is_not_finite_and_say_so(report):
    curve = next(c for c in report.curves if (c.stage, c.metric, c.line) == ("zero", "grad_norm", ""))
    assert curve.values[8] is None
    assert len([v for v in curve.values if v is not None]) == 19
    assert any("not finite" in sentence and "zero: 1" in sentence for sentence in report.lacking)
    assert "·" in spark(curve)


def test_pretraining_shows_its_own_curves_and_continuations_that_nobody_judged(report):
    pretrain = dataclasses.replace(report.units[0], stage="pretrain", arm="", job="pretrain")
    sample = Sample(pretrain, 100, "def f(", "x): pass", False, "stdlib")
    curves = [Curve("pretrain", name, "", (100, 200), (2.0, 1.5)) for name in ("val_bpb", "max_vio")]
    found = dataclasses.replace(report, samples=(sample,), curves=tuple(curves))
    for text in (render_markdown(found), render_html(found)):
        assert "bits per byte, held out" in text
        assert "the busiest expert" in text
        assert "pretrain: 1 continuations of held-out documents" in text
        assert "pretrain: 0 right" not in text


def test_what_is_lacking_is_said(tmp_path):
    folder = begin(tmp_path / "r", "shoestring run laptop --scale small")
    unit(folder, 1, RECIPE["stage"][0]).log(1, {"reward": 0.1})
    found = read_run(folder.path)
    text = " ".join(found.lacking)
    for piece in ("small scale", "Not finished: zero", "Nothing was evaluated", "One seed", "No control arm"):
        assert piece in text
    for rendered in (render_markdown(found), render_html(found)):
        assert "No evaluation is finished." in rendered
        assert "better" not in rendered


def test_few_problems_are_named(run_folder, tmp_path):
    copy = tmp_path / "r"
    shutil.copytree(run_folder, copy)
    path = copy / "stages/03-check/result.json"
    path.write_text(path.read_text().replace('"n": 256', '"n": 64'))
    assert any("64 problems" in s and "6.2 points" in s for s in read_run(copy).lacking)


class Checked(HTMLParser):
    """Balanced tags, nothing fetched, and no script but the browser's own and its data."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[dict] = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("link", "img", "iframe")
        assert not {"src", "href", "onclick", "onerror"} & {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_needs_nothing_else(report):
    page = render_html(report)
    parser = Checked()
    parser.feed(page)
    assert parser.open == []
    assert "://" not in page
    assert parser.scripts == [{"type": "application/json", "id": "browser-data"}, {}]
    assert "@import" not in page
    assert page.count("<svg") == 7 + 2
    text = " ".join(parser.text)
    for piece in (
        "better",
        "4-bit copy",
        "shoestring chat",
        "Spent on nothing",
        "What is",
        "groups all right",
    ):
        assert piece in text
    # in the order promised
    places = [
        page.index(f"<h2>{name}") for name in ("Results", "Does it", "Curves", "What it wrote", "The bill")
    ]
    assert places == sorted(places)


def test_what_a_model_wrote_cannot_break_the_page(run_folder, tmp_path):
    folder = begin(tmp_path / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    nasty = "<script>alert(1)</script> ``` | # &amp; </details>"  # the browser's data has it too
    stage.rollouts(1, [{"prompt": nasty, "completion": nasty, "outcome": "wrong"}])
    found = read_run(folder.path)
    parser = Checked()
    parser.feed(render_html(found))
    assert len(parser.scripts) == 2
    assert nasty in "".join(parser.text)
    assert f"````text\n{nasty}\n---\n{nasty}\n````" in render_markdown(found)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(BadInput, match="is not a run folder"):
        read_run(tmp_path)


def test_the_terminal_ends_with_the_line_to_type(report):
    out = io.StringIO()
    print_report(report, Console(file=out))
    lines = out.getvalue().splitlines()
    assert lines[-1] == f"talk to it: shoestring chat {report.folder}"
    assert "report.md" in lines[-2]
    assert "report.html" in lines[-2]
    assert any("50.8 % [44.7, 56.8]" in line and "better" in line for line in lines)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@example(0.0, 5e-324)
@example(5e-324, 5e-324)
def test_ticks_are_round_and_hold_the_values(a, b):
    low, high = min(a, b), max(a, b)
    marks = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-300) + 1e-9 * (marks[-1] - marks[0])
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 9
    step = marks[1] - marks[0]
    assert float(f"{step:.0e}") == pytest.approx(step, rel=1e-3)


def test_ticks_by_hand():
    assert ticks(0.13, 0.48) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert ticks(3, 3) == pytest.approx([2.6, 2.8, 3.0, 3.2, 3.4])


def test_a_plot_puts_points_where_they_belong():
    curve = Curve("zero", "reward", "", (1, 2, 3, 4, 6), (0.0, 1.0, None, 0.5, 0.0))
    drawn = svg(Plot("mean <reward>", (curve,)))
    assert "mean &lt;reward&gt;" in drawn
    # x from 46 (step 1) to 312 (step 6), y from 148 (0) to 8 (1); broken at the missing step
    assert re.findall(r'points="([^"]*)"', drawn) == ["46.0,148.0 99.2,8.0", "205.6,78.0 312.0,148.0"]


def test_markdown_is_escaped():
    assert escape("a|b *c* `d`\ne") == "a\\|b \\*c\\* \\`d\\` e"
    assert fence("```").startswith("````text\n")
