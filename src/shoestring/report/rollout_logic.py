"""The rollout browser's logic, in JavaScript: what to list and what to say of it. Pure, for the tests."""

LOGIC = r"""
"use strict";

function fits(row, verdict) {
  return !verdict || (verdict === "cut" ? row.cut : row.outcome === verdict);
}

// the groups to list: each with those of its samples that have the verdict; words in prompt or sample
function chosen(groups, wanted) {
  const word = wanted.text.toLowerCase();
  const has = (text) => text.toLowerCase().includes(word);
  const whole = (row) => row.pieces.map((piece) => piece[1]).join("");
  return groups
    .filter((group) => !wanted.live || group.live === (wanted.live === "live"))
    .map((group) => {
      const asked = !word || has(group.prompt) || has(group.problem);
      const rows = group.rows.filter((r) => fits(r, wanted.verdict) && (asked || has(whole(r))));
      return { group, rows };
    })
    .filter((item) => item.rows.length > 0);
}

function number(value) {
  return value === null || value === undefined ? "" : String(Number(value.toPrecision(3)));
}

function percent(share) {
  return share === null || share === undefined ? "" : (100 * share).toFixed(1) + " %";
}

function facts(row) {
  const parts = Object.entries(row.parts).map(([name, value]) => name + " " + number(value)).join(", ");
  const sign = row.advantage > 0 ? "+" : "";
  return [
    row.reward === null ? "no reward" : "reward " + number(row.reward),
    row.advantage === null ? "" : "advantage " + sign + number(row.advantage),
    parts && "(" + parts + ")",
    row.tokens === null ? "" : row.tokens + " tokens",
  ].filter(Boolean).join(" · ");
}

function stepLine(step) {
  const all = step.all;
  const shares = Object.entries(all.shares).map(([name, share]) => percent(share) + " " + name);
  const inside = step.groups.reduce((sum, group) => sum + group.rows.length, 0);
  return "Step " + step.step + ": " + all.samples + " samples in " + all.groups + " groups" +
    (all.live === null ? "" : ", " + percent(all.live) + " of them in live groups") + "; " +
    shares.join(", ") + (all.reward === null ? "" : "; mean reward " + number(all.reward)) +
    (all.tokens === null ? "" : ", " + number(all.tokens) + " tokens") +
    ". In this page: " + inside + " samples in " + step.groups.length + " groups.";
}

// rows of the table of changes: [suite, what, before, after]
function changeRows(change) {
  const rows = [];
  for (const [suite, [before, after]] of Object.entries(change.suites)) {
    const sides = [before, after];
    const line = (what, show) => rows.push([suite, what, ...sides.map((s) => (s ? show(s) : "not asked"))]);
    line("samples", (s) => String(s.samples));
    const names = new Set(sides.flatMap((s) => (s ? Object.keys(s.shares) : [])));
    for (const name of names) line(name, (s) => percent(s.shares[name] || 0));
    if (sides.some((s) => s && s.reward !== null)) line("mean reward", (s) => number(s.reward));
    if (sides.some((s) => s && s.tokens !== null)) line("mean tokens", (s) => number(s.tokens));
  }
  return rows;
}

function changeOf(stage, one, other) {
  const [a, b] = [Math.min(one, other), Math.max(one, other)];
  return { before: a, after: b, change: stage.changes[a + "-" + b] };
}

function samePrompt(step, group) {
  return step.groups.find((g) => (group.problem ? g.problem === group.problem : g.prompt === group.prompt));
}
"""
