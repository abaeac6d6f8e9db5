/**
 * One reply, from the click to its end. Plain values, so that it can be stored as it is; `take` moves it on.
 *
 * state: sending, queued, thinking, answering while it lives; then done, cut (a limit was met), looped (the
 * server's guard ended a loop), stopped (by the reader), failed (the server said no or broke), broken (the page
 * went away while it was written).
 */

const LIVE = new Set(["sending", "queued", "thinking", "answering"]);
export const isLive = (reply) => LIVE.has(reply.state);
export const ENDED_EARLY = new Set(["cut", "looped", "stopped", "failed", "broken"]);

export function newReply(model, budget, now) {
  return {
    model,
    budget, // thinking tokens allowed, null: the server's own
    state: "sending",
    thinking: "",
    answer: "",
    position: null,
    eta: null,
    chunks: { thinking: 0, answer: 0 }, // a token each, nearly: what is shown until usage has come
    times: { asked: now, first: null, answer: null, end: null },
    moved: now, // when it last changed: of two that tabs have of it the later is the truer
    usage: null,
    earlier: { thinking: 0, answer: 0 }, // tokens of calls before this one, where it was gone on with
    applied: null, // limits, temperature, seed: as the server says that they held
    cutIn: "", // "thinking" or "answer"
    why: "", // finish_details.reason
    notes: [],
    error: "",
  };
}

export function take(reply, event, now) {
  reply.moved = now;
  switch (event.kind) {
    case "queued":
      if (!reply.times.first)
        Object.assign(reply, { state: "queued", position: event.position, eta: event.eta });
      break;
    case "thinking":
    case "answer":
      reply.times.first ??= now;
      if (event.kind === "answer") reply.times.answer ??= now;
      reply.state = event.kind === "answer" ? "answering" : "thinking";
      reply[event.kind] += event.text;
      reply.chunks[event.kind] += 1;
      break;
    case "usage":
      reply.usage = event.usage;
      reply.applied = event.applied ?? null;
      reply.budget ??= reply.applied?.thinking_tokens ?? null;
      break;
    case "note":
      reply.notes.push(event.text);
      break;
    case "finish":
      finish(reply, event, now);
  }
}

function finish(reply, { reason, details }, now) {
  reply.times.end = now;
  reply.why = String(details.reason ?? "");
  if (reason === "length" || details.truncated_in) {
    const within = details.truncated_in || (reply.answer ? "answer" : "reasoning");
    Object.assign(reply, { state: "cut", cutIn: /reason|think/i.test(within) ? "thinking" : "answer" });
  } else {
    reply.state = "done";
  }
  if (/loop/i.test(reply.why)) reply.state = "looped";
  if (details.failure)
    Object.assign(reply, { state: "failed", error: `The server could not go on: ${details.failure}.` });
  for (const guard of details.guards ?? []) if (guard in GUARDS) reply.notes.push(GUARDS[guard]);
  if (reason === "content_filter") reply.notes.push("A filter of this server ended the reply.");
}

/** What stepped in without ending the reply: finish_details names it. */
const GUARDS = {
  thinking_budget: "Its thinking was ended where the budget was used up; it answered from there.",
  answer_reserve: "Its thinking was ended to leave room for an answer.",
  loop_in_thinking: "It went round in circles while it thought, and the loop guard ended its thinking.",
};

/** It ended without the server's word: "stopped", "failed" or "broken". */
export function endEarly(reply, state, now, error = "") {
  Object.assign(reply, { state, error, moved: now });
  reply.times.end ??= now;
}

/** A reply that ended early goes on from what it has: the text stays, clocks and limits begin anew. */
export function goOn(reply, now) {
  const { thinking, answer } = tokens(reply);
  const kept = { thinking: reply.thinking, answer: reply.answer, earlier: { thinking, answer } };
  Object.assign(reply, newReply(reply.model, reply.budget, now), kept);
}

/** {thinking, answer, exact}: as the server counted them, or by chunks until it has. */
export function tokens(reply) {
  const { usage, chunks, earlier } = reply;
  const thinking = usage?.completion_tokens_details?.reasoning_tokens ?? chunks.thinking;
  const answer = usage ? Math.max(0, usage.completion_tokens - thinking) : chunks.answer;
  return { thinking: earlier.thinking + thinking, answer: earlier.answer + answer, exact: usage !== null };
}

/** Seconds of waiting, thinking, answering; `now` where a part still goes on. */
export function spans(reply, now) {
  const { asked, first, answer, end } = reply.times;
  const last = end ?? now;
  return {
    waited: ((first ?? last) - asked) / 1000,
    thought: reply.chunks.thinking && first ? ((answer ?? last) - first) / 1000 : 0,
    answered: answer ? (last - answer) / 1000 : 0,
    all: (last - asked) / 1000,
  };
}

/** Tokens a second from the first token on; null where it says nothing. */
export function pace(reply, now) {
  const { thinking, answer } = reply.chunks;
  const took = ((reply.times.end ?? now) - (reply.times.first ?? now)) / 1000;
  const all = reply.usage?.completion_tokens ?? thinking + answer;
  return took > 0.2 && all > 1 ? (all - 1) / took : null;
}

const plain = {
  sending: "Asking",
  queued: "Waiting in the queue",
  thinking: "Thinking",
  answering: "Answering",
  done: "Done",
  stopped: "Stopped by you. The server has stopped too.",
  broken: "Cut off: the page was closed or reloaded while this was written. What had come is kept.",
};

/** It is done, and there is nothing in it. */
export const isEmpty = (reply) => reply.state === "done" && !reply.answer.trim();

/** The state in words, for the eye and for screen readers. */
export function stateWords(reply) {
  if (isEmpty(reply))
    return reply.thinking.trim()
      ? "No answer came: the model ended its reply after the thinking."
      : "No answer came: the model ended its reply without a word.";
  if (reply.state === "queued") {
    const place = reply.position ? `, number ${reply.position}` : "";
    return `${plain.queued}${place}${reply.eta ? `, about ${Math.ceil(reply.eta)} s` : ""}`;
  }
  if (reply.state === "looped") return "Ended by the loop guard: it was saying the same over and over.";
  if (reply.state === "failed") return reply.error || "The server failed.";
  if (reply.state === "cut") {
    const limit = LIMITS[reply.why] ?? "the token limit was met";
    return reply.cutIn === "thinking"
      ? `Cut while thinking: ${limit} before an answer began.`
      : `Cut: ${limit} before the answer ended.`;
  }
  return plain[reply.state];
}

const LIMITS = {
  context_window: "the model’s window was full",
  time: "the server’s time for one request was over",
  shutdown: "the server was shut down",
};
