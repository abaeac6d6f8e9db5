"""What a run said of itself stands in its report, and what is unusual of it on the terminal."""

import dataclasses
import io

from rich.console import Console

from shoestring.report.markdown import render_markdown
from shoestring.report.read import read_run
from shoestring.report.run_report import Finding
from shoestring.report.terminal import print_report
from shoestring.run import Stage


def test_findings_are_told(run_folder):
    report = read_run(run_folder)
    assert report.findings == ()
    assert "said of itself" not in render_markdown(report)
    unit = report.units[0]
    said = (Finding(unit, 0, "preflight", "16 problems"), Finding(unit, 7, "drift", "moved | far"))
    told = dataclasses.replace(report, findings=said)
    text = render_markdown(told)
    assert "What the training said of itself" in text
    assert "16 problems" in text
    out = io.StringIO()
    print_report(told, Console(file=out, width=200))
    assert f"{unit.title}, step 7, drift: moved | far" in out.getvalue()
    assert "16 problems" not in out.getvalue()


def test_a_stages_findings_are_kept_to_the_step_that_it_goes_on_from(tmp_path):
    with Stage(tmp_path / "g", "g", None) as stage:
        stage.finding(0, "preflight", "16 problems")
        stage.log(1, {"reward": 0.5})
        stage.finding(2, "drift", "far")
        stage.log(2, {"reward": 0.5})
    with Stage(tmp_path / "g", "g", None, resume=True) as stage:
        stage.truncate_metrics(1)
        stage.finding(2, "drift", "not so far")
    lines = (tmp_path / "g/findings.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "not so far" in lines[1]
