/**
 * Markdown that comes in pieces, cut into blocks. A block that is closed never changes again, so a page renders
 * it once; only the open one is rendered anew. Lines decide, never the pieces: any way of cutting the text gives
 * the same blocks, and they joined give the text.
 */

export const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const ANY_FENCE = /^\s*(`{3,}|~{3,})/;
const MARKER = /^( {0,3})([-*+]|\d{1,9}[.)])(\s|$)/;
const DEEP_MARKER = /^\s*([-*+]|\d{1,9}[.)])\s/;
const RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/; // beneath the head of a table
// a block that goes on for longer is split where it can be: rendering the open one costs its length
const LONG_LINE = 4000;
const LONG_LIST = 3000;
const LONG_TEXT = 4000;
const LONG_ITEM = 5000; // within which items of items are kept together
const TOO_LONG = 8000; // then it is split at the next line, whatever it is

const PLAIN = { before: "", indent: 0 };

/**
 * `text` is a block's part of the whole; `source` is what to render: the second half of a table has its head again,
 * and of a list within a list its items stand where a line begins.
 */
export class Block {
  constructor(text, { before, indent }) {
    const moved = indent ? text.replace(new RegExp(`^[ \\t]{1,${indent}}`, "gm"), "") : text;
    Object.assign(this, { text, source: before + moved });
  }
}

export class BlockSplitter {
  #line = ""; // not ended yet
  #lines = []; // of the open block, each with its line end
  #size = 0;
  #fence = ""; // what closes it, "" outside of code
  #opening = ""; // the line that opened it
  #maths = ""; // "$$" or "\\]" within display maths
  #stray = ""; // what would close maths that was given up
  #list = false;
  #blank = false; // the last line was
  #lead = PLAIN; // what its source has that its text hasn't

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

  /** What isn't closed yet: {text, source, code: is it the inside of a fence that began it}. */
  get open() {
    const { text, source } = new Block(this.#lines.join("") + this.#line, this.#lead);
    const code = this.#fence !== "" && FENCE.test(source.slice(0, source.indexOf("\n") + 1));
    return { text, source, code };
  }

  /** The text is at its end: the last blocks. */
  end() {
    const closed = [];
    if (this.#line) this.#take(this.#line, closed);
    this.#close(closed);
    this.#line = this.#fence = this.#maths = this.#stray = "";
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
    const marker = MARKER.exec(line);
    if (this.#lines.length && this.#blank && !this.#goesOn(line, marker)) this.#close(closed);
    else if (this.#size > (this.#list ? LONG_LIST : LONG_TEXT) && this.#maySplit(marker)) this.#close(closed);
    else if (this.#mustSplit(line)) this.#split(line, closed);
    if (/^ {0,3}#{1,6}\s/.test(line) && !this.#list) {
      this.#close(closed);
      this.#keep(line);
      this.#close(closed);
      return;
    }
    const fence = (this.#list ? ANY_FENCE : FENCE).exec(line);
    if (fence && !this.#list) this.#close(closed); // code starts a block of its own
    const maths = this.#stray ? null : /^\s*(\$\$|\\\[)/.exec(line);
    if (maths && !this.#list) this.#close(closed);
    if (!this.#lines.length && !this.#list) this.#list = marker !== null;
    this.#keep(line);
    if (fence) this.#openFence(line, fence[1]);
    if (maths) this.#openMaths(line, maths[1], closed);
    if (this.#stray && line.includes(this.#stray)) this.#stray = "";
  }

  #openFence(line, fence) {
    this.#fence = fence;
    this.#opening = line.endsWith("\n") ? line.trimStart() : `${line.trimStart()}\n`;
  }

  #openMaths(line, opener, closed) {
    const closer = opener === "$$" ? "$$" : "\\]";
    if (!line.trim().slice(2).includes(closer)) this.#maths = closer;
    else if (!this.#list) this.#close(closed);
  }

  #inFence(line, closed) {
    // code of its own only grows on the page; within a list it would be rendered again and again
    if (this.#list && this.#size > TOO_LONG) this.#split(line, closed);
    this.#keep(line);
    const end = /^\s*(`{3,}|~{3,})\s*$/.exec(line);
    if (!end || end[1][0] !== this.#fence[0] || end[1].length < this.#fence.length) return;
    this.#fence = "";
    if (!this.#list) this.#close(closed);
  }

  #inMaths(line, closed) {
    this.#keep(line);
    const ends = line.includes(this.#maths);
    if (!ends && this.#size <= TOO_LONG) return;
    if (!ends) this.#stray = this.#maths; // no formula is so long: it is text, and so is its end
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

  #mustSplit(line) {
    return this.#size > TOO_LONG || (this.#list && this.#size > LONG_ITEM && DEEP_MARKER.test(line));
  }

  /** What goes on with `line` is a block of its own from here, which looks as if it weren't. */
  #split(line, closed) {
    const list = this.#list && !this.#fence;
    const rule = this.#lines.findLastIndex((one, i) => i && one.includes("|") && RULE.test(one));
    let lead = rule > 0 ? { before: this.#lines.slice(rule - 1, rule + 1).join(""), indent: 0 } : PLAIN;
    if (rule < 0 && /\|/.test(this.#lead.before)) lead = this.#lead; // of a table that was split before
    if (list) lead = { before: "", indent: /^\s*/.exec(line)[0].length };
    if (this.#fence) lead = { before: this.#opening, indent: 0 };
    this.#close(closed);
    this.#list = list;
    this.#lead = lead;
  }

  /** Closes what is too long of a line that has no end yet; what is left of it. */
  #splitLong(line, closed) {
    let rest = line;
    for (let at = this.#cut(rest); at >= 0; at = this.#cut(rest)) {
      this.#take(rest.slice(0, at + 1), closed);
      if (!this.#maths) this.#close(closed);
      rest = rest.slice(at + 1);
    }
    return rest;
  }

  #cut(line) {
    if (line.length <= LONG_LINE || this.#fence || ANY_FENCE.test(line)) return -1;
    const kept = this.#maths || this.#list || /^\s*([|>#]|[-*+]\s|\d+[.)]\s|\$\$|\\\[)/.test(line);
    const from = kept ? TOO_LONG : LONG_LINE;
    const blank = line.slice(from, from + LONG_LINE).indexOf(" ");
    if (blank >= 0) return from + blank;
    if (line.length <= from + LONG_LINE) return -1;
    const last = from + LONG_LINE - 1; // no blank in all that: Chinese, or noise
    return /[\ud800-\udbff]/.test(line[last]) ? last - 1 : last;
  }

  #keep(line) {
    this.#lines.push(line);
    this.#size += line.length;
  }

  #close(closed) {
    if (this.#lines.length) closed.push(new Block(this.#lines.join(""), this.#lead));
    this.#clear();
  }

  #clear() {
    this.#lines = [];
    this.#size = 0;
    this.#list = false;
    this.#blank = false;
    this.#lead = PLAIN;
  }
}
