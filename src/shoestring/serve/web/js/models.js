/** Which models there are and which one is asked. */

import { byId, el } from "./dom.js";

const CHOICES = { auto: "thinking auto", on: "thinking on", off: "thinking off" };

export class Models extends EventTarget {
  all = [];
  #options;

  constructor(options) {
    super();
    this.#options = options;
    byId("model").addEventListener("change", (event) => options.set({ model: event.target.value }));
    byId("other").addEventListener("change", (event) => options.set({ other: event.target.value }));
    byId("other-think").addEventListener("change", (event) =>
      options.set({ otherThink: event.target.value }),
    );
    byId("compare").addEventListener("click", () => this.#compare());
    options.addEventListener("change", () => this.#show());
  }

  async load(api) {
    this.all = await api.models();
    if (!this.get(this.#options.model)) this.#options.set({ model: this.all[0]?.id ?? "" });
    if (!this.get(this.#options.other)) this.#options.set({ other: this.#anotherThan(this.#options.model) });
    this.#show();
  }

  get(id) {
    return this.all.find((model) => model.id === id);
  }

  get current() {
    return this.get(this.#options.model);
  }

  /** With one model it is compared with itself, without its thinking. */
  #compare() {
    const options = this.#options;
    const same = options.other === options.model && options.otherThink === options.think;
    const apart = same ? { think: "on", otherThink: "off" } : {};
    options.set({ compare: !options.compare, ...(options.compare ? {} : apart) });
  }

  #anotherThan(id) {
    return (this.all.find((model) => model.id !== id) ?? this.all[0])?.id ?? "";
  }

  #show() {
    const options = this.#options;
    fill(byId("model"), this.all, options.model);
    fill(byId("other"), this.all, options.other);
    byId("other-think").replaceChildren(
      ...Object.entries(CHOICES).map(([value, text]) => el("option", { value, text })),
    );
    byId("other-think").value = options.otherThink;
    byId("compare").setAttribute("aria-pressed", String(options.compare));
    byId("versus").hidden = !options.compare;
    const stage = this.current?.lineage?.stages?.at(-1)?.name ?? this.current?.stage;
    byId("stage").textContent = typeof stage === "string" ? stage : "";
    byId("stage").hidden = !byId("stage").textContent || stage === this.current?.id;
  }
}

function fill(select, models, chosen) {
  select.replaceChildren(...models.map(({ id }) => el("option", { value: id, text: id })));
  select.value = chosen;
}
