/** The conversation on the page: its messages from the top down, pairs side by side, and the scroll's end. */

import { branches, choose, paired, path, step } from "./conversation.js";
import { byId, el, iconButton } from "./dom.js";
import { isLive } from "./reply.js";
import { ReplyView, branchButtons, wordButton } from "./reply_view.js";

const TICK_MS = 250; // of the clocks of what is live
const FRAME_MS = 33;
const NEAR = 80; // pixels from the end that count as the end

export class Thread {
  #views = new Map(); // node id -> ReplyView
  #conversation = null;
  #follows = true;
  #moved = new Set(); // replies with news, until the next frame

  constructor({ turns, options, edited }) {
    Object.assign(this, { turns, options, edited });
    this.scroller = byId("scroller");
    this.list = byId("thread");
    this.toEnd = byId("to-end");
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener("click", () => this.scrollToEnd());
    setInterval(() => this.#tick(), TICK_MS);
    // whatever makes it grow (text, a formula that is set, a panel) the end stays in sight
    new ResizeObserver(() => this.#keepEnd()).observe(this.list);
  }

  /** After a change of the tree, or of which conversation is shown. */
  show(conversation) {
    if (conversation !== this.#conversation) this.#views.clear();
    const fresh = conversation !== this.#conversation;
    this.#conversation = conversation;
    const rows = path(conversation).map((node) =>
      node.role === "user" ? this.#user(node) : this.#replies(node),
    );
    // only what differs is moved: a node that is taken out and put back loses its focus and scroll
    rows.forEach((row, i) => {
      if (this.list.children[i] !== row) this.list.insertBefore(row, this.list.children[i] ?? null);
    });
    while (this.list.children.length > rows.length) this.list.lastChild.remove();
    for (const view of this.#views.values()) view.arrange();
    if (fresh) this.scrollToEnd();
  }

  /** After an event of a reply: tokens come faster than eyes and screens, so they are gathered. */
  moved(node) {
    if (!this.#moved.size) setTimeout(() => this.#refresh(), FRAME_MS);
    this.#moved.add(node.id);
  }

  #refresh() {
    for (const id of this.#moved) this.#views.get(id)?.update();
    this.#moved.clear();
  }

  scrollToEnd() {
    this.#follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#scrolled();
  }

  #replies(node) {
    const beside = paired(this.#conversation, node).map((one) => this.#view(one).element);
    if (beside.length === 1) return beside[0];
    const row = beside[0].parentElement?.matches(".pair")
      ? beside[0].parentElement
      : el("div", { class: "pair" });
    if (row.children.length !== beside.length) row.replaceChildren(...beside);
    return row;
  }

  #view(node) {
    if (!this.#views.has(node.id)) {
      const does = {
        again: (one) => this.turns.again(this.#conversation, one),
        continue: (one) => this.turns.continue(this.#conversation, one),
        step: (one, by) => this.#step(one, by),
        choose: (one) => {
          choose(this.#conversation, one);
          this.edited();
        },
      };
      this.#views.set(node.id, new ReplyView(this.#conversation, node, this.options.showThinking, does));
    }
    return this.#views.get(node.id);
  }

  #user(node) {
    const old = this.list.querySelector(`[data-id="${node.id}"].said`);
    const { nodes, index } = branches(this.#conversation, node);
    if (old?.dataset.branches === `${index}/${nodes.length}`) return old;
    const foot = el("div", { class: "foot" });
    if (nodes.length > 1) foot.append(branchButtons(index, nodes.length, (by) => this.#step(node, by)));
    foot.append(
      iconButton("edit", "Edit this message (a new branch; this one is kept)", () => this.edit(node)),
    );
    const text = el("div", { class: "bubble", text: node.text });
    const data = { id: node.id, branches: `${index}/${nodes.length}` };
    return el("article", { class: "said", data, "aria-label": "Your message" }, text, foot);
  }

  /** The message becomes a field; it is sent as a branch of its own. */
  edit(node) {
    const row = this.list.querySelector(`[data-id="${node.id}"].said`);
    const field = el("textarea", { value: node.text, rows: 3, "aria-label": "Edit your message" });
    const back = () => {
      row.dataset.branches = "";
      this.edited();
    };
    const send = () => {
      const text = field.value.trim();
      if (text) this.turns.edit(this.#conversation, node, text);
      else back();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") back();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
      event.stopPropagation();
    });
    row.replaceChildren(
      el(
        "div",
        { class: "editing" },
        field,
        el("div", { class: "foot" }, wordButton("Cancel", back), wordButton("Send", send)),
      ),
    );
    field.focus();
  }

  #step(node, by) {
    step(this.#conversation, node, by);
    this.edited();
  }

  #tick() {
    for (const view of this.#views.values()) if (isLive(view.node.reply)) view.update();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR;
    this.toEnd.hidden = this.#follows;
  }

  #keepEnd() {
    if (this.#follows) this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
