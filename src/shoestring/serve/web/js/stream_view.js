/**
 * Text that grows, as markdown. Closed blocks are rendered once and stay; the open one is rendered again, no
 * oftener than its own cost allows, and an open block of code only has text added. So a long reply costs its
 * length, and not its square, and the page never freezes.
 */

import { BlockSplitter } from "./blocks.js";
import { el, iconButton, toast } from "./dom.js";
import { renderBlock } from "./markdown.js";

const REST = 6; // of the time that the last rendering took, at least
const SOONEST_MS = 33;
const SLICE_MS = 12; // of work on closed blocks in one go: a stored reply of 30,000 tokens is drawn in slices

export class StreamView {
  #splitter = new BlockSplitter();
  #queue = []; // closed, not drawn yet
  #open = el("div", { class: "open-block" });
  #code = null; // the text node of an open block of code, and how much of the block it holds
  #timer = 0;
  #next = 0;

  constructor() {
    this.node = el("div", { class: "markdown" }, this.#open);
    this.shown = () => {}; // told after each drawing: the page follows the end
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
    let drawn = 0;
    while (this.#queue.length && performance.now() - began < SLICE_MS) {
      this.#clearOpen();
      this.#open.before(this.#closed(this.#queue.shift()));
      drawn += 1;
    }
    if (!this.#queue.length) this.#drawOpen();
    const took = performance.now() - began;
    this.#next = performance.now() + (this.#queue.length ? 0 : Math.max(SOONEST_MS, took * REST));
    if (this.#queue.length) this.#plan();
    this.shown(drawn);
  }

  #closed(text) {
    const block = el("div", { class: "block" });
    block.append(renderBlock(text));
    for (const pre of block.querySelectorAll("pre")) addCopy(pre);
    return block;
  }

  #drawOpen() {
    const { text, code } = this.#splitter.open;
    if (!code) {
      this.#clearOpen();
      if (text.trim()) this.#open.append(renderBlock(text, false));
      return;
    }
    const start = text.indexOf("\n") + 1;
    if (!this.#code) {
      this.#clearOpen();
      this.#code = { node: document.createTextNode(""), at: start };
      this.#open.append(el("pre", {}, el("code", {}, this.#code.node)));
    }
    this.#code.node.appendData(text.slice(this.#code.at));
    this.#code.at = text.length;
  }

  #clearOpen() {
    this.#code = null;
    this.#open.replaceChildren();
  }
}

function addCopy(pre) {
  const code = pre.querySelector("code");
  const name = /language-([\w+#-]+)/.exec(code?.className ?? "")?.[1] ?? "";
  const copy = iconButton("copy", "Copy this code", async () => {
    await navigator.clipboard.writeText(code.textContent);
    toast("Copied.");
  });
  const box = el("div", { class: "code-box" }, el("div", { class: "code-head" }, el("span", { text: name }), copy));
  pre.replaceWith(box);
  pre.tabIndex = 0; // so that the keyboard can scroll it
  box.append(pre);
}
