/**
 * Other tabs of this page, told of what this one keeps. A channel, and not a lock: locks aren't there on a page over
 * plain http.
 */

const ANSWER_MS = 250;

export class Tabs {
  #channel = null;
  #asked = new Map(); // number of a question -> ids that were answered

  /** `hears`: {kept(id), removed(id), stop(id)}; `writes()` gives the ids of the replies written here. */
  constructor(hears, writes) {
    try {
      this.#channel = new BroadcastChannel("shoestring");
    } catch {
      return; // site data is blocked: no tab keeps anything that another could see
    }
    this.#channel.onmessage = ({ data }) => {
      if (data.kind === "who writes") this.tell("writing", { to: data.number, ids: writes() });
      else if (data.kind === "writing") this.#asked.get(data.to)?.push(...data.ids);
      else hears[data.kind]?.(data.id);
    };
  }

  tell(kind, values = {}) {
    this.#channel?.postMessage({ kind, ...values });
  }

  /** The ids of the replies that other tabs write now; one that is drawing takes longer to say so. */
  async writing(patience = ANSWER_MS) {
    if (!this.#channel) return new Set();
    const number = Math.random();
    const ids = [];
    this.#asked.set(number, ids);
    this.tell("who writes", { number });
    await new Promise((resolve) => setTimeout(resolve, patience));
    this.#asked.delete(number);
    return new Set(ids);
  }
}
