/** The browser's two small storages. Where site data is blocked the very naming of them throws. */

/** Like the Storage called `name`; what that refuses is held until the page is closed. */
class Kept {
  #name;
  #held = new Map();

  constructor(name) {
    this.#name = name;
  }

  get(key) {
    if (this.#held.has(key)) return this.#held.get(key);
    try {
      return globalThis[this.#name].getItem(key);
    } catch {
      return null;
    }
  }

  set(key, text) {
    try {
      globalThis[this.#name].setItem(key, text);
      this.#held.delete(key);
    } catch {
      this.#held.set(key, text); // refused, or full
    }
  }

  remove(key) {
    this.#held.delete(key);
    try {
      globalThis[this.#name].removeItem(key);
    } catch {
      // then there is nothing to remove
    }
  }
}

export const inTab = new Kept("sessionStorage");
export const inBrowser = new Kept("localStorage");
