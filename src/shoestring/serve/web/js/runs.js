/** The Runs page: asks the server every few seconds how the chosen run stands, and draws what has changed. */

import { Api } from "./api.js";
import { Curves } from "./curves.js";
import { byId, el } from "./dom.js";
import { Options } from "./options.js";
import { Rollouts } from "./rollouts.js";
import { drawBill, drawFindings, drawMachine, drawScores, drawStages, drawStanding } from "./run_parts.js";

const EVERY_MS = 2000;
const LIST_EVERY = 5; // asks for the list of runs each so many rounds

const options = new Options();
const api = new Api(() => options.key);
const curves = new Curves(() => drawCurves(chosen).catch(() => {}));
const rollouts = new Rollouts(api);
let chosen = decodeURIComponent(location.hash.slice(1));
let unit = ""; // of it that is worked on
let last = ""; // of the overview that is drawn: what hasn't changed isn't drawn again

const about = (name, run = chosen, more = {}) => `runs/${name}?${new URLSearchParams({ run, ...more })}`;

async function drawCurves(run) {
  const plots = await api.json(about("curves", run, { metric: curves.metric }));
  if (run === chosen) curves.show(run, plots, unit);
}

async function list() {
  const { root, runs } = await api.json("runs");
  byId("empty").hidden = runs.length > 0;
  byId("page").hidden = !runs.length;
  if (!runs.length) return;
  if (!runs.some((run) => run.id === chosen)) chosen = runs[0].id;
  const select = byId("run");
  select.replaceChildren(
    ...runs.map((run) =>
      el("option", { value: run.id, text: `${run.id === "." ? root : run.id} (${run.state})` }),
    ),
  );
  select.value = chosen;
}

async function round(number) {
  if (number % LIST_EVERY === 0) await list();
  if (!chosen || byId("page").hidden) return;
  const run = chosen;
  const overview = await api.json(about("overview", run));
  if (run !== chosen) return;
  drawStanding(overview.standing); // the clocks move even when nothing else does
  const { updated, ...kept } = overview.standing;
  const now = JSON.stringify([run, { ...overview, standing: kept }]);
  if (now === last) return;
  drawStages(overview);
  drawBill(overview);
  drawScores(overview.evals);
  drawFindings(overview.findings);
  drawMachine(overview.environment);
  unit = overview.standing.unit;
  await drawCurves(run);
  await rollouts.show(run, await api.json(about("verdicts", run)));
  last = now;
}

async function loop() {
  for (let number = 0; ; number += 1) {
    const trouble = byId("trouble");
    try {
      if (!document.hidden || number === 0) await round(number);
      trouble.hidden = true;
    } catch (error) {
      trouble.hidden = false;
      trouble.textContent =
        error.status === 401
          ? "This server wants a key: give it in the chat page's settings."
          : error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

byId("run").addEventListener("change", (event) => {
  chosen = event.target.value;
  location.hash = encodeURIComponent(chosen);
  last = "";
  round(1).catch(() => {});
});
loop();
