/** The dialogs: what am I, settings, the key, shortcuts. */

import { modelCard } from "./card.js";
import { byId, iconButton } from "./dom.js";

export function setUpDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.prepend(iconButton("close", "Close", () => dialog.close(), { class: "quiet shut" }));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the backdrop
    });
  }
}

export function showCard(model) {
  byId("card-body").replaceChildren(...modelCard(model).filter(Boolean));
  byId("card").showModal();
}

const NUMBERS = { temperature: "temperature", topP: "top-p", maxTokens: "max-tokens" };

/** Filled when it opens, read when it closes. */
export class SettingsDialog {
  constructor(options, { conversation, save, keyChanged }) {
    this.options = options;
    this.dialog = byId("settings");
    this.open = () => {
      for (const [name, id] of Object.entries(NUMBERS)) byId(id).value = options[name] ?? "";
      byId("system").value = conversation().system;
      byId("show-thinking").value = options.showThinking;
      byId("theme").value = options.theme;
      byId("key").value = options.key;
      this.dialog.showModal();
    };
    this.dialog.addEventListener("close", () => {
      const read = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
      options.set({
        ...Object.fromEntries(Object.entries(NUMBERS).map(([name, id]) => [name, read(id)])),
        showThinking: byId("show-thinking").value,
        theme: byId("theme").value,
      });
      const current = conversation();
      if (current.system !== byId("system").value.trim()) {
        current.system = byId("system").value.trim();
        save(current);
      }
      if (byId("key").value !== options.key) {
        options.setKey(byId("key").value.trim(), byId("remember-key").checked);
        keyChanged();
      }
    });
  }

  /** The server wants a key, or another one. */
  askForKey() {
    if (this.dialog.open) return;
    this.open();
    byId("key").focus();
  }
}

/** Auto follows the system; the page's colours all follow color-scheme. */
export function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
}
