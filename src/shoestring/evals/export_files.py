"""The files of an exported task, with their blanks."""

LM_EVAL_YAML = """\
task: {name}
custom_dataset: !function scorer.dataset
test_split: test
output_type: generate_until
num_fewshot: 0
doc_to_text: !function scorer.prompt_of
doc_to_target: !function scorer.target_of
process_results: !function scorer.process_results
metric_list:
  - {{metric: right, aggregation: mean, higher_is_better: true}}
  - {{metric: unparsed, aggregation: mean, higher_is_better: false}}
  - {{metric: not_judged, aggregation: mean, higher_is_better: false}}
metadata:
  version: 1.0
  suite: {suite}
  seed: {seed}
  n: {n}
"""

LM_EVAL_SCORER = '''\
"""The problems of this folder, and their scorer: that of the shoestring package, which this Python needs."""

import json
from pathlib import Path

from shoestring.tasks.outside import verdict_of

ROWS = Path(__file__).parent / "problems.jsonl"


def dataset(**_):
    """Split on the newline alone: a text may hold other characters that str.splitlines takes for one."""
    from datasets import Dataset

    lines = ROWS.read_text(encoding="utf-8").split("\\n")
    return {"test": Dataset.from_list([json.loads(line) for line in lines if line])}


def prompt_of(doc):
    return doc["prompt"]


def target_of(doc):
    return doc["target"]


def process_results(doc, results):
    """Right: the scorer's full mark. Not judged: the scorer ran out of time or raised."""
    outcome = verdict_of(doc, results[0] or "").outcome.value
    return {
        "right": float(outcome == "right"),
        "unparsed": float(outcome == "unparsed"),
        "not_judged": float(outcome in ("timeout", "error")),
    }
'''

LM_EVAL_COMMAND = """\
lm-eval run --include_path . --tasks {name} --apply_chat_template --log_samples --output_path results \\
  --model local-chat-completions \\
  --model_args model=NAME,base_url=http://127.0.0.1:8000/v1/chat/completions,num_concurrent=4"""

INSPECT_TASK = '''\
"""Held-out problems, scored by the shoestring package, which this Python needs."""

import asyncio
import json
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, scorer, stderr
from inspect_ai.solver import generate

from shoestring.tasks.outside import verdict_of

SUITE = {suite!r}
ROWS = Path(__file__).parent / "problems.jsonl"


def samples():
    """Split on the newline alone: a text may hold other characters that str.splitlines takes for one."""
    for line in ROWS.read_text(encoding="utf-8").split("\\n"):
        if line:
            row = json.loads(line)
            yield Sample(id=row["id"], input=row["prompt"], target=row["target"], metadata={{"row": row}})


def parts_of(message):
    """Thinking (None: not told apart) and text."""
    if isinstance(message.content, str):
        return None, message.content
    thinking = [part.reasoning for part in message.content if part.type == "reasoning"]
    text = [part.text for part in message.content if part.type == "text"]
    return "\\n".join(thinking) if thinking else None, "".join(text)


@scorer(metrics=[accuracy(), stderr()])
def by_shoestring():
    async def score(state, target):
        if not state.output.choices:
            return Score(value=INCORRECT, explanation="no reply", metadata={{"outcome": "error"}})
        thinking, text = parts_of(state.output.choices[0].message)
        verdict = await asyncio.to_thread(verdict_of, state.metadata["row"], text, thinking)
        outcome = verdict.outcome.value
        return Score(
            value=CORRECT if outcome == "right" else INCORRECT,
            answer=text,
            explanation=f"{{outcome}}: {{verdict.detail}}" if verdict.detail else outcome,
            metadata={{"outcome": outcome, "stop_reason": state.output.stop_reason}},
        )

    return score


@task
def {name}():
    return Task(
        dataset=MemoryDataset(list(samples()), name=SUITE),
        solver=generate(),
        scorer=by_shoestring(),
        config=GenerateConfig(max_tokens={max_tokens}, temperature={temperature:.3g}),
    )
'''

INSPECT_COMMAND = """\
export LOCAL_API_KEY=none LOCAL_BASE_URL=http://127.0.0.1:8000/v1
inspect eval task.py --model openai-api/local/NAME"""

README = """\
# {suite}, for {harness}

{n} held-out problems (drawn with seed {seed}), none of which shoestring ever trains on, and their scorer,
which is shoestring's own: the harness's Python needs that package, but no torch.

```
{command}
```

The score is that of `shoestring eval MODEL --suite '{suite}' -n {n} --seed {seed}` with the same token
limit. What the harness does differently, and what it doesn't tell: docs/evaluating-servers.md of shoestring.
"""
