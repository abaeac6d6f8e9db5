/**
 * Server-sent events out of text that comes in any pieces. The same text gives the same events however it is
 * cut. A comment (": queued, place 2 of 9") is an event too, for the server says with those where one stands.
 */
export class EventReader {
  #rest = "";
  #data = [];

  /** Text, as it comes -> [{data} | {comment}] that are complete now. */
  feed(text) {
    const found = [];
    let rest = this.#rest + text;
    // a "\r" at the very end may be half of "\r\n"
    const held = rest.endsWith("\r") ? "\r" : "";
    if (held) rest = rest.slice(0, -1);
    const lines = rest.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + held;
    for (const line of lines) this.#line(line, found);
    return found;
  }

  #line(line, found) {
    if (line === "") {
      if (this.#data.length) found.push({ data: this.#data.join("\n") });
      this.#data = [];
    } else if (line.startsWith(":")) {
      found.push({ comment: line.slice(1).trim() });
    } else {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "data") this.#data.push(value);
    }
  }
}

/** ": queued, place 3 of 9, about 12 s" -> {position: 3, eta: 12}; null where it says nothing of a queue. */
export function readQueue(comment) {
  if (!/queue/i.test(comment)) return null;
  const position = /(?:place|position)\D{0,3}(\d+)/i.exec(comment);
  const eta = /(?:about|eta)\D{0,3}([\d.]+)/i.exec(comment);
  return { position: position ? Number(position[1]) : null, eta: eta ? Number(eta[1]) : null };
}
