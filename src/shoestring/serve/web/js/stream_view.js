/**
 * Text that grows, as markdown. Closed blocks are rendered once and stay; the open one is rendered again, no
 * oftener than its own cost allows, and an open block of code only has text added. So a long reply costs its
 * length, and not its square, and the page never freezes.
 */

import { BlockSplitter, FENCE } from "./blocks.js";
import { CodeView, codeBox } from "./code_view.js";
import { el } from "./dom.js";
import { renderBlock } from "./markdown.js";

const REST = 6; // of the time that the last rendering took, at least
const SOONEST_MS = 33;
const SLICE_MS = 12; // of work on closed blocks in one go: a stored reply of 30,000 tokens is drawn in slices

export class StreamView {
  #splitter = new BlockSplitter();
  #queue = []; // closed, not drawn yet
  #open = el("div", { class: "open-block" });
  #code = null; // of an open block of code: it goes on into the closed one
  #timer = 0;
  #next = 0;

  constructor() {
    this.node = el("div", { class: "markdown" }, this.#open);
  }

  append(text) {
    this.#queue.push(...this.#splitter.push(text));
    this.#plan();
  }

  end() {
    this.#queue.push(...this.#splitter.end());
    this.#next = 0;
    this.#plan();
  }

  #plan() {
    if (this.#timer) return;
    // a timer, not an animation frame: a tab in the background goes on, and isn't buried when it comes back
    this.#timer = setTimeout(() => this.#draw(), Math.max(0, this.#next - performance.now()));
  }

  #draw() {
    this.#timer = 0;
    const began = performance.now();
    while (this.#queue.length && performance.now() - began < SLICE_MS) {
      this.#open.before(this.#closed(this.#queue.shift()));
    }
    if (!this.#queue.length) this.#drawOpen();
    const took = performance.now() - began;
    this.#next = performance.now() + (this.#queue.length ? 0 : Math.max(SOONEST_MS, took * REST));
    if (this.#queue.length) this.#plan();
  }

  #closed({ source }) {
    const block = el("div", { class: "block" });
    if (FENCE.test(source)) {
      const view = this.#code ?? new CodeView(source);
      view.end(source);
      block.append(view.node);
    } else {
      block.append(renderBlock(source));
      for (const pre of block.querySelectorAll("pre")) pre.replaceWith(codeBox(pre.firstElementChild));
    }
    this.#clearOpen();
    return block;
  }

  #drawOpen() {
    const { text, source, code } = this.#splitter.open;
    if (!code) {
      this.#clearOpen();
      if (text.trim()) this.#open.append(renderBlock(source, false));
      return;
    }
    if (!this.#code) {
      this.#code = new CodeView(source);
      this.#open.replaceChildren(this.#code.node);
    }
    this.#code.show(source);
  }

  #clearOpen() {
    this.#code = null;
    this.#open.replaceChildren();
  }
}
