/** The panel of a reply's thinking: live, with seconds, tokens and what of the budget is used; it folds. */

import { el } from "./dom.js";
import { isLive, spans, tokens } from "./reply.js";
import { StreamView } from "./stream_view.js";
import { plural, seconds } from "./words.js";

export class ThinkingPanel {
  #view = null; // made when it is first opened: what nobody looks at isn't drawn
  #given = 0; // characters of the thinking that the view has
  #ended = false;
  #touched = false; // the reader has opened or closed it: from then on it stays as they left it
  #follows = true;

  constructor(reply, show) {
    this.reply = reply;
    this.show = show;
    this.words = el("span", { class: "thinking-words" });
    this.figures = el("span", { class: "thinking-figures" });
    this.budget = el("progress", { class: "budget", hidden: true, "aria-label": "Thinking budget used" });
    const head = el("summary", {}, el("span", { class: "pulse" }), this.words, this.figures, this.budget);
    this.body = el("div", { class: "thinking-body" });
    this.node = el("details", { class: "thinking", hidden: true }, head, this.body);
    head.addEventListener("click", () => (this.#touched = true));
    this.node.addEventListener("toggle", () => this.#fill());
    this.body.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  update(now) {
    const { reply, node } = this;
    node.hidden = !reply.thinking;
    if (!reply.thinking) return;
    const live = reply.state === "thinking";
    node.classList.toggle("live", live);
    if (!this.#touched) node.open = this.show === "open" || (this.show === "live" && live);
    this.#words(live, now);
    this.#fill();
  }

  #words(live, now) {
    const { reply } = this;
    const { thinking, exact } = tokens(reply);
    const thought = spans(reply, now).thought;
    this.words.textContent = live
      ? "Thinking"
      : reply.cutIn === "thinking"
        ? "Cut while thinking"
        : "Thought";
    // while it goes on a chunk is taken for a token
    const about = exact || !thinking ? "" : "about ";
    const parts = [thought ? seconds(thought) : "", thinking ? about + plural(thinking, "token") : ""];
    this.figures.textContent = parts.filter(Boolean).join(" · ");
    this.budget.hidden = !(reply.budget > 0); // whoever gave it: a bar takes numbers only
    if (this.budget.hidden) return;
    this.budget.max = reply.budget;
    this.budget.value = Math.min(thinking, reply.budget);
    this.figures.textContent += ` of ${reply.budget.toLocaleString("en")}`;
  }

  #fill() {
    if (!this.node.open || this.node.hidden) return;
    const { thinking } = this.reply;
    if (!this.#view || (this.#ended && thinking.length > this.#given)) this.#begin(); // or it was gone on with
    if (thinking.length > this.#given) this.#view.append(thinking.slice(this.#given));
    this.#given = thinking.length;
    if (this.#ended || (isLive(this.reply) && this.reply.state !== "answering")) return;
    this.#ended = true;
    this.#view.end();
  }

  #begin() {
    this.#view = new StreamView();
    this.#given = 0;
    this.#ended = false;
    this.body.replaceChildren(this.#view.node);
    new ResizeObserver(() => this.#follow()).observe(this.#view.node);
  }

  /** While it is live the newest line stays in sight, unless the reader has scrolled up in it. */
  #follow() {
    if (this.#follows && this.reply.state === "thinking") this.body.scrollTop = this.body.scrollHeight;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.body;
    this.#follows = scrollHeight - scrollTop - clientHeight < 60;
  }
}
