/** Where one writes: the field, the switches beneath it, send and stop, and how full the window is. */

import { contextUse, warning } from "./context.js";
import { byId, el } from "./dom.js";
import { inTab } from "./kept.js";
import { wordButton } from "./reply_view.js";

const DRAFT = "shoestring.draft";

export class Composer {
  #conversation = null;
  #busy = false;

  /** `does`: {send(text), stop, carryOver, editLast, modelOf()} */
  constructor(options, does) {
    Object.assign(this, { options, does });
    this.field = byId("draft");
    this.button = byId("send");
    this.field.value = inTab.get(DRAFT) ?? "";
    this.field.addEventListener("input", () => this.#typed());
    this.field.addEventListener("keydown", (event) => this.#key(event));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("think").addEventListener("click", () => this.#turnThink());
    byId("budget").addEventListener("change", (event) =>
      options.set({ budget: Number(event.target.value) || null }),
    );
    options.addEventListener("change", () => this.#showOptions());
    this.#showOptions();
  }

  show(conversation, busy) {
    this.#conversation = conversation;
    this.#busy = busy;
    this.button.classList.toggle("stops", busy);
    const label = busy ? "Stop (the server stops too)" : "Send";
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
    this.#typed();
  }

  write(text) {
    this.field.value = text;
    this.field.focus();
    this.field.setSelectionRange(text.length, text.length);
    this.#typed();
  }

  submit() {
    if (this.#busy) return this.does.stop();
    const text = this.field.value.trim();
    if (!text) return this.field.focus();
    this.field.value = "";
    this.#typed();
    this.does.send(text);
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.#busy) this.submit();
    } else if (event.key === "ArrowUp" && !this.field.value) {
      event.preventDefault();
      this.does.editLast();
    }
  }

  #typed() {
    inTab.set(DRAFT, this.field.value);
    this.button.disabled = !this.#busy && !this.field.value.trim();
    if (this.#conversation) this.#meter();
  }

  #meter() {
    const use = contextUse(this.#conversation, this.field.value, this.does.modelOf());
    const meter = byId("context");
    const about = use.exact ? "" : "about ";
    const of = use.window ? ` of ${use.window.toLocaleString("en")}` : "";
    byId("context-words").textContent = `${about}${use.used.toLocaleString("en")}${of} tokens`;
    meter.hidden = use.share === null;
    meter.value = Math.min(1, use.share ?? 0);
    meter.dataset.level = use.share >= 0.95 ? "full" : use.share >= 0.8 ? "high" : "";
    this.#warn(warning(use));
  }

  #warn(text) {
    const box = byId("context-warning");
    if (box.dataset.text === text) return;
    box.dataset.text = text;
    box.hidden = !text;
    box.replaceChildren(
      el("span", { text }),
      wordButton("New chat from this one", () => this.does.carryOver()),
    );
  }

  #turnThink() {
    const next = { auto: "on", on: "off", off: "auto" }[this.options.think];
    this.options.set({ think: next });
  }

  #showOptions() {
    const { think, budget } = this.options;
    const button = byId("think");
    button.textContent = { auto: "Thinking: auto", on: "Thinking: on", off: "Thinking: off" }[think];
    button.dataset.think = think;
    const select = byId("budget");
    select.disabled = think === "off";
    if (budget && ![...select.options].some((one) => Number(one.value) === budget)) {
      select.append(el("option", { value: String(budget), text: `${budget} tokens` }));
    }
    select.value = budget ? String(budget) : "";
  }
}
