/** What the reader has set, kept in this browser. The API key is kept for this tab only, unless asked. */

import { inBrowser, inTab } from "./kept.js";

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
      kept = JSON.parse(inBrowser.get(KEPT)) ?? {};
    } catch {
      // not ours: the defaults
    }
    const known = Object.keys(DEFAULTS).filter((name) => name in kept);
    Object.assign(this, DEFAULTS, Object.fromEntries(known.map((name) => [name, kept[name]])));
  }

  set(values) {
    Object.assign(this, values);
    const kept = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, this[name]]));
    inBrowser.set(KEPT, JSON.stringify(kept));
    this.dispatchEvent(new Event("change"));
  }

  get key() {
    return inTab.get(KEY) ?? inBrowser.get(KEY) ?? "";
  }

  setKey(key, remember) {
    inBrowser.remove(KEY);
    inTab.remove(KEY);
    if (key) (remember ? inBrowser : inTab).set(KEY, key);
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
