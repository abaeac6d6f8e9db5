/** The server's API. Everything that this page sends goes through here, and to the server it came from. */

import { EventReader, readQueue } from "./sse.js";

/** What the server (or the way to it) said no with. `status` 0: no word came from it. */
export class ApiError extends Error {
  constructor(message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export class Api {
  /** `key()` gives the API key, "" where none is needed. */
  constructor(key = () => "") {
    this.key = key;
  }

  async json(path) {
    const response = await this.#fetch(path, {});
    return response.json();
  }

  /** [{id, max_model_len, lineage, licence, stage, ...}] */
  async models() {
    return (await this.json("v1/models")).data;
  }

  /**
   * One streamed reply as events: {kind: "queued", position, eta}, {kind: "thinking" | "answer", text},
   * {kind: "usage", usage, applied: what held for it, or null}, {kind: "finish", reason, details},
   * {kind: "note", text}.
   * Aborting `signal` closes the connection, which is how the server is told to stop.
   */
  async *chat(body, signal) {
    const asked = { ...body, stream: true, stream_options: { include_usage: true } };
    const response = await this.#fetch("v1/chat/completions", {
      method: "POST",
      body: JSON.stringify(asked),
      headers: { "Content-Type": "application/json" },
      signal,
    });
    let finished = false;
    for await (const event of readEvents(response)) {
      if (event.comment !== undefined) {
        const queue = readQueue(event.comment);
        if (queue) yield { kind: "queued", ...queue };
        continue;
      }
      if (event.data === "[DONE]") {
        finished = true; // and read on to the connection's end: breaking it off would look like a stop
        continue;
      }
      for (const told of readChunk(event.data)) {
        finished ||= told.kind === "finish";
        yield told;
      }
    }
    if (!finished) throw new ApiError("The connection ended before the reply did.");
  }

  async #fetch(path, options) {
    const headers = { ...options.headers };
    if (this.key()) headers.Authorization = `Bearer ${this.key()}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server can't be reached. Is `shoestring serve` still running?");
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

const TURN_MS = 10;
const pause = () => new Promise((resolve) => setTimeout(resolve));

async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  let began = performance.now();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const event of events.feed(value)) {
        // what lies ready is read without a break, however much it is: give the page its turn
        if (performance.now() - began > TURN_MS) {
          await pause();
          began = performance.now();
        }
        yield event;
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The connection broke while the reply was written.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One chunk of a stream -> events, in the order in which a reader should meet them. */
export function readChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError("The server sent something that isn't JSON.");
  }
  if (chunk.error) throw new ApiError(chunk.error.message || "The server failed while it wrote.");
  const found = [];
  for (const warning of chunk.warnings || []) found.push({ kind: "note", text: said(warning) });
  const choice = (chunk.choices || [])[0];
  if (choice) {
    const delta = choice.delta || {};
    const thinking = delta.reasoning_content ?? delta.reasoning;
    if (thinking) found.push({ kind: "thinking", text: thinking });
    if (delta.content) found.push({ kind: "answer", text: delta.content });
    if (choice.finish_reason) {
      // either place: OpenAI's clients pass unknown fields of a choice through, and of a chunk
      const details = choice.finish_details || chunk.finish_details || {};
      found.push({ kind: "finish", reason: choice.finish_reason, details });
    }
  }
  if (chunk.usage) found.push({ kind: "usage", usage: chunk.usage, applied: chunk.applied ?? null });
  return found;
}

const said = (warning) =>
  typeof warning === "string" ? warning : warning.message || JSON.stringify(warning);

async function refusal(response) {
  const text = await response.text();
  let message = "";
  try {
    const body = JSON.parse(text);
    message = body.error?.message || (typeof body.detail === "string" ? body.detail : "");
  } catch {
    // a proxy's page, or nothing: the status says it
  }
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  return new ApiError(message || `The server answered ${response.status}.`, {
    status: response.status,
    retryAfter,
  });
}
