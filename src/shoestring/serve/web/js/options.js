/** What the reader has set, kept in this browser. The API key is kept for this tab only, unless asked. */

const KEPT = "shoestring.options";
const KEY = "shoestring.key";

const DEFAULTS = {
  model: "",
  compare: false,
  other: "", // the model to compare with
  think: "auto", // auto: nothing is asked, the model's own way; on; off
  otherThink: "auto",
  budget: null, // thinking tokens
  temperature: null, // null: the model's own
  topP: null,
  maxTokens: null,
  showThinking: "live", // live: open while it thinks; open; closed
  theme: "auto",
};

export class Options extends EventTarget {
  constructor() {
    super();
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
    } catch {
      // not ours, or refused: the defaults
    }
    const known = Object.keys(DEFAULTS).filter((name) => name in kept);
    Object.assign(this, DEFAULTS, Object.fromEntries(known.map((name) => [name, kept[name]])));
  }

  set(values) {
    Object.assign(this, values);
    try {
      const kept = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, this[name]]));
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // a browser that keeps nothing: they hold until the page is closed
    }
    this.dispatchEvent(new Event("change"));
  }

  get key() {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
  }

  setKey(key, remember) {
    localStorage.removeItem(KEY);
    sessionStorage.removeItem(KEY);
    if (key) (remember ? localStorage : sessionStorage).setItem(KEY, key);
  }
}

/** The request for one reply. What isn't set isn't sent: the server's and the model's defaults hold then. */
export function chatBody(options, model, think, messages) {
  const body = { model, messages };
  if (think === "on") body.thinking = { type: "enabled" };
  if (think === "off") body.thinking = { type: "disabled" };
  if (options.budget && think !== "off") body.thinking = { type: "enabled", budget_tokens: options.budget };
  if (options.temperature !== null) body.temperature = options.temperature;
  if (options.topP !== null) body.top_p = options.topP;
  if (options.maxTokens !== null) body.max_tokens = options.maxTokens;
  return body;
}
