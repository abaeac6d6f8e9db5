/** The curves of one stage as small charts, and one more that is chosen. A chart is made once and then fed. */

import uPlot from "../vendor/uPlot.esm.js";
import { byId, el } from "./dom.js";
import { figure } from "./words.js";

const HEIGHT = 190;

/** A custom property as the canvas can use it: light-dark() is resolved only in a property. */
export function colour(name) {
  const probe = el("span", { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export function axes() {
  const grid = { stroke: colour("--rule"), width: 1 };
  const shared = {
    stroke: colour("--quiet"),
    grid,
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  return [
    { ...shared, size: 26, values: (_, marks) => marks.map((mark) => (Number.isInteger(mark) ? mark : "")) },
    { ...shared, size: 48, values: (_, marks) => marks.map(figure) },
  ];
}

export class Curves {
  #run = "";
  #plots = [];
  #charts = new Map(); // "stage metric" -> {chart, box, key}
  #picked = ""; // by the reader: then it stays

  /** `ask()`: another metric is wanted, whose values the server hasn't sent yet. */
  constructor(ask) {
    byId("stage").addEventListener("change", (event) => this.#pick(event.target.value));
    byId("more").addEventListener("change", ask);
    new ResizeObserver(() => this.#resize()).observe(byId("curves"));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.#again()); // a canvas keeps the colours it was drawn with
  }

  /** The metric that is shown beside the main ones, "" for none. */
  get metric() {
    return byId("more").value;
  }

  /** `unit` is what is worked on now: its stage is shown until another is picked. */
  show(run, plots, unit) {
    if (run !== this.#run) this.#picked = "";
    this.#run = run;
    this.#plots = plots;
    const stages = [...new Set(plots.map((plot) => plot.stage))];
    const live = stages.find((stage) => unit.includes(`-${stage}`));
    const shown = stages.includes(this.#picked) ? this.#picked : (live ?? stages.at(-1) ?? "");
    const select = byId("stage");
    select.replaceChildren(...stages.map((stage) => el("option", { value: stage, text: stage })));
    select.value = shown;
    select.hidden = !stages.length;
    this.#more(shown);
    this.#draw();
  }

  #pick(stage) {
    this.#picked = stage;
    this.#more(stage);
    this.#draw();
  }

  #more(stage) {
    const select = byId("more");
    const kept = select.value;
    const others = this.#plots.filter((plot) => plot.stage === stage && !plot.main);
    select.hidden = !others.length;
    select.replaceChildren(
      el("option", { value: "", text: "another metric…" }),
      ...others.map(({ metric }) => el("option", { value: metric, text: metric })),
    );
    select.value = others.some((plot) => plot.metric === kept) ? kept : "";
  }

  #draw() {
    const stage = byId("stage").value;
    const more = byId("more").value;
    const known = (plot) => plot.lines.some((line) => line.values.some((value) => value !== null));
    const shown = this.#plots.filter((p) => p.stage === stage && (p.main || p.metric === more) && known(p));
    const boxes = shown.map((plot) => this.#chart(plot).box);
    const none = el("p", { class: "told", text: "No steps have been logged yet." });
    byId("curves").replaceChildren(...(boxes.length ? boxes : [none]));
    this.#resize();
  }

  #chart(plot) {
    const name = `${this.#run} ${plot.stage} ${plot.metric}`;
    const names = plot.lines.map((line) => line.name);
    const known = this.#charts.get(name);
    const data = aligned(plot.lines);
    if (known && known.key === names.join("|")) {
      known.chart.setData(data);
      known.words.textContent = lastOf(plot);
      return known;
    }
    const words = el("span", { text: lastOf(plot) });
    const box = el("figure", {}, el("figcaption", {}, plot.title, words));
    const series = names.map((line, i) => ({
      label: line || "value",
      stroke: colour(`--c${i % 6}`),
      width: 1.8,
      points: { show: data[0].length < 12, size: 5 },
      value: (_, value) => figure(value),
    }));
    const options = {
      width: 300,
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: axes(),
      series: [{ label: "step" }, ...series],
      legend: { show: names.length > 1, live: true },
      cursor: { y: false, points: { size: 7 } },
      padding: [10, 8, 0, 0],
    };
    const made = { chart: new uPlot(options, data, box), box, words, key: names.join("|") };
    this.#charts.set(name, made);
    return made;
  }

  #resize() {
    for (const { chart, box } of this.#charts.values()) {
      if (box.isConnected && box.clientWidth !== chart.width)
        chart.setSize({ width: box.clientWidth, height: HEIGHT });
    }
  }

  #again() {
    for (const { chart } of this.#charts.values()) chart.destroy();
    this.#charts.clear();
    this.#draw();
  }
}

/** Lines with steps of their own -> uPlot's columns: all steps, and each line's value there or null. */
export function aligned(lines) {
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const columns = lines.map((line) => {
    const at = new Map(line.steps.map((step, i) => [step, line.values[i]]));
    return steps.map((step) => at.get(step) ?? null);
  });
  return [steps, ...columns];
}

const lastOf = (plot) => {
  const values = plot.lines[0].values.filter((value) => value !== null);
  return values.length ? figure(values.at(-1)) : "";
};
