/** What the model wrote: verdicts by step as stacked bars, and a step's samples beneath. */

import { byId, el } from "./dom.js";
import { wordButton } from "./reply_view.js";
import { count, figure, percent, plural } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_BARS = 400;

export class Rollouts {
  #run = "";
  #units = [];
  #asked = 0; // the newest question: answers to older ones are dropped
  #step = null; // picked by the reader; null: the last

  constructor(api) {
    this.api = api;
    byId("unit").addEventListener("change", () => this.#pickStep(null));
    byId("step").addEventListener("change", (event) => this.#pickStep(Number(event.target.value)));
    byId("verdict").addEventListener("change", () => this.#samples());
  }

  async show(run, units) {
    if (run !== this.#run) this.#step = null;
    const fresh = run !== this.#run;
    this.#run = run;
    this.#units = units;
    byId("rollouts-section").hidden = !units.length;
    if (!units.length) return;
    const select = byId("unit");
    const kept = select.value;
    select.replaceChildren(...units.map(({ unit }) => el("option", { value: unit, text: unit })));
    select.value = !fresh && units.some(({ unit }) => unit === kept) ? kept : units.at(-1).unit;
    await this.#draw();
  }

  get #unit() {
    return this.#units.find(({ unit }) => unit === byId("unit").value);
  }

  #pickStep(step) {
    this.#step = step;
    return this.#draw();
  }

  async #draw() {
    const { steps, counts } = this.#unit;
    const shown = steps.includes(this.#step) ? this.#step : steps.at(-1);
    const select = byId("step");
    select.replaceChildren(
      ...steps.toReversed().map((step) => el("option", { value: step, text: `step ${step}` })),
    );
    select.value = String(shown);
    const verdict = byId("verdict");
    const kept = verdict.value;
    const words = { "": "all verdicts", cut: "cut" };
    const names = ["", ...Object.keys(counts), "cut"];
    verdict.replaceChildren(...names.map((name) => el("option", { value: name, text: words[name] ?? name })));
    verdict.value = names.includes(kept) ? kept : "";
    byId("verdicts").replaceChildren(...this.#chart(shown));
    await this.#samples();
  }

  /** A bar a step, from the bottom: right, wrong and the rest. A click shows the step. */
  #chart(shown) {
    const { steps, counts } = this.#unit;
    const names = Object.keys(counts);
    const from = Math.max(0, steps.length - MOST_BARS);
    const width = 1000 / (steps.length - from);
    const svg = make("svg", { viewBox: "0 0 1000 160", preserveAspectRatio: "none", role: "img" });
    const at = steps.indexOf(shown);
    const all = names.reduce((sum, name) => sum + counts[name][at], 0);
    const shares = names.map((name) => `${percent(counts[name][at] / all)} ${name}`);
    svg.setAttribute("aria-label", `Verdicts by step. Step ${shown}: ${shares.join(", ")}`);
    for (let i = from; i < steps.length; i += 1) {
      const total = names.reduce((sum, name) => sum + counts[name][i], 0);
      const bar = make("g", { class: steps[i] === shown ? "chosen" : "" });
      let top = 160;
      for (const name of names) {
        const height = (160 * counts[name][i]) / total;
        top -= height;
        const x = (i - from) * width + width * 0.08;
        bar.append(make("rect", { class: `v-${name}`, x, y: top, width: width * 0.84, height }));
      }
      bar.append(make("title", {}, `step ${steps[i]}`));
      bar.addEventListener("click", () => this.#pickStep(steps[i]));
      svg.append(bar);
    }
    const key = names.map((name, i) => el("span", { class: `key v-${name}` }, el("i"), shares[i]));
    const words = `Step ${shown}: ${plural(all, "sample")}`;
    return [svg, el("p", { class: "keys" }, el("span", { text: words }), ...key)];
  }

  async #samples(offset = 0) {
    const asked = (this.#asked += 1);
    const query = {
      run: this.#run,
      unit: byId("unit").value,
      step: byId("step").value,
      verdict: byId("verdict").value,
    };
    const found = await this.api.json(`runs/rollouts?${new URLSearchParams({ ...query, offset })}`);
    if (asked !== this.#asked) return;
    const box = byId("samples");
    box.querySelector(".word")?.remove();
    const cards = found.samples.map(card);
    if (offset) box.append(...cards);
    else box.replaceChildren(...cards);
    const next = offset + found.samples.length;
    if (next < found.total)
      box.append(wordButton(`Show more (${count(found.total - next)} are left)`, () => this.#samples(next)));
    if (!found.total) box.replaceChildren(el("p", { class: "told", text: "None of this step." }));
  }
}

function make(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function card(sample) {
  const parts = Object.entries(sample.parts).map(([name, value]) => `${name} ${figure(value)}`);
  const facts = [
    sample.reward === null ? "" : `reward ${figure(sample.reward)}`,
    sample.advantage === null
      ? ""
      : `advantage ${sample.advantage > 0 ? "+" : ""}${figure(sample.advantage)}`,
    ...parts,
    sample.tokens === null ? "" : plural(sample.tokens, "token"),
  ];
  const text = el(
    "pre",
    {},
    ...sample.pieces.map(([kind, piece]) => el("span", { class: kind || "mark", text: piece })),
  );
  return el(
    "article",
    { class: "sample", data: { verdict: sample.outcome } },
    el(
      "p",
      { class: "told" },
      el("b", { text: sample.outcome + (sample.cut ? ", cut" : "") }),
      ` ${facts.filter(Boolean).join(" · ")}`,
    ),
    el("p", { class: "prompt", text: sample.prompt }),
    text,
    sample.detail ? el("p", { class: "told", text: sample.detail }) : null,
  );
}
