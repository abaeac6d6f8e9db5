/** A block of code: its language, a button that copies it, and lines that may still be coming. */

import { copyText, el, iconButton } from "./dom.js";
import { highlight } from "./markdown.js";

const PIECE = 2000; // characters: a piece that is full is laid out once, however long the code grows

/** The box around a <pre><code>. */
export function codeBox(code) {
  const name = /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";
  const copy = iconButton("copy", "Copy this code", () => copyText(code.textContent));
  const head = el("div", { class: "code-head" }, el("span", { text: name }), copy);
  const pre = el("pre", { tabindex: "0" }, code); // so that the keyboard can scroll it
  return el("div", { class: "code-box" }, head, pre);
}

export class CodeView {
  #at = 0; // characters of the block that are shown
  #piece = null; // where the next line goes

  /** `block` is a fenced block, or its beginning. */
  constructor(block) {
    const name = /^\s*[`~]{3,}\s*([\w+#-]+)/.exec(block)?.[1];
    this.code = el("code", { class: name && `language-${name}` });
    this.node = codeBox(this.code);
    this.#at = block.indexOf("\n") + 1;
  }

  /** The block as it is now. A last line that may become the closing fence is waited for. */
  show(block) {
    const last = block.lastIndexOf("\n") + 1;
    const end = /^\s*[`~]*\s*$/.test(block.slice(last)) ? last : block.length;
    this.#append(block.slice(this.#at, end));
    this.#at = Math.max(this.#at, end);
  }

  /** The whole block, with its closing fence or, at the end of a reply, without. */
  end(block) {
    const body = block.replace(/\n\s*(?:`{3,}|~{3,})\s*$/, "\n");
    this.#append(body.slice(this.#at));
    highlight(this.code);
  }

  #append(text) {
    for (let rest = text; rest;) {
      const full = this.#piece && this.#piece.length >= PIECE && this.#piece.data.endsWith("\n");
      if (!this.#piece || full) {
        this.#piece = document.createTextNode("");
        this.code.append(el("span", { class: "lines" }, this.#piece));
      }
      const room = rest.indexOf("\n", Math.max(0, PIECE - this.#piece.length)) + 1 || rest.length;
      this.#piece.appendData(rest.slice(0, room));
      rest = rest.slice(room);
    }
  }
}
