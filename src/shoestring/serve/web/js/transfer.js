/**
 * Conversations out and in. JSON keeps all branches; Markdown is for people, keeps what is shown, and can be read
 * back; rows of {"messages": [...]}, one or many, are read too.
 */

import { add, newConversation, newId, path, titleOf } from "./conversation.js";
import { endEarly, isLive, newReply } from "./reply.js";

const FORMAT = "shoestring-conversations";

export function toJson(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

// a line of the text that looks like one of our marks gets a backslash, which markdown doesn't show
const MARK = /^(\\*)<!-- (user|assistant|thinking|answer|system)\b/gm;
const guarded = (text) => text.replace(MARK, "\\$&");
const unguarded = (text) => text.replace(/^\\(\\*<!-- (?:user|assistant|thinking|answer|system)\b)/gm, "$1");

export function toMarkdown(conversation) {
  const parts = [`# ${conversation.title || "Conversation"}`];
  if (conversation.system) parts.push(`<!-- system -->\n${guarded(conversation.system)}`);
  for (const node of path(conversation)) {
    if (node.role === "user") parts.push(`<!-- user -->\n## You\n\n${guarded(node.text)}`);
    else parts.push(replyMarkdown(node.reply));
  }
  return `${parts.join("\n\n")}\n`;
}

function replyMarkdown(reply) {
  const head = `<!-- assistant -->\n## ${reply.model}\n`;
  const thinking = reply.thinking ? `\n<!-- thinking -->\n${guarded(reply.thinking)}\n` : "";
  return `${head}${thinking}\n<!-- answer -->\n${guarded(reply.answer)}`;
}

/** A file's text -> conversations with ids of their own. Throws an Error that says what is wrong. */
export function fromFile(name, text, now) {
  const found = /^\s*[[{]/.test(text) ? fromJson(text, now) : fromMarkdown(text, now);
  if (!found.length) throw new Error(`${name} has no conversation in it.`);
  return found;
}

function fromJson(text, now) {
  let values;
  try {
    values = [JSON.parse(text)].flat();
  } catch {
    values = text.split("\n").flatMap((line, i) => (line.trim() ? [jsonLine(line, i)] : []));
  }
  return values.flatMap((value) => {
    if (value?.format === FORMAT) return value.conversations.map(checked);
    if (Array.isArray(value?.messages)) return [fromMessages(value.messages, now)];
    throw new Error(`This isn't an export of conversations, nor rows with "messages".`);
  });
}

function jsonLine(line, i) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`Line ${i + 1} isn't JSON.`);
  }
}

/** Only the fields that we know, each of its type: a file from elsewhere must not reach the rest of the page. */
function checked(raw) {
  const conversation = { ...newConversation(Number(raw.created) || 0), pinned: raw.pinned === true };
  Object.assign(conversation, { title: string(raw.title), system: string(raw.system) });
  conversation.changed = Number(raw.changed) || conversation.created;
  const nodes = Object.entries(raw.nodes ?? {});
  const ids = new Map([["", ""], ...nodes.map(([id]) => [id, newId()])]); // fresh: a second import is a copy
  for (const [old, node] of nodes) {
    const [id, parent] = [ids.get(old), ids.get(string(node.parent))];
    if (parent === undefined) throw new Error(`Message ${old} hangs on one that isn't there.`);
    const base = { id, parent, at: Number(node.at) || 0 };
    if (node.role === "user") conversation.nodes[id] = { ...base, role: "user", text: string(node.text) };
    else conversation.nodes[id] = { ...base, role: "assistant", reply: checkedReply(node.reply ?? {}) };
    if (typeof node.pair === "string") conversation.nodes[id].pair = node.pair;
  }
  for (const [old, child] of Object.entries(raw.chosen ?? {})) {
    const [id, kept] = [ids.get(old), conversation.nodes[ids.get(child)]];
    if (kept && kept.parent === id) conversation.chosen[id] = kept.id;
  }
  return conversation;
}

function checkedReply(raw) {
  const { budget = null } = numbers(raw, ["budget"]);
  const { asked = 0 } = numbers(raw.times, ["asked"]);
  const reply = newReply(string(raw.model), budget > 0 ? budget : null, asked);
  for (const field of ["thinking", "answer", "cutIn", "why", "error"]) reply[field] = string(raw[field]);
  Object.assign(reply.times, numbers(raw.times, ["first", "answer", "end"]));
  Object.assign(reply.chunks, numbers(raw.chunks, ["thinking", "answer"]));
  Object.assign(reply.earlier, numbers(raw.earlier, ["thinking", "answer"]));
  reply.notes = [raw.notes ?? []].flat().map(string);
  reply.usage = checkedUsage(raw.usage);
  const states = ["done", "cut", "looped", "stopped", "failed", "broken"];
  reply.state = states.includes(raw.state) ? raw.state : "broken";
  return reply;
}

/** What the page reads of it, or null where the two counts that it must have aren't numbers. */
function checkedUsage(raw) {
  const usage = numbers(raw, ["prompt_tokens", "completion_tokens", "total_tokens"]);
  if (!("prompt_tokens" in usage && "completion_tokens" in usage)) return null;
  return {
    ...usage,
    prompt_tokens_details: numbers(raw.prompt_tokens_details, ["cached_tokens"]),
    completion_tokens_details: numbers(raw.completion_tokens_details, ["reasoning_tokens"]),
  };
}

const string = (value) => (typeof value === "string" ? value : "");
const numbers = (raw, names) =>
  Object.fromEntries(names.filter((name) => Number.isFinite(raw?.[name])).map((name) => [name, raw[name]]));

function fromMessages(turns, now) {
  const conversation = newConversation(now);
  let parent = "";
  for (const { role, content, reasoning_content: thinking } of turns) {
    if (role === "system") conversation.system = string(content);
    else if (role === "user") parent = add(conversation, parent, { role, text: string(content) }, now).id;
    else if (role === "assistant")
      parent = addReply(conversation, parent, "imported", thinking, content, now).id;
  }
  return conversation;
}

function addReply(conversation, parent, model, thinking, answer, now) {
  const reply = newReply(model, null, now);
  Object.assign(reply, { state: "done", thinking: string(thinking), answer: string(answer) });
  reply.times.end = now;
  return add(conversation, parent, { role: "assistant", reply }, now);
}

function fromMarkdown(text, now) {
  const conversation = newConversation(now);
  const [head, ...parts] = text.split(/^<!-- (?=(?:user|assistant|system) -->$)/m);
  let parent = "";
  for (const part of parts) {
    const [, role, body] = /^(\w+) -->\n([\s\S]*)$/.exec(part);
    if (role === "system") conversation.system = unguarded(body.trimEnd());
    else if (role === "user") {
      const said = unguarded(body.replace(/^## .*\n\n/, "").trimEnd());
      parent = add(conversation, parent, { role, text: said }, now).id;
    } else parent = readReply(conversation, parent, body, now).id;
  }
  const title = /^# (.+)$/m.exec(head)?.[1];
  if (title) conversation.title = titleOf(title);
  return parts.length ? [conversation] : [];
}

function readReply(conversation, parent, body, now) {
  const model = /^## (.*)$/m.exec(body)?.[1] ?? "imported";
  const [, thinking = ""] = /^<!-- thinking -->\n([\s\S]*?)\n\n?^<!-- answer -->$/m.exec(body) ?? [];
  const answer = body.split(/^<!-- answer -->\n/m)[1] ?? "";
  return addReply(conversation, parent, model, unguarded(thinking), unguarded(answer.trimEnd()), now);
}

/**
 * Replies that were being written when the page went away are kept, and say that they were cut off. `elsewhere(id)`
 * says which ones another tab still writes.
 */
export function settle(conversation, now, elsewhere = () => false) {
  let changed = false;
  for (const node of Object.values(conversation.nodes)) {
    if (node.role !== "assistant" || !isLive(node.reply) || elsewhere(node.id)) continue;
    const { moved = 0 } = node.reply;
    endEarly(node.reply, "broken", now);
    node.reply.moved = moved + 0.5; // after what it has, before any text that another tab has had since
    changed = true;
  }
  return changed;
}
