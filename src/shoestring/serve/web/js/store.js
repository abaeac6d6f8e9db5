/** Conversations, kept in this browser (IndexedDB) and nowhere else. */

import { settle } from "./transfer.js";

const LIVE = "shoestring.live.";

function request(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function openDatabase() {
  const asked = indexedDB.open("shoestring", 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore("conversations", { keyPath: "id" });
  return request(asked);
}

/** A browser that refuses IndexedDB (some private windows) gets a store that lasts as long as the page. */
export async function openStore() {
  try {
    return new Store(await openDatabase());
  } catch {
    return new MemoryStore();
  }
}

class Store {
  lasting = true;

  constructor(database) {
    this.database = database;
  }

  #conversations(mode) {
    return this.database.transaction("conversations", mode).objectStore("conversations");
  }

  /** With what `keepLive` kept of replies that the page left behind put back in. */
  async all() {
    const found = await request(this.#conversations("readonly").getAll());
    for (const conversation of found) {
      const left = recover(conversation);
      if (!settle(conversation, Date.now()) && !left.length) continue;
      await this.put(conversation);
      for (const key of left) localStorage.removeItem(key);
    }
    return found;
  }

  async put(conversation) {
    await request(this.#conversations("readwrite").put(conversation));
  }

  async remove(id) {
    await request(this.#conversations("readwrite").delete(id));
  }
}

class MemoryStore {
  lasting = false;
  #kept = new Map();

  async all() {
    return [...this.#kept.values()];
  }

  async put(conversation) {
    this.#kept.set(conversation.id, structuredClone(conversation));
  }

  async remove(id) {
    this.#kept.delete(id);
  }
}

/**
 * The page is going away in mid-stream: a database can't be waited for then, localStorage can. `recover` puts
 * it back, so what had come is kept to the last token.
 */
export function keepLive(nodes) {
  for (const node of nodes) {
    try {
      localStorage.setItem(LIVE + node.id, JSON.stringify(node.reply));
    } catch {
      // full, or refused: what the database had a moment ago is still there
    }
  }
}

/** The keys whose replies were put back. */
function recover(conversation) {
  const left = [];
  for (const node of Object.values(conversation.nodes)) {
    const kept = localStorage.getItem(LIVE + node.id);
    if (kept === null) continue;
    node.reply = JSON.parse(kept);
    left.push(LIVE + node.id);
  }
  return left;
}
