/** "What am I": where a model comes from, as its lineage says. What isn't stated is said to be not stated. */

import { el } from "./dom.js";
import { figure, money, plural, seconds } from "./words.js";

const NOT = "not stated";

/** A model of /v1/models -> nodes. */
export function modelCard(model) {
  const stages = model.lineage?.stages ?? [];
  const base = stages[0];
  return [
    el("h2", { id: "card-title", text: model.id }),
    stages.length ? chain(stages) : null,
    el(
      "dl",
      {},
      ...row("Base", base ? baseWords(base) : NOT),
      ...row("Stage", stageWords(model, stages)),
      ...row("Teacher", teacherWords(stages, model.lineage?.teachers ?? {})),
      ...row("Licence", model.licence || NOT),
      ...row("Trained on", dataWords(stages)),
      ...row("Cost", costWords(model.cost)),
      ...row("Audits", auditNodes(model.audits)),
      ...row("Filters", model.filters ? filterWords(model.filters) : NOT),
      ...row("Thinking", typeof model.thinking === "string" ? model.thinking : NOT),
      ...row("Window", model.max_model_len ? plural(model.max_model_len, "token") : NOT),
    ),
  ];
}

const row = (name, value) => [
  el("dt", { text: name }),
  Array.isArray(value) ? el("dd", {}, ...value) : el("dd", { text: value }),
];

/** The stages in a line: base > cold-start > rl-1 */
function chain(stages) {
  const items = stages.map((stage) =>
    el("li", {}, el("b", { text: stage.name }), el("span", { text: stage.job })),
  );
  return el("ol", { class: "chain", "aria-label": "How it was made" }, ...items);
}

function baseWords({ name, detail }) {
  const words = [name];
  if (detail?.copy_of) words.push(`a copy of ${detail.copy_of}`);
  if (detail?.precision) words.push(detail.precision);
  if (detail?.licence) words.push(detail.licence);
  return words.join(", ");
}

function stageWords(model, stages) {
  const last = stages.at(-1);
  return last ? `${last.name} (${last.job})` : model.stage || NOT;
}

/** Nothing of a reply is withheld or taken back without being named here and in the reply. */
const filterWords = (filters) =>
  filters.length ? filters.map(String).join(", ") : "none: what it writes is what you see";

function teacherWords(stages, teachers) {
  const origins = stages.flatMap((stage) => stage.origins ?? []);
  const named = new Map();
  for (const origin of origins) {
    if (!origin.teacher) continue;
    const terms = [origin.teacher_licence, origin.terms && `terms: ${origin.terms}`]
      .filter(Boolean)
      .join(", ");
    named.set(origin.teacher, terms);
  }
  if (!named.size) return origins.length ? "none: no row of its training was written by a model" : NOT;
  const words = [...named].map(([name, terms]) => (terms ? `${name} (${terms})` : name));
  const behind = Object.values(teachers)
    .map((own) => own[0]?.name)
    .filter(Boolean);
  return words.join("; ") + (behind.length ? `. Made from ${[...new Set(behind)].join(", ")}` : "");
}

function dataWords(stages) {
  const kinds = new Map();
  for (const { source, licence } of stages.flatMap((stage) => stage.origins ?? [])) {
    kinds.set(licence, (kinds.get(licence) ?? new Set()).add(source));
  }
  if (!kinds.size) return stages.length > 1 ? "no rows named" : NOT;
  return [...kinds].map(([licence, sources]) => `${[...sources].join(", ")} (${licence})`).join("; ");
}

/** {seconds, kwh, usd, stages} or a sentence. */
function costWords(cost) {
  if (!cost) return NOT;
  if (typeof cost === "string") return cost;
  const parts = [];
  if (cost.seconds !== undefined) parts.push(`${seconds(cost.seconds)} of one machine`);
  if (cost.kwh !== undefined) parts.push(`${figure(cost.kwh)} kWh`);
  if (cost.usd !== undefined) parts.push(money(cost.usd));
  const of = cost.stages?.length ? ` for ${cost.stages.join(", ")}` : "";
  return parts.join(", ") + of || JSON.stringify(cost);
}

/** [{name, result, detail}], or {name: result}. */
function auditNodes(audits) {
  const rows = Array.isArray(audits)
    ? audits.map((one) => [one.name, [one.result, one.detail].filter(Boolean).join(": ")])
    : Object.entries(audits ?? {}).map(([name, result]) => [
        name,
        typeof result === "string" ? result : JSON.stringify(result),
      ]);
  if (!rows.length) return "none on record for this model";
  return rows.map(([name, result]) => el("p", {}, el("b", { text: name }), ` ${result}`));
}
