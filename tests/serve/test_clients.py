"""Stock clients, unpatched, against a real server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from scripted_engine import ScriptedEngine, house_of, serving
from shoestring.engine.engine import Engine
from tiny import tiny_lm

pytestmark = pytest.mark.slow
# clients of others may live in a virtual environment of their own
PYTHON = os.environ.get("SHOESTRING_CLIENTS_PYTHON", sys.executable)

LM = tiny_lm(window=4096)
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
ASK = [{"role": "user", "content": "q"}]


def say(prompt: str, sample: int) -> str:
    asked = prompt.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
    if "tool\n" in prompt.rpartition("<|im_start|>user\n")[2]:
        return "It is 18 degrees."
    if "weather" in asked:
        return CALL
    if "json" in asked:
        return '<think>\nas asked\n</think>\n{"sum": 42, "why": "added"}'
    return "<think>\nI add them up.\n</think>\nforty-two"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(house_of(LM, lambda: ScriptedEngine(LM, say))) as probe:
        yield probe._parts.geturl()


class Sum(BaseModel):
    sum: int
    why: str


def test_openai_sync(url: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url, api_key="none") as client:
        assert client.models.list().data[0].id == "tiny"
        reply = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=200, seed=1)
        message = reply.choices[0].message
        assert (message.content, message.reasoning_content) == ("forty-two", "I add them up.")
        assert reply.usage.completion_tokens_details.reasoning_tokens > 0
        again = [*ASK, message, {"role": "user", "content": "and?"}]
        assert client.chat.completions.create(model="tiny", messages=again).choices[0].message.content
        text = client.completions.create(model="tiny", prompt="ab", max_tokens=3, echo=True, logprobs=1)
        assert text.choices[0].text.startswith("ab")
        assert text.choices[0].logprobs.token_logprobs[0] is None
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=ASK, extra_body={"quantum": 1})
        assert caught.value.param == "quantum"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=ASK)


def test_openai_streams(url: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url, api_key="none") as client:
        stream = client.chat.completions.create(
            model="tiny", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        thought = "".join(
            getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices
        )
        assert (said, thought) == ("forty-two", "I add them up.")
        assert chunks[-1].usage.completion_tokens > 0
        with client.chat.completions.stream(model="tiny", messages=ASK) as events:
            assert events.get_final_completion().choices[0].message.content == "forty-two"


def test_openai_async(url: str) -> None:
    openai = pytest.importorskip("openai")

    async def work() -> list[str]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            asked = [client.chat.completions.create(model="tiny", messages=ASK) for _ in range(8)]
            whole = [reply.choices[0].message.content for reply in await asyncio.gather(*asked)]
            stream = await client.chat.completions.create(model="tiny", messages=ASK, stream=True)
            pieces = [c.choices[0].delta.content or "" async for c in stream]
            return [*whole, "".join(pieces)]

    assert asyncio.run(work()) == ["forty-two"] * 9


def test_openai_tools_and_parse(url: str) -> None:
    openai = pytest.importorskip("openai")

    class GetWeather(BaseModel):
        """The weather of a city."""

        city: str

    with openai.OpenAI(base_url=url, api_key="none") as client:
        tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
        asked: list[Any] = [{"role": "user", "content": "weather?"}]
        reply = client.chat.completions.parse(model="tiny", messages=asked, tools=[tool])
        call = reply.choices[0].message.tool_calls[0]
        assert call.function.parsed_arguments.city == "Paris"
        result = {"role": "tool", "tool_call_id": call.id, "content": "18"}
        asked += [reply.choices[0].message.model_dump(exclude_unset=True), result]
        reply = client.chat.completions.create(model="tiny", messages=ASK, tools=[tool])
        assert reply.choices[0].message.content == "forty-two"
        with client.chat.completions.stream(
            model="tiny", messages=[{"role": "user", "content": "weather?"}], tools=[tool]
        ) as events:
            final = events.get_final_completion().choices[0]
        assert (final.finish_reason, final.message.tool_calls[0].function.name) == (
            "tool_calls",
            "get_weather",
        )
        parsed = client.chat.completions.parse(
            model="tiny", messages=[{"role": "user", "content": "json"}], response_format=Sum
        )
        assert parsed.choices[0].message.parsed == Sum(sum=42, why="added")


def client(script: str, url: str, *packages: str) -> Any:
    """What a script prints as JSON, run where the packages are."""
    there = subprocess.run([PYTHON, "-c", f"import {', '.join(packages)}"], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"{' and '.join(packages)} can't be imported")
    environment = {**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url, "URL": url}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [PYTHON, "-c", script], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_litellm(url: str) -> None:
    script = """
import json, os, litellm
ask = dict(model="deepseek/tiny", api_base=os.environ["URL"], api_key="none", max_tokens=200)
messages = [{"role": "user", "content": "q"}]
whole = litellm.completion(messages=messages, **ask).choices[0].message
pieces = list(litellm.completion(messages=messages, stream=True, **ask))
said = "".join(p.choices[0].delta.content or "" for p in pieces)
ask["model"] = "openai/tiny"
other = litellm.completion(messages=messages, **ask)
print(json.dumps([whole.content, whole.reasoning_content, said, other.choices[0].message.content,
                  other.usage.completion_tokens_details.reasoning_tokens > 0]))
"""
    assert client(script, url, "litellm") == ["forty-two", "I add them up.", "forty-two", "forty-two", True]


def test_langchain(url: str) -> None:
    script = """
import json, os
from langchain_deepseek import ChatDeepSeek
from langchain_openai import ChatOpenAI
from langchain_core.tools import tool

@tool
def get_weather(city: str) -> str:
    "The weather of a city."
    return "18"

openai = ChatOpenAI(model="tiny", base_url=os.environ["URL"], api_key="none")
deepseek = ChatDeepSeek(model="tiny", base_url=os.environ["URL"], api_key="none")
thought = deepseek.invoke("q")
streamed = "".join(str(chunk.content) for chunk in openai.stream("q"))
calls = openai.bind_tools([get_weather]).invoke("weather?").tool_calls
print(json.dumps([openai.invoke("q").content, thought.content,
                  thought.additional_kwargs.get("reasoning_content"), streamed, calls[0]["args"]]))
"""
    found = client(script, url, "langchain_openai", "langchain_deepseek")
    assert found == ["forty-two", "forty-two", "I add them up.", "forty-two", {"city": "Paris"}]


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    """With a real engine, so that logprobs are real."""
    with serving(house_of(LM, lambda: Engine(LM))) as probe:
        yield probe._parts.geturl()


@pytest.mark.parametrize("kind", ["local-completions", "local-chat-completions"])
def test_lm_eval(real: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        "".join(json.dumps({"q": f"{i}+1=", "right": i % 2, "a": str(i + 1)}) + "\n" for i in range(4))
    )
    choices = "output_type: multiple_choice\ndoc_to_choice: ['yes', 'no']\ndoc_to_target: right\n"
    text = "output_type: generate_until\ndoc_to_target: a\n"
    text += "generation_kwargs: {until: ['\\n'], max_gen_toks: 8}\n"
    (tmp_path / "own.yaml").write_text(
        "task: own\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/items.jsonl}}}}\n"
        f"test_split: test\ndoc_to_text: '{{{{q}}}}'\n{choices if kind == 'local-completions' else text}"
        f"metric_list: [{{metric: {'acc' if kind == 'local-completions' else 'exact_match'}}}]\n"
    )
    path = "completions" if kind == "local-completions" else "chat/completions"
    backend = "remote" if kind == "local-completions" else "None"
    arguments = (
        f"model=tiny,base_url={real}/{path},num_concurrent=2,tokenizer_backend={backend},max_retries=1"
    )
    script = f"""
import json, lm_eval
from lm_eval.tasks import TaskManager
found = lm_eval.simple_evaluate(
    model={kind!r}, model_args={arguments!r}, tasks=["own"], bootstrap_iters=0,
    task_manager=TaskManager(include_path={str(tmp_path)!r}, include_defaults=False),
    apply_chat_template={kind == "local-chat-completions"})
print(json.dumps(sorted(name for name in found["results"]["own"])))
"""
    names = client(script, real, "lm_eval")
    assert any(name.startswith(("acc", "exact_match")) for name in names)


def test_schemathesis(real: str) -> None:
    """Nothing that fits or misses the OpenAPI document is a fault of the server."""
    script = """
import json, os, subprocess, sys
base = os.environ["URL"].removesuffix("/v1")
done = subprocess.run([sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", "--checks",
    "not_a_server_error", "--max-examples", "30", "--request-timeout", "60",
    "--phases", "examples,coverage,fuzzing", "--no-color"], capture_output=True, text=True)
print(done.stdout[-1500:], file=sys.stderr)
print(json.dumps(done.returncode))
sys.exit(done.returncode)
"""
    assert client(script, real, "schemathesis") == 0
