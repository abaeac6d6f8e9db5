/** The list of conversations: search, pin, delete, export, import. */

import { fromFile, toJson, toMarkdown } from "./transfer.js";
import { searchText } from "./conversation.js";
import { byId, download, el, iconButton, toast } from "./dom.js";
import { day, plural } from "./words.js";

export class Sidebar {
  #conversations = [];
  #current = null;

  /** `does`: {open, create, save, remove, restore} */
  constructor(does) {
    this.does = does;
    this.list = byId("conversations");
    this.search = byId("search");
    this.search.addEventListener("input", () => this.draw());
    byId("new-chat").addEventListener("click", () => does.create());
    byId("export").addEventListener("click", () => this.exportAll());
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.#import(event.target));
    this.list.addEventListener("keydown", (event) => this.#arrows(event));
  }

  show(conversations, current) {
    this.#conversations = conversations;
    this.#current = current;
    this.draw();
  }

  draw() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.#conversations
      .filter((one) => Object.keys(one.nodes).length && (!wanted || searchText(one).includes(wanted)))
      .sort((a, b) => b.pinned - a.pinned || b.changed - a.changed);
    const rows = [];
    let last = "";
    for (const one of found) {
      const group = one.pinned ? "Pinned" : day(one.changed);
      if (group !== last) rows.push(el("h2", { text: group }));
      last = group;
      rows.push(this.#row(one));
    }
    const none = wanted
      ? `Nothing with “${this.search.value.trim()}” in it.`
      : "Your conversations will be here.";
    this.list.replaceChildren(...(rows.length ? rows : [el("p", { class: "none", text: none })]));
  }

  #row(one) {
    const current = one === this.#current;
    const open = el(
      "button",
      {
        type: "button",
        class: "open",
        "aria-current": current && "true",
        title: one.title,
        on: { click: () => this.does.open(one) },
      },
      one.title || "Conversation",
    );
    const pin = iconButton("pin", one.pinned ? "Unpin" : "Pin", () => this.#pin(one));
    const out = iconButton("out", "Save as Markdown", () => exportOne(one));
    const bin = iconButton("bin", "Delete", () => this.#remove(one));
    pin.classList.toggle("on", one.pinned);
    return el("div", { class: current ? "row current" : "row" }, open, pin, out, bin);
  }

  async #pin(one) {
    one.pinned = !one.pinned;
    await this.does.save(one);
    this.draw();
  }

  async #remove(one) {
    await this.does.remove(one);
    toast(`Deleted “${one.title || "Conversation"}”.`, { text: "Undo", run: () => this.does.restore(one) });
  }

  exportAll() {
    const kept = this.#conversations.filter((one) => Object.keys(one.nodes).length);
    if (!kept.length) return toast("There is nothing to export yet.");
    download(`shoestring-${new Date().toISOString().slice(0, 10)}.json`, "application/json", toJson(kept));
    toast(`${plural(kept.length, "conversation")} exported, with all branches.`);
  }

  async #import(input) {
    for (const file of input.files) {
      try {
        const found = fromFile(file.name, await file.text(), Date.now());
        for (const one of found) await this.does.restore(one);
        toast(`${plural(found.length, "conversation")} imported.`);
      } catch (error) {
        toast(`${file.name}: ${error.message}`);
      }
    }
    input.value = "";
  }

  #arrows(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const all = [...this.list.querySelectorAll(".open")];
    all[all.indexOf(document.activeElement.closest(".row")?.querySelector(".open")) + by]?.focus();
  }
}

function exportOne(one) {
  const name = (one.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);
  download(`${name}.md`, "text/markdown", toMarkdown(one));
}
