/**
 * Markdown that comes in pieces, cut into blocks. A block that is closed never changes again, so a page renders
 * it once; only the open one is rendered anew. Lines decide, never the pieces: any way of cutting the text gives
 * the same blocks, and they joined give the text.
 */

export const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const MARKER = /^( {0,3})([-*+]|\d{1,9}[.)])(\s|$)/;
// a block that goes on for longer is split where it can be: rendering the open one costs its length
const LONG_LINE = 4000;
const LONG_LIST = 3000;
const LONG_TEXT = 4000;

export class BlockSplitter {
  #line = ""; // not ended yet
  #lines = []; // of the open block, each with its line end
  #size = 0;
  #fence = ""; // what closes it, "" outside of code
  #maths = ""; // "$$" or "\\]" within display maths
  #list = false;
  #blank = false; // the last line was

  /** Text, as it comes -> blocks that are closed by it. */
  push(text) {
    const closed = [];
    this.#line += text;
    let start = 0;
    for (let end = this.#line.indexOf("\n"); end >= 0; end = this.#line.indexOf("\n", start)) {
      this.#take(this.#splitLong(this.#line.slice(start, end + 1), closed), closed);
      start = end + 1;
    }
    this.#line = this.#splitLong(this.#line.slice(start), closed);
    return closed;
  }

  /** What isn't closed yet: {text, code: is it the inside of a fence that began it}. */
  get open() {
    const text = this.#lines.join("") + this.#line;
    const code = this.#fence !== "" && FENCE.test(this.#lines[0] ?? "");
    return { text, code };
  }

  /** The text is at its end: the last blocks. */
  end() {
    const closed = [];
    if (this.#line) this.#take(this.#line, closed);
    this.#close(closed);
    this.#line = this.#fence = this.#maths = "";
    return closed;
  }

  #take(line, closed) {
    const blank = line.trim() === "";
    if (this.#fence) this.#inFence(line, closed);
    else if (this.#maths) this.#inMaths(line, closed);
    else if (blank) this.#keep(line);
    else this.#outside(line, closed);
    this.#blank = blank;
  }

  #outside(line, closed) {
    const first = !this.#lines.length;
    const marker = MARKER.exec(line);
    if (!first && this.#blank && !this.#goesOn(line, marker)) this.#close(closed);
    else if (this.#size > (this.#list ? LONG_LIST : LONG_TEXT) && this.#maySplit(marker)) this.#close(closed);
    if (/^ {0,3}#{1,6}\s/.test(line) && !this.#list) {
      this.#close(closed);
      this.#keep(line);
      this.#close(closed);
      return;
    }
    const fence = FENCE.exec(line) ?? (this.#list ? /^\s*(`{3,}|~{3,})/.exec(line) : null);
    if (fence && !this.#list) this.#close(closed); // code starts a block of its own
    const maths = /^\s*(\$\$|\\\[)/.exec(line);
    if (maths && !this.#list) this.#close(closed);
    if (!this.#lines.length) this.#list = marker !== null;
    this.#keep(line);
    if (fence) this.#fence = fence[1];
    if (maths) this.#openMaths(line, maths[1], closed);
  }

  #openMaths(line, opener, closed) {
    const closer = opener === "$$" ? "$$" : "\\]";
    if (!line.trim().slice(2).includes(closer)) this.#maths = closer;
    else if (!this.#list) this.#close(closed);
  }

  #inFence(line, closed) {
    this.#keep(line);
    const end = /^\s*(`{3,}|~{3,})\s*$/.exec(line);
    if (!end || end[1][0] !== this.#fence[0] || end[1].length < this.#fence.length) return;
    this.#fence = "";
    if (!this.#list) this.#close(closed);
  }

  #inMaths(line, closed) {
    this.#keep(line);
    if (!line.includes(this.#maths)) return;
    this.#maths = "";
    if (!this.#list) this.#close(closed);
  }

  /** A list goes on after an empty line where the next one is indented or an item. */
  #goesOn(line, marker) {
    return this.#list && (/^(\s{2,}|\t)/.test(line) || marker !== null);
  }

  #maySplit(marker) {
    if (this.#list) return marker !== null && marker[1] === "";
    return !/^\s*[|>]/.test(this.#lines[0]) && !/\|/.test(this.#lines.at(-1)); // a table needs its head
  }

  /** Closes what is too long of a line that has no end yet; what is left of it. */
  #splitLong(line, closed) {
    if (
      this.#fence ||
      this.#maths ||
      this.#list ||
      /^\s*([|>#]|[-*+]\s|\d+[.)]\s|`{3}|~{3}|\$\$|\\\[)/.test(line)
    ) {
      return line;
    }
    let rest = line;
    for (let at = cut(rest); at >= 0; at = cut(rest)) {
      this.#take(rest.slice(0, at + 1), closed);
      this.#close(closed);
      rest = rest.slice(at + 1);
    }
    return rest;
  }

  #keep(line) {
    this.#lines.push(line);
    this.#size += line.length;
  }

  #close(closed) {
    if (this.#lines.length) closed.push(this.#lines.join(""));
    this.#clear();
  }

  #clear() {
    this.#lines = [];
    this.#size = 0;
    this.#list = false;
    this.#blank = false;
  }
}

const cut = (line) => (line.length > LONG_LINE ? line.indexOf(" ", LONG_LINE) : -1);
