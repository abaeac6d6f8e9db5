/** Elements without a framework. Text is always set as text. */

/** el("p", {class: "x", on: {click}, data: {id}, text: "hi"}, ...children) */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [type, heard] of Object.entries(value)) node.addEventListener(type, heard);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "text") node.textContent = value;
    else if (name === "value" || name === "checked" || name === "hidden") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

// 24 x 24 outlines of our own
const SHAPES = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  again: "M19 12a7 7 0 1 1-2.1-5M19 4v4h-4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  close: "M6 6l12 12M18 6L6 18",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  columns: "M4 5h7v14H4zM13 5h7v14h-7z",
  info: "M12 11v6M12 7.5v.5M3 12a9 9 0 1 0 18 0 9 9 0 1 0-18 0",
  tune: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  curve: "M4 19V5M4 19h16M7 15l4-5 3 2 5-6",
  branch: "M7 5v14M7 9c0 4 10 2 10 8M7 5a1 1 0 1 0 .1 0M17 18a1 1 0 1 0 .1 0",
  moon: "M19 14A8 8 0 0 1 10 5a8 8 0 1 0 9 9z",
  out: "M12 4v11M7 9l5-5 5 5M5 19h14",
  in: "M12 4v11M7 10l5 5 5-5M5 19h14",
  go: "M7 5l11 7-11 7z",
  chat: "M4 5h16v11H11l-5 4v-4H4z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon; `label` is what a screen reader says and the tooltip shows. */
export function iconButton(name, label, clicked, props = {}) {
  return el(
    "button",
    { type: "button", class: "quiet", "aria-label": label, title: label, on: { click: clicked }, ...props },
    icon(name),
  );
}

/** The clipboard's own door is open on safe origins only; a page over plain http in the house takes the old one. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    const field = el("textarea", { class: "unseen", value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  toast("Copied.");
}

/** Hand the user a file that was made here; nothing is sent anywhere. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** For screen readers: one polite line. A reply's tokens are never announced one by one. */
export function announce(text) {
  byId("announce").textContent = text;
}

let toastTimer = 0;
/** A word at the edge of the page; `action` is {text, run} for a button in it. */
export function toast(text, action = null) {
  const box = byId("toast");
  const run = () => {
    box.hidden = true;
    action.run();
  };
  box.replaceChildren(
    text,
    action ? el("button", { type: "button", text: action.text, on: { click: run } }) : "",
  );
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), action ? 8000 : 4000);
}
