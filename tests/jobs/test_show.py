"""What `show` says of models, suites, rows and runs."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.mask import masked, print_row, rows_of
from shoestring.jobs.show import ShowSettings, main
from shoestring.run import open_run
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite
from tiny import CHATML, tiny_lm


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_lm().save(folder)
    return str(folder)


def show(target: str, colour: bool = False, **values) -> tuple[dict, str]:
    out = io.StringIO()
    console = Console(
        file=out,
        highlight=False,
        soft_wrap=True,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    return main(ShowSettings(target=target, **values), console), out.getvalue()


def test_a_model(model):
    values, text = show(model)
    h, f, v = 32, 64, 259
    assert values["parameters"] == {
        "embedding": v * h,
        "attention": 2 * (h * (32 + 16 + 16) + 32 * h),
        "dense FFN": 2 * 3 * h * f,
        "norms": 5 * h,
    }
    width = 2 if "bfloat16" in text else 4
    assert values["cache_bytes_per_token"] == 2 * 2 * 2 * 8 * width
    assert "base HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit copy; licence Apache-2.0" in text
    assert values["lineage"]["stages"][0]["name"] == "smollm2-135m"
    json.dumps(values)


def test_a_suite():
    values, text = show("sums:max_terms=3", n=2)
    problems = draw_problems(parse_suite("sums:max_terms=3"), "train", 2, 0)
    assert [e["prompt"] for e in values["examples"]] == [p.prompt for p in problems]
    assert [e["answer"] for e in values["examples"]] == [str(p.hidden["answer"]) for p in problems]
    assert values["count"] == parse_suite("sums:max_terms=3").count
    assert f"{values['count']:,} distinct problems" in text
    assert problems[0].prompt in text


def test_the_mask_of_a_suite_brackets_what_is_trained(model):
    values, text = show("sums:max_terms=3", mask=True, model=model, n=1)
    assert text.count("[[") == text.count("]]") == 1
    assert text.split("]]")[0].endswith("<|im_end|>")
    assert text.split("[[")[0].endswith("<|im_start|>assistant\n")
    row = values["rows"][0]
    assert row["end_trained"]
    shown = text.split("\n", 1)[1].split("[[")[1].split("]]")[0]
    assert row["trained"] == len(shown) - len("<|im_end|>") + 1  # one byte, one token
    assert f"{row['trained']} of {row['tokens']} tokens in the loss" in text


def test_the_mask_is_coloured_on_a_terminal(model):
    _, text = show("sums:max_terms=3", colour=True, mask=True, model=model, n=1)
    assert "\x1b[1;32m<think>" in text
    assert "\x1b[2m<|im_start|>user" in text
    assert "[[" not in text


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_mask_of_a_file(model, tmp_path, suffix):
    turns = [{"role": "user", "content": "héé?"}, {"role": "assistant", "content": "ü!"}]
    turns += [
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "7", "reasoning_content": "5+2"},
    ]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([{"messages": turns}]), path)
    _, text = show(str(path), mask=True, model=model)
    assert "assistant\n[[ü!<|im_end|>]]" in text
    assert "assistant\n[[<think>\n5+2\n</think>\n7<|im_end|>]]" in text


def test_a_mask_that_teaches_no_end_is_called_out():
    lm = tiny_lm()
    row = masked(lm, "r", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    out = io.StringIO()
    print_row(row.__class__(**{**vars(row), "end_trained": False}), Console(file=out, soft_wrap=True))
    assert "END-OF-TURN IS NOT TRAINED" in out.getvalue()
    assert row.end_trained
    assert "<|im_end|>" in CHATML


def test_rows_are_those_of_fine_tuning():
    first = rows_of("sums:max_terms=3", 2, seed=0)
    assert rows_of("sums:max_terms=3", 1, seed=0) == first[:1]
    assert rows_of("sums:max_terms=3", 2, seed=1) != first


def test_a_run_says_where_it_is(tmp_path):
    run = open_run(tmp_path / "laptop", resume=False)
    stages = [
        {"name": "zero", "job": "grpo", "model": "smollm2-135m"},
        {"name": "check", "job": "eval", "models": {"zero": "stage:zero"}},
    ]
    run.begin({"recipe": {"name": "laptop", "seed": 0}, "stage": stages}, "shoestring run laptop")
    for number, values in enumerate(stages, start=1):
        folder = run.unit_folder(number, values["name"])
        folder.mkdir(parents=True)
        (folder / "settings.toml").write_text(f'job = "{values["job"]}"\n')
        with run.stage(folder, values["name"], None, values["name"]) as stage:
            if number == 1:
                stage.model_dir.mkdir()
                stage.finish({"steps": 3})
            else:
                stage.progress(1, 5)
    values, text = show(str(run.path))
    assert values["stages"] == {"01-zero": {"steps": 3}, "02-check": None}
    assert values["status"]["done"] == 1
    assert f"01-zero: finished, model in {run.path}/stages/01-zero/model" in text
    assert "02-check: not finished" in text
    assert f"run folder: {run.path}, running" in text


@pytest.mark.parametrize(
    ("target", "mask", "words"),
    [
        ("nothing-here", False, "no model 'nothing-here'"),
        ("sums:max_trems=3", False, "did you mean 'max_terms'"),
        ("missing.jsonl", False, "missing.jsonl"),
        ("missing.jsonl", True, "missing.jsonl"),
        ("smus", True, "did you mean 'sums'"),
    ],
)
def test_what_is_not_there_is_one_line(model, target, mask, words):
    with pytest.raises(BadInput, match=words) as caught:
        show(target, mask=mask, model=model)
    assert "\n" not in str(caught.value)
