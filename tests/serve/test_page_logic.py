"""The page's modules that need no page, in node: the stream's parser, a reply's states, the tree of a
conversation, files out and in, blocks of markdown, the context meter."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from serve.stub_chat import WEB

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

IMPORTS = "".join(
    f"import * as {module} from {json.dumps((WEB / 'js' / f'{module}.js').as_uri())};\n"
    for module in (
        *("api", "blocks", "context", "conversation", "kept", "merge", "options", "reply", "sse", "transfer"),
        "words",
    )
)


def in_node(source: str, value: Any = None) -> Any:
    """What `source`, the body of a function of `value`, returns."""
    text = f"{IMPORTS}\nconst run = (value) => {{ {source} }};\n"
    text += f"console.log(JSON.stringify(run({json.dumps(value)})));"
    command = ["node", "--input-type=module", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_module_is_javascript():
    files = [*WEB.glob("js/*.js"), WEB / "sw.js"]
    assert len(files) > 20
    for file in files:
        # --check reads a .js as CommonJS unless the nearest package says otherwise: hand it over as a module
        kind = "commonjs" if file.name in ("theme.js", "sw.js") else "module"
        command = ["node", f"--input-type={kind}", "--check"]
        done = subprocess.run(command, input=file.read_text(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{file.name}: {done.stderr}"


STREAM = (
    ': queued, place 3 of 9, about 12 s\n\ndata: {"a": 1}\r\n\r\ndata: two\ndata: lines\n\nevent: x\nid: 7\n'
    "data:no blank\n\n: keep-alive\n\rdata: [DONE]\n\n"
)


def test_a_stream_is_read_the_same_however_it_is_cut():
    found = in_node(
        """
        const whole = new sse.EventReader().feed(value);
        const cuts = [1, 2, 3, 7].map((size) => {
          const reader = new sse.EventReader();
          const events = [];
          for (let i = 0; i < value.length; i += size) events.push(...reader.feed(value.slice(i, i + size)));
          return JSON.stringify(events) === JSON.stringify(whole);
        });
        return { whole, cuts };
        """,
        STREAM,
    )
    assert found["cuts"] == [True] * 4
    assert found["whole"] == [
        {"comment": "queued, place 3 of 9, about 12 s"},
        {"data": '{"a": 1}'},
        {"data": "two\nlines"},
        {"data": "no blank"},
        {"comment": "keep-alive"},
        {"data": "[DONE]"},
    ]


def test_the_queue_is_read_from_comments():
    comments = ["queued, place 3 of 9, about 12 s", "queued position=1 eta=0.5", "queued", "keep-alive"]
    assert in_node("return value.map(sse.readQueue)", comments) == [
        {"position": 3, "eta": 12},
        {"position": 1, "eta": 0.5},
        {"position": None, "eta": None},
        None,
    ]


def test_chunks_give_events_by_either_name_of_thinking():
    chunks = [
        {"choices": [{"delta": {"reasoning_content": "a"}}]},
        {"choices": [{"delta": {"reasoning": "b"}}]},
        {"choices": [{"delta": {"content": "c"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 3}},
        {"choices": [{"delta": {"role": "assistant"}}], "warnings": ["temperature was ignored"]},
    ]
    found = in_node("return value.flatMap((chunk) => api.readChunk(JSON.stringify(chunk)))", chunks)
    assert [event["kind"] for event in found] == ["thinking", "thinking", "answer", "finish", "usage", "note"]
    assert found[0]["text"] + found[1]["text"] + found[2]["text"] == "abc"


@pytest.mark.parametrize(
    ("data", "said"),
    [("<html>", "isn't JSON"), ('{"error": {"message": "the engine failed"}}', "the engine failed")],
)
def test_a_bad_chunk_is_an_error_that_can_be_shown(data, said):
    source = "try { api.readChunk(value) } catch (error) { return [error.constructor.name, error.message] }"
    name, message = in_node(source, data)
    assert name == "ApiError"
    assert said in message


ENDS = [
    ("stop", {}, "done", ""),
    ("length", {"truncated_in": "reasoning"}, "cut", "thinking"),
    ("length", {}, "cut", "answer"),
    ("stop", {"reason": "loop", "guards": ["loop_in_answer"]}, "looped", ""),
    ("stop", {"reason": "end_of_turn", "guards": ["loop_in_thinking"]}, "done", ""),
    ("length", {"reason": "failed", "failure": "guide failed"}, "failed", "answer"),
]


@pytest.mark.parametrize(("reason", "details", "state", "cut_in"), ENDS)
def test_a_replys_states(reason, details, state, cut_in):
    found = in_node(
        """
        const one = reply.newReply("m", 64, 0);
        const states = [one.state];
        const events = [
          { kind: "queued", position: 2, eta: 3 }, { kind: "thinking", text: "hm" },
          { kind: "answer", text: "so" }, { kind: "finish", ...value },
          { kind: "usage",
            usage: { completion_tokens: 9, completion_tokens_details: { reasoning_tokens: 4 } } },
        ];
        events.forEach((event, i) => { reply.take(one, event, 1000 * (i + 1)); states.push(one.state); });
        return { states, cutIn: one.cutIn, tokens: reply.tokens(one), spans: reply.spans(one, 99000),
          words: reply.stateWords(one), live: reply.isLive(one) };
        """,
        {"reason": reason, "details": details},
    )
    assert found["states"] == ["sending", "queued", "thinking", "answering", state, state]
    assert found["cutIn"] == cut_in
    assert found["tokens"] == {"thinking": 4, "answer": 5, "exact": True}
    assert found["spans"] == {"waited": 2, "thought": 1, "answered": 1, "all": 4}
    assert found["words"]
    assert found["live"] is False


def test_thinking_alone_that_is_cut_says_so():
    source = """
    const one = reply.newReply("m", null, 0);
    reply.take(one, { kind: "thinking", text: "hm" }, 1);
    reply.take(one, { kind: "finish", reason: "length", details: {} }, 2);
    return reply.stateWords(one);"""
    assert "before an answer began" in in_node(source)


@pytest.mark.parametrize(("thought", "said"), [("hm", "after the thinking"), ("", "without a word")])
def test_a_reply_without_an_answer_says_so(thought, said):
    source = """
    const one = reply.newReply("m", null, 0);
    if (value) reply.take(one, { kind: "thinking", text: value }, 1);
    reply.take(one, { kind: "finish", reason: "stop", details: {} }, 2);
    return [one.state, reply.isEmpty(one), reply.stateWords(one)];"""
    state, empty, words = in_node(source, thought)
    assert (state, empty) == ("done", True)
    assert words.startswith("No answer came")
    assert said in words


def test_going_on_keeps_the_text_and_adds_the_tokens():
    found = in_node(
        """
        const one = reply.newReply("m", null, 0);
        reply.take(one, { kind: "answer", text: "one " }, 1);
        reply.endEarly(one, "stopped", 2);
        reply.goOn(one, 3);
        const between = one.state;
        reply.take(one, { kind: "answer", text: "two" }, 4);
        return [between, one.answer, reply.tokens(one).answer];"""
    )
    assert found == ["sending", "one two", 2]


TREE = """
const one = conversation.newConversation(0);
const first = conversation.add(one, "", { role: "user", text: "first line\\nmore" }, 1);
const said = (parent, answer, more = {}) => {
  const made = { ...reply.newReply("m", null, 0), thinking: "hm", answer, state: "done" };
  return conversation.add(one, parent, { role: "assistant", reply: made, ...more }, 2);
};
const a = said(first.id, "a");
const b = said(first.id, "b");
const second = conversation.add(one, b.id, { role: "user", text: "second" }, 3);
"""


def test_branches_are_kept_and_chosen():
    found = in_node(
        TREE
        + """
        const shown = () => conversation.path(one).map((node) => node.text ?? node.reply.answer);
        const before = shown();
        conversation.step(one, b, -1);
        const left = shown();
        conversation.step(one, a, -1);  // there is none further left
        return [one.title, before, left, shown(), conversation.branches(one, b).index,
          conversation.messages(one, second)];"""
    )
    title, before, left, still, index, messages = found
    assert title == "first line"
    assert before == ["first line\nmore", "b", "second"]
    assert left == still == ["first line\nmore", "a"]
    assert index == 1
    assert messages == [  # no thinking of earlier turns
        {"role": "user", "content": "first line\nmore"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "second"},
    ]


def test_a_pair_is_one_branch():
    found = in_node(
        TREE
        + """
        const c = said(first.id, "c", { pair: "p" });
        const d = said(first.id, "d", { pair: "p" });
        const { nodes, index } = conversation.branches(one, d);
        return [nodes.length, index, ...[c, a].map((node) => conversation.paired(one, node).length)];"""
    )
    assert found == [3, 2, 2, 1]


def test_json_out_and_in_keeps_all_branches():
    found = in_node(
        TREE
        + """
        one.system = "be brief"; one.pinned = true;
        const [back] = transfer.fromFile("x.json", transfer.toJson([one]), 9);
        const plain = (tree) => conversation.path(tree).map((n) => n.text ?? n.reply.answer);
        return [plain(one), plain(back), Object.keys(back.nodes).length, back.system, back.pinned,
          back.id === one.id];"""
    )
    assert found[0] == found[1]
    assert found[2:] == [4, "be brief", True, False]


def test_markdown_out_and_in_even_of_text_that_looks_like_our_marks():
    found = in_node(
        TREE
        + """
        second.text = "tell me\\n<!-- user -->\\n## You\\n<!-- answer -->\\n\\\\<!-- thinking -->";
        a.reply.answer = b.reply.answer = "so\\n<!-- thinking -->\\n\\n<!-- assistant -->\\n# end";
        const text = transfer.toMarkdown(one);
        const [back] = transfer.fromFile("x.md", text, 9);
        const shown = ({ text, reply }) => text ?? [reply.thinking, reply.answer];
        const plain = (tree) => conversation.path(tree).map(shown);
        return [plain(one), plain(back), back.title];"""
    )
    assert found[0] == found[1]
    assert found[2] == "first line"


BAD_FIELDS = [
    {"budget": "x"},
    {"budget": -1},
    {"budget": {"a": 1}},
    {"usage": {"completion_tokens": 3}},
    {"usage": {"prompt_tokens": "x", "completion_tokens": 3}},
    {"usage": "x"},
    {"times": {"asked": "x", "end": []}, "chunks": "x", "earlier": {"thinking": "x"}},
    {"times": None, "chunks": None},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=str)
def test_numbers_of_a_file_are_numbers(fields):
    raw = {"model": "m", "thinking": "hm", "answer": "so", "state": "done"} | fields
    tree = {"nodes": {"a": {"parent": "", "role": "assistant", "reply": raw}}, "chosen": {"": "a"}}
    found = in_node(
        """
        const [one] = transfer.fromFile("x.json", JSON.stringify(value), 9);
        const [node] = Object.values(one.nodes);
        return [node.reply, reply.tokens(node.reply), context.contextUse(one, "", { max_model_len: 9 })];""",
        {"format": "shoestring-conversations", "conversations": [tree]},
    )
    said, tokens, use = found
    assert said["budget"] is None
    assert said["usage"] is None
    assert isinstance(said["times"]["asked"], int)
    assert tokens == {"thinking": 0, "answer": 0, "exact": False}
    assert use["used"] > 0  # NaN would have become null


def test_good_numbers_of_a_file_are_kept():
    usage = {"prompt_tokens": 7, "completion_tokens": 9, "junk": "x"}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 4, "junk": {}}}
    raw = {"thinking": "hm", "budget": 64, "usage": usage, "earlier": {"thinking": 2, "answer": 1}}
    tree = {"nodes": {"a": {"parent": "", "role": "assistant", "reply": raw}}}
    source = """
    const [one] = transfer.fromFile("x.json", JSON.stringify(value), 9);
    const [node] = Object.values(one.nodes);
    return [node.reply.budget, node.reply.usage, reply.tokens(node.reply)];"""
    budget, kept, tokens = in_node(source, {"format": "shoestring-conversations", "conversations": [tree]})
    assert budget == 64
    assert "junk" not in json.dumps(kept)
    assert tokens == {"thinking": 6, "answer": 6, "exact": True}


def test_rows_of_messages_are_read():
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "r"}]},
    ]
    source = "return transfer.fromFile('x.jsonl', value, 9).map((one) => conversation.path(one).length)"
    assert in_node(source, "\n".join(map(json.dumps, rows))) == [2, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}', "isn't an export"),
        ('{"messages": []}\n{"messages"', "Line 2 isn't JSON"),
        ("just text", "no conversation"),
        (
            '{"format": "shoestring-conversations", "conversations": [{"nodes": {"a": {"parent": "b"}}}]}',
            "hangs on one that isn't there",
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_line(text, said):
    source = "try { transfer.fromFile('f', value, 9) } catch (error) { return error.message }"
    assert said in in_node(source, text)


def test_what_was_being_written_is_settled_as_broken():
    source = (
        TREE
        + """
    b.reply.state = "thinking";
    return [transfer.settle(one, 5), b.reply.state, a.reply.state, transfer.settle(one, 6)];"""
    )
    assert in_node(source) == [True, "broken", "done", False]


def test_of_two_tabs_neither_loses_a_message():
    found = in_node(
        TREE
        + """
        const base = merge.basis(one);
        const other = structuredClone(one);
        const third = conversation.add(other, b.id, { role: "user", text: "theirs" }, 5);
        const mine = conversation.add(one, b.id, { role: "user", text: "mine" }, 6);
        other.pinned = true; other.title = "theirs"; one.title = "mine"; one.chosen[first.id] = a.id;
        const news = merge.fold(one, other, base);
        const texts = Object.values(one.nodes).map((node) => node.text);
        return [texts.filter(Boolean), one.chosen[b.id] === mine.id,
          one.chosen[first.id] === a.id, one.nodes[third.id].text, one.title, one.pinned, one.changed,
          news.changed, merge.fold(one, other, merge.basis(other)).moved];"""
    )
    texts, chosen, branch, theirs, title, pinned, changed, news, again = found
    assert texts == ["first line\nmore", "second", "mine", "theirs"]
    assert chosen  # what is shown here stays
    assert branch
    assert (theirs, title, pinned, changed, news) == ("theirs", "mine", True, 6, True)
    assert again == []


def test_of_a_reply_that_two_tabs_have_the_later_is_kept():
    found = in_node(
        TREE
        + """
        const held = b.reply;
        const later = (state, answer, moved) => {
          const other = structuredClone(one);
          Object.assign(other.nodes[b.id].reply, { state, answer, moved });
          return other;
        };
        Object.assign(held, { state: "answering", answer: "some", moved: 10 });
        const wrong = structuredClone(one);
        transfer.settle(wrong, 99); // a tab that took it for left alone
        const ours = merge.fold(one, wrong, {}, (id) => id === b.id).moved.length;
        const settled = [merge.fold(structuredClone(one), wrong).moved.length, wrong.nodes[b.id].reply.state];
        const live = merge.fold(wrong, later("answering", "some more", 11)).moved.length;
        const older = merge.fold(one, later("done", "so", 9)).moved.length;
        const newer = merge.fold(one, later("done", "some more", 12)).moved.length;
        return [ours, settled, live, wrong.nodes[b.id].reply.state, older, newer, b.reply === held,
          held.answer];"""
    )
    assert found == [0, [1, "broken"], 1, "answering", 0, 1, True, "some more"]


def test_what_another_tab_writes_is_not_settled():
    source = (
        TREE
        + """
    b.reply.state = "thinking";
    return [transfer.settle(one, 5, (id) => id === b.id), b.reply.state];"""
    )
    assert in_node(source) == [False, "thinking"]


def test_what_a_browser_refuses_to_keep_is_held():
    found = in_node(
        """
        const denied = { get() { throw new Error("denied"); }, configurable: true };
        Object.defineProperty(globalThis, "localStorage", denied);
        const one = new options.Options();
        one.set({ theme: "dark" });
        one.setKey("secret", true);
        const { key } = one;
        one.setKey("", true);
        const there = {};
        globalThis.sessionStorage = {
          getItem: (name) => there[name] ?? null,
          removeItem: (name) => delete there[name],
          setItem: (name, text) => {
            if (text.length > 3) throw new Error("full");
            there[name] = text;
          },
        };
        const read = ["abc", "abcdef", "x"].map((text) => (kept.inTab.set("a", text), kept.inTab.get("a")));
        kept.inTab.remove("a");
        return [key, one.key, new options.Options().theme, read, kept.inTab.get("a"), there];"""
    )
    assert found == ["secret", "", "dark", ["abc", "abcdef", "x"], None, {}]


DOCUMENT = """# Title
para one
goes on

- a
- b

  still b

- c
after the list? no, lazy

next para

```python
# not a heading

x = 1
```
tail $$x$$ inline

$$
a

b
$$

1. one

   ```
   in the list

   ```
2. two

| a | b |
|---|---|
| 1 | 2 |

last line without an end"""


def test_blocks_are_the_same_however_the_text_is_cut():
    found = in_node(
        """
        const cut = (size) => {
          const splitter = new blocks.BlockSplitter();
          const found = [];
          for (let i = 0; i < value.length; i += size) found.push(...splitter.push(value.slice(i, i + size)));
          return [...found, ...splitter.end()].map(({ text, source }) => (text === source ? text : null));
        };
        const whole = cut(value.length);
        const same = [1, 2, 3, 5, 17, 64].map((size) => JSON.stringify(cut(size)) === JSON.stringify(whole));
        return { whole, same };""",
        DOCUMENT,
    )
    assert all(found["same"])
    blocks = found["whole"]
    assert "".join(blocks) == DOCUMENT
    assert blocks[0] == "# Title\n"
    assert blocks[2] == "- a\n- b\n\n  still b\n\n- c\nafter the list? no, lazy\n\n"
    assert blocks[4] == "```python\n# not a heading\n\nx = 1\n```\n"
    assert "$$\na\n\nb\n$$\n" in blocks
    assert any(block.startswith("1. one") and "2. two" in block for block in blocks)
    assert blocks[-1] == "last line without an end"


FOREVER = [  # a piece, how often it comes, and how long the block may get that it is in
    ("word ", 20_000, 5000),
    ("- an item of a list\n", 5000, 5000),
    ("a line\n", 9000, 5000),
    ("| a | b |\n|---|---|\n", 5000, 9000),
    ("| a cell | another |\n", 5000, 9000),
    ("> quoted words\n", 7000, 9000),
    ("  - an item of an item\n", 5000, 9000),
    ("- ", 40_000, 13_000),
    ("| word ", 20_000, 13_000),
    ("> word ", 20_000, 13_000),
    ("  lazy words\n", 9000, 9000),
    ("$$ x + ", 20_000, 17_000),
    ("$$\n", 20_001, 9000),
    ("\\[ x\n", 9000, 9000),
    ("漢字", 40_000, 9000),
]


def test_what_never_ends_is_split_so_that_the_open_block_stays_small():
    found = in_node(
        """
        const longest = (piece, times) => {
          const splitter = new blocks.BlockSplitter();
          let most = 0;
          let all = "";
          for (let i = 0; i < times; i += 1) {
            all += splitter.push(piece).map((block) => block.text).join("");
            most = Math.max(most, splitter.open.source.length);
          }
          all += splitter.end().map((block) => block.text).join("");
          return [most, all === piece.repeat(times)];
        };
        return value.map(([piece, times]) => longest(piece, times));""",
        [[piece, times] for piece, times, _ in FOREVER],
    )
    assert all(whole for _, whole in found)
    for (most, _), (piece, _, bound) in zip(found, FOREVER, strict=True):
        assert most < bound, piece


@pytest.mark.parametrize("piece", [piece for piece, *_ in FOREVER])
def test_what_was_split_is_split_the_same_however_it_came(piece):
    found = in_node(
        """
        return [value.length, 1, 7, 997].map((size) => {
          const splitter = new blocks.BlockSplitter();
          const found = [];
          for (let i = 0; i < value.length; i += size) found.push(...splitter.push(value.slice(i, i + size)));
          return [...found, ...splitter.end()];
        });""",
        (piece * 10_000)[:30_000],
    )
    assert len(found[0]) > 1
    assert all(blocks == found[0] for blocks in found[1:])


def test_a_block_that_was_split_looks_as_if_it_were_not():
    table = "before\n| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 3000
    nested = "- top\n" + "    - deep\n" * 2000
    code = "- item\n\n  ```python\n" + "  x = 1\n" * 3000 + "  ```\n- next\n"
    found = in_node(
        """
        return value.map((text) => {
          const splitter = new blocks.BlockSplitter();
          return [...splitter.push(text), ...splitter.end()].map(({ source }) => source);
        });""",
        [table, nested, code],
    )
    tables, lists, codes = found
    assert len(tables) > 3
    assert tables[0].startswith("before\n| a | b |\n")
    assert all(source.startswith("| a | b |\n|---|---|\n| 1 | 2 |\n") for source in tables[1:])
    assert len(lists) > 3
    assert all(source.startswith("- ") for source in lists)
    assert len(codes) == 3
    assert codes[1].startswith("```python\n  x = 1\n")
    assert codes[2] == "- next\n"


def test_maths_that_never_ends_is_text_and_so_is_its_late_end():
    text = "$$\n" + "a + b\n" * 2000 + "$$\nafter\n\n$$\nx\n$$\n"
    source = """
    const splitter = new blocks.BlockSplitter();
    return [...splitter.push(value), ...splitter.end()].map(({ source }) => source);"""
    assert in_node(source, text)[-1] == "$$\nx\n$$\n"


def test_open_code_is_known_as_code():
    source = """
    const splitter = new blocks.BlockSplitter();
    splitter.push("text\\n\\n```js\\nlet x");
    return splitter.open;"""
    assert in_node(source) == {"text": "```js\nlet x", "source": "```js\nlet x", "code": True}


def test_the_context_meter():
    found = in_node(
        TREE
        + """
        const model = { max_model_len: 100 };
        b.reply.usage = { prompt_tokens: 50, completion_tokens: 40,
          completion_tokens_details: { reasoning_tokens: 30 } };
        const use = context.contextUse(one, "", model);
        const shares = [10, 80, 95, 120].map((used) =>
          context.warning({ used, window: 100, share: used / 100 }));
        const none = context.contextUse(one, "", undefined);
        return { use, shares, none, wide: context.estimate("你好") };"""
    )
    # 50 + 40 - 30 of thinking, which isn't sent again, and "second" estimated
    assert found["use"] == {"used": 62, "exact": False, "window": 100, "share": 0.62}
    assert found["shares"][0] == ""
    assert "80 %" in found["shares"][1]
    assert "Nearly full" in found["shares"][2]
    assert "longer than the window" in found["shares"][3]
    assert found["none"]["share"] is None
    assert found["wide"] == 2


def test_only_what_is_set_is_sent():
    base = {"budget": None, "temperature": None, "topP": None, "maxTokens": None}
    source = "return value.map(([set, think]) => options.chatBody(set, 'm', think, []))"
    cases = [(base, "auto"), (base, "off"), (base | {"budget": 64, "temperature": 0, "maxTokens": 9}, "auto")]
    assert in_node(source, cases) == [
        {"model": "m", "messages": []},
        {"model": "m", "messages": [], "thinking": {"type": "disabled"}},
        {
            "model": "m",
            "messages": [],
            "thinking": {"type": "enabled", "budget_tokens": 64},
            "temperature": 0,
            "max_tokens": 9,
        },
    ]


def test_a_summary_to_carry_over_needs_no_model():
    text = in_node(TREE + "return conversation.summary(one)")
    assert "I: first line more" in text
    assert "You: b" in text
