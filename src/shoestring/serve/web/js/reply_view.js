/** A reply on the page. `update` is called after each event; it touches only what has changed. */

import { branches, paired } from "./conversation.js";
import { copyText, el, iconButton } from "./dom.js";
import { ENDED_EARLY, isEmpty, isLive, pace, spans, stateWords, tokens } from "./reply.js";
import { StreamView } from "./stream_view.js";
import { ThinkingPanel } from "./thinking.js";
import { plural, seconds } from "./words.js";

export class ReplyView {
  #given = 0; // characters of the answer that the view has
  #ended = false;

  /** `does`: {again, continue, step, choose} as the thread gives them. */
  constructor(conversation, node, show, does) {
    Object.assign(this, { conversation, node, does });
    this.panel = new ThinkingPanel(node.reply, show);
    this.answer = new StreamView();
    this.waiting = el("p", { class: "waiting" }, el("span", { class: "pulse" }), el("span"));
    this.banner = el("p", { class: "banner", hidden: true });
    this.notes = el("div", { class: "notes" });
    this.figures = el("span", { class: "figures" });
    this.foot = el("div", { class: "foot" });
    this.name = el("h3", { class: "who", text: named(node.reply) });
    this.element = el(
      "article",
      { class: "reply", data: { id: node.id }, "aria-label": `Reply of ${named(node.reply)}` },
      this.name,
      this.panel.node,
      this.answer.node,
      this.waiting,
      this.banner,
      this.notes,
      this.foot,
    );
    this.update();
    this.arrange();
  }

  update() {
    const { reply } = this.node;
    const now = Date.now();
    this.element.dataset.state = reply.state;
    this.element.setAttribute("aria-busy", String(isLive(reply)));
    this.panel.update(now);
    this.#fill(reply);
    const waits = reply.state === "sending" || reply.state === "queued";
    this.waiting.hidden = !waits;
    if (waits)
      this.waiting.lastChild.textContent = `${stateWords(reply)} · ${seconds(spans(reply, now).waited)}`;
    this.banner.hidden = !ENDED_EARLY.has(reply.state) && !isEmpty(reply);
    if (!this.banner.hidden) this.banner.textContent = stateWords(reply);
    this.notes.replaceChildren(...reply.notes.map((text) => el("p", { class: "note", text })));
    this.figures.textContent = figures(reply, now);
    this.figures.title = appliedWords(reply.applied);
  }

  #fill(reply) {
    // gone on with; a fast server may be at its end again before this is called
    if (this.#ended && (isLive(reply) || reply.answer.length > this.#given)) this.#begin();
    if (reply.answer.length > this.#given) this.answer.append(reply.answer.slice(this.#given));
    this.#given = reply.answer.length;
    if (isLive(reply) || this.#ended) return;
    this.#ended = true;
    this.answer.end();
    this.arrange();
  }

  #begin() {
    const fresh = new StreamView();
    this.answer.node.replaceWith(fresh.node);
    Object.assign(this, { answer: fresh });
    this.#given = 0;
    this.#ended = false;
    this.foot.replaceChildren(this.figures);
  }

  /** The line under it: what can be done depends on the state and on its branches. */
  arrange() {
    const { conversation, node, does } = this;
    const { reply } = node;
    this.foot.replaceChildren();
    if (isLive(reply)) return this.foot.append(this.figures);
    const { nodes, index } = branches(conversation, node);
    const beside = paired(conversation, node);
    if (nodes.length > 1 && beside[0] === node)
      this.foot.append(branchButtons(index, nodes.length, (by) => does.step(node, by)));
    if (reply.answer) this.foot.append(iconButton("copy", "Copy this reply", () => copyText(reply.answer)));
    this.foot.append(iconButton("again", "Ask again (this reply is kept)", () => does.again(node)));
    const partial = reply.answer || reply.thinking;
    if (partial && ["cut", "stopped", "broken", "failed"].includes(reply.state)) {
      this.foot.append(wordButton("Go on", () => does.continue(node)));
    }
    if (beside.length > 1) {
      const chosen = conversation.chosen[node.parent] === node.id;
      this.element.classList.toggle("chosen", chosen);
      this.foot.append(
        chosen
          ? el("span", { class: "chosen-word", text: "The conversation goes on from here" })
          : wordButton("Go on from this one", () => does.choose(node)),
      );
    }
    this.foot.append(this.figures);
  }
}

const ways = { on: "thinking on", off: "thinking off" };
const named = (reply) => [reply.model || "model", ways[reply.asked]].filter(Boolean).join(", ");

export const wordButton = (text, click) =>
  el("button", { type: "button", class: "word", text, on: { click } });

export function branchButtons(index, length, step) {
  const place = `${index + 1} / ${length}`;
  return el(
    "span",
    { class: "branches", role: "group", "aria-label": `Branch ${index + 1} of ${length}` },
    iconButton("left", "The branch before", () => step(-1), { disabled: index === 0 }),
    el("span", { text: place }),
    iconButton("right", "The next branch", () => step(1), { disabled: index === length - 1 }),
  );
}

/** "312 tokens · 41 tokens/s · first after 0.4 s · 7.2 s · 128 of the prompt from the cache" */
function figures(reply, now) {
  const { thinking, answer } = tokens(reply);
  if (!thinking && !answer) return "";
  const rate = pace(reply, now);
  const cached = reply.usage?.prompt_tokens_details?.cached_tokens;
  const parts = [plural(thinking + answer, "token")];
  if (rate) parts.push(`${rate < 9.95 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
  if (!isLive(reply))
    parts.push(`first after ${seconds(spans(reply, now).waited)}`, seconds(spans(reply, now).all));
  if (cached) parts.push(`${plural(cached, "token")} of the prompt from the cache`);
  return parts.join(" · ");
}

/** "temperature 0.6, top p 0.95, seed 12": so that a reply can be had again. */
function appliedWords(applied) {
  const told = Object.entries(applied ?? {}).filter(([, value]) => value !== null);
  return told.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ");
}
