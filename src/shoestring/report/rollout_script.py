"""The page's rollout browser: plain JavaScript that reads the JSON beside it, fetches nothing and sets
text as text."""

from shoestring.report.rollout_logic import LOGIC

PAGE = r"""
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function card(row) {
  const kind = { right: "right", wrong: "wrong" }[row.outcome] || "other";
  const text = make("pre");
  for (const [piece, content] of row.pieces) text.append(make("span", { class: piece || "mark" }, content));
  const verdict = make("b", {}, row.outcome + (row.cut ? ", cut" : ""));
  const told = make("p", { class: "told" }, verdict, " " + facts(row));
  const detail = row.detail ? [make("p", { class: "told" }, row.detail)] : [];
  return make("div", { class: "card " + kind }, told, text, ...detail);
}

function table(head, rows) {
  const figure = { class: "figure" }; // the columns past head.words
  const cells = (tag, row) => row.map((text, i) => make(tag, i < head.words ? {} : figure, text));
  const line = (tag, row) => make("tr", {}, ...cells(tag, row));
  const body = make("tbody", {}, ...rows.map((row) => line("td", row)));
  return make("table", {}, make("thead", {}, line("th", head.names)), body);
}

function phraseTable(title, phrases, heads) {
  const names = [title, ...heads];
  const rows = phrases.map((p) => [p.text, String(p.before), String(p.after)]);
  return table({ names, words: 1 }, rows.length ? rows : [["nothing stands out", "", ""]]);
}

function changePanel(stage, one, other) {
  const { before, after, change } = changeOf(stage, one, other);
  const rows = changeRows(change);
  const first = (row, i) => !i || rows[i - 1][0] !== row[0];
  const shown = rows.map((row, i) => [first(row, i) ? row[0] : "", ...row.slice(1)]);
  const steps = ["step " + before, "step " + after];
  const counted = steps.map((step, i) => step + ", of " + change.counted[i]);
  const said = make("div", {});
  said.append(phraseTable("samples that say, more now", change.more, counted));
  said.append(phraseTable("less now", change.less, counted));
  const rates = table({ names: ["", "", ...steps], words: 2 }, shown);
  return make("div", { class: "changes scroll" }, rates, said);
}

function cards(rows) {
  return make("div", { class: "cards" }, ...rows.map(card));
}

function option(value, text) {
  return make("option", { value }, text);
}

function select(label, options) {
  const element = make("select", {}, ...options);
  return [make("label", {}, label + " ", element), element];
}

function browse(place, { stages, verdicts }) {
  const [stageLabel, stageBox] = select("stage", stages.map((s, i) => option(i, s.title)));
  const [stepLabel, stepBox] = select("step", []);
  const all = (name) => option("", name);
  const [verdictLabel, verdictBox] = select("verdict", [all("any"), ...verdicts.map((v) => option(v, v))]);
  const [liveLabel, liveBox] = select("groups", [all("all"), ...["live", "dead"].map((v) => option(v, v))]);
  const [sinceLabel, sinceBox] = select("compare with", []);
  const textBox = make("input", { type: "search", placeholder: "in prompt or sample" });
  const bar = make("div", { class: "bar" }, stageLabel, stepLabel, verdictLabel, liveLabel,
    make("label", {}, "text ", textBox), sinceLabel);
  const line = make("p", { class: "told" });
  const changed = make("div");
  const list = make("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": "groups" });
  const shown = make("div", { class: "group", "aria-live": "polite" });
  const hint = make("p", { class: "told" });
  hint.textContent = "In the list: arrows up and down for groups, left and right for steps.";
  place.append(bar, line, changed, make("div", { class: "columns" }, list, shown), hint);
  let items = [];
  let at = 0;

  const stage = () => stages[stageBox.value];
  const stepOf = (value) => stage().steps.find((s) => s.step === Number(value));

  function openStage() {
    const steps = stage().steps;
    stepBox.replaceChildren(...steps.map((s) => option(s.step, String(s.step))));
    stepBox.value = steps[steps.length - 1].step;
    sinceBox.replaceChildren(option("", "no step"), ...steps.map((s) => option(s.step, "step " + s.step)));
    openStep();
  }

  function openStep() {
    const step = stepOf(stepBox.value);
    line.textContent = stepLine(step);
    const since = sinceBox.value;
    changed.replaceChildren();
    if (since && Number(since) !== step.step) changed.append(changePanel(stage(), Number(since), step.step));
    items = chosen(step.groups, { verdict: verdictBox.value, live: liveBox.value, text: textBox.value });
    list.replaceChildren(...items.map(listItem));
    go(0);
  }

  function listItem(item, index) {
    const { prompt, rows, live } = item.group;
    const right = rows.filter((row) => row.outcome === "right").length;
    const told = right + " of " + rows.length + " right" + (live === false ? ", dead" : "");
    const element = make("div", { role: "option", id: "group-" + index }, prompt.slice(0, 120));
    element.append(make("span", { class: "told" }, told));
    element.addEventListener("click", () => go(index));
    return element;
  }

  function go(index) {
    at = Math.max(0, Math.min(items.length - 1, index));
    [...list.children].forEach((element, i) => element.setAttribute("aria-selected", String(i === at)));
    if (!items.length) {
      list.removeAttribute("aria-activedescendant");
      shown.replaceChildren(make("p", {}, "No sample in this page is like that."));
      return;
    }
    list.setAttribute("aria-activedescendant", "group-" + at);
    const element = list.children[at];
    if (element.offsetTop < list.scrollTop) list.scrollTop = element.offsetTop;
    const low = element.offsetTop + element.offsetHeight - list.clientHeight;
    if (low > list.scrollTop) list.scrollTop = low;
    showGroup(items[at]);
  }

  function showGroup(item) {
    const { group, rows } = item;
    const some = rows.length < group.rows.length;
    const of = some ? rows.length + " of its " + group.rows.length + " samples" : "";
    const dead = group.live === false ? "dead group: no advantages" : "";
    const told = [group.suite, group.group, dead, of].filter(Boolean).join(" · ");
    const prompt = make("pre", { class: "prompt" }, group.prompt);
    shown.replaceChildren(make("p", { class: "told" }, told), prompt, cards(rows));
    const since = sinceBox.value && sinceBox.value !== stepBox.value ? stepOf(sinceBox.value) : null;
    if (!since) return;
    const then = samePrompt(since, group);
    const words = then ? "The same problem at step " : "In this page the problem is not among those of step ";
    shown.append(make("h4", {}, words + since.step), ...(then ? [cards(then.rows)] : []));
  }

  function nextStep(by) {
    const to = stepBox.selectedIndex + by;
    if (to < 0 || to >= stepBox.options.length) return;
    stepBox.selectedIndex = to;
    openStep();
  }

  const keys = {
    ArrowDown: () => go(at + 1),
    ArrowUp: () => go(at - 1),
    ArrowRight: () => nextStep(1),
    ArrowLeft: () => nextStep(-1),
  };
  list.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  stageBox.addEventListener("change", openStage);
  for (const box of [stepBox, verdictBox, liveBox, sinceBox]) box.addEventListener("change", openStep);
  textBox.addEventListener("input", openStep);
  openStage();
}

browse(
  document.getElementById("browser"),
  JSON.parse(document.getElementById("browser-data").textContent),
);
"""

SCRIPT = LOGIC + PAGE
