/** The parts of the Runs page that are words, bars and tables. */

import { announce, byId, el } from "./dom.js";
import { count, figure, money, percent, plural, seconds } from "./words.js";

const SILENT_S = 120; // a running run that says nothing for so long may be dead

let said = "";

export function drawStanding(standing) {
  const { state, done, total, eta_seconds: eta, elapsed_seconds: elapsed, updated, shown } = standing;
  const running = state === "running";
  const share = total ? done / total : state === "finished" ? 1 : 0;
  const quiet = updated ? Date.now() / 1000 - updated : 0;
  const facts = [
    running && total ? `${count(done)} of ${count(total)}` : "",
    running && eta !== null ? `about ${seconds(eta)} left in this stage` : "",
    running && elapsed ? `${seconds(elapsed)} so far` : "",
    ...Object.entries(shown).map(([name, value]) => `${name.replaceAll("_", " ")} ${shortened(value)}`),
  ];
  byId("standing").replaceChildren(
    el(
      "div",
      { class: "title" },
      el("h1", { text: standing.name }),
      el("span", { class: "badge", data: { state }, text: state }),
      el("span", {
        class: "told",
        text: `${standing.stages_finished} of ${plural(standing.stages, "stage")} finished`,
      }),
    ),
    standing.description ? el("p", { class: "told", text: standing.description }) : "",
    running
      ? el(
          "p",
          { class: "now" },
          el("b", { text: unitName(standing.unit) }),
          ` ${facts.filter(Boolean).join(" · ")}`,
        )
      : "",
    running ? el("progress", { max: 1, value: share, "aria-label": "How far this stage is" }) : "",
    standing.detail ? el("p", { class: "banner", text: standing.detail }) : "",
    running && quiet > SILENT_S
      ? el("p", {
          class: "banner",
          text: `It has said nothing for ${seconds(quiet)}: a long piece of work, or it was killed. shoestring run … --resume goes on.`,
        })
      : "",
  );
  const words = `${standing.name}: ${state}${running ? ` ${unitName(standing.unit)}` : ""}`;
  if (words !== said) announce(words); // a change of stage, not each step
  said = words;
}

/** A long fraction to three figures; words as they are. */
const shortened = (value) => (/^-?\d+\.\d{4,}$/.test(value) ? figure(Number(value)) : value);

/** stages/03-rl-1/seed-2 -> "rl-1 seed-2" */
const unitName = (unit) =>
  unit
    .replace(/^stages\/\d+-/, "")
    .replaceAll("/", " ")
    .replace(/^\.$/, "");

export function drawStages({ stages, standing }) {
  const items = stages.map((stage) => {
    const now =
      standing.state === "running" && standing.unit.split("/")[1]?.replace(/^\d+-/, "") === stage.name;
    const whole = stage.units > 0 && stage.finished === stage.units && !now;
    const state = now ? "running" : whole ? "finished" : stage.units ? "begun" : "to come";
    const used = stage.used.seconds ? `${seconds(stage.used.seconds)} · ${money(stage.used.usd)}` : state;
    const arms = stage.units > 1 ? `${stage.finished} of ${stage.units} arms and seeds` : stage.job;
    return el(
      "li",
      { data: { state }, title: state },
      el("b", { text: stage.name }),
      el("span", { text: arms }),
      el("span", { text: used }),
    );
  });
  byId("stages").replaceChildren(el("ol", {}, ...items));
}

export function drawBill({ figures, wasted, stages }) {
  const tiles = figures.map(({ name, value, unit, basis }) =>
    el(
      "div",
      { class: "tile", title: basis },
      el("span", { text: name }),
      el("b", { text: shown(value, unit) }),
      el("small", { text: basis }),
    ),
  );
  const all = stages.reduce((sum, stage) => sum + stage.used.seconds, 0) || 1;
  const bars = stages
    .filter((stage) => stage.used.seconds)
    .map((stage) =>
      bar(
        stage.name,
        stage.used.seconds / all,
        `${seconds(stage.used.seconds)}, ${percent(stage.used.seconds / all)}`,
      ),
    );
  const lost = Object.entries(wasted).map(([reason, used]) =>
    bar(
      `on nothing: ${reason.replaceAll("_", " ")}`,
      used.seconds / all,
      `${seconds(used.seconds)}, ${percent(used.seconds / all)}`,
      "lost",
    ),
  );
  byId("bill").replaceChildren(
    el("div", { class: "tiles" }, ...tiles),
    el("div", { class: "bars" }, ...bars, ...lost),
  );
}

function shown(value, unit) {
  if (unit === "s") return seconds(value);
  return unit === "USD" ? money(value) : `${figure(value)} ${unit}`;
}

function bar(name, share, words, kind = "") {
  return el(
    "div",
    { class: `bar ${kind}` },
    el("span", { text: name }),
    el("progress", { max: 1, value: share, "aria-label": name }),
    el("span", { class: "told", text: words }),
  );
}

/** Suites down, models across; of a model's ways of being asked the best, as the report has it. */
export function drawScores(evals) {
  const best = evals.filter((row) => row.best);
  byId("scores-section").hidden = !best.length;
  const models = [...new Set(best.map((row) => row.model))];
  const suites = [...new Set(best.map((row) => row.suite))];
  const cell = (suite, model) => {
    const row = best.find((one) => one.suite === suite && one.model === model);
    if (!row) return el("td", { text: "–" });
    const title = `${row.variant || "as it is"}, n = ${row.n}, 95 % interval ${percent(row.low, 1)} to ${percent(row.high, 1)}`;
    return el(
      "td",
      { title },
      el("b", { text: percent(row.score, 1) }),
      el("small", { text: ` ±${(50 * (row.high - row.low)).toFixed(1)}` }),
    );
  };
  const head = el(
    "tr",
    {},
    el("th", { text: "" }),
    ...models.map((model) => el("th", { scope: "col", text: model })),
  );
  const rows = suites.map((suite) =>
    el("tr", {}, el("th", { scope: "row", text: suite }), ...models.map((model) => cell(suite, model))),
  );
  byId("scores").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

export function drawFindings(findings) {
  byId("findings-section").hidden = !findings.length;
  const rows = findings.map(({ unit, step, name, text }) =>
    el(
      "p",
      {},
      el("b", { text: `${unit}, ${step ? `step ${step}` : "before the first step"}` }),
      ` ${name}: `,
      el("span", { text }),
    ),
  );
  byId("findings").replaceChildren(...rows);
}

export function drawMachine(environment) {
  byId("machine").replaceChildren(
    ...Object.entries(environment).flatMap(([name, value]) => [
      el("dt", { text: name.replaceAll("_", " ") }),
      el("dd", { text: value }),
    ]),
  );
}
