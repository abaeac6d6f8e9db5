/** Conversations, kept in this browser (IndexedDB) and nowhere else. */

import { inBrowser } from "./kept.js";
import { basis, fold } from "./merge.js";
import { isLive } from "./reply.js";
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

const NOTHING = { moved: [], changed: false };
const hasLive = ({ nodes }) => Object.values(nodes).some(({ reply }) => reply && isLive(reply));

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
  #bases = new Map(); // conversation id -> as it and the database last agreed

  constructor(database) {
    this.database = database;
  }

  #conversations(mode) {
    return this.database.transaction("conversations", mode).objectStore("conversations");
  }

  /** With what pages that were closed left of their replies put back in; `writing()`: as other tabs tell it. */
  async all(writing) {
    const found = await request(this.#conversations("readonly").getAll());
    for (const one of found) this.#bases.set(one.id, basis(one));
    const elsewhere = found.some(hasLive) ? await writing() : new Set();
    for (const one of found) await this.settle(one, elsewhere);
    return found;
  }

  /**
   * What `keepLive` kept is put back, and what is written neither here nor `elsewhere` says that it was cut off.
   * Whether anything changed.
   */
  async settle(conversation, elsewhere, writes = () => false) {
    const left = recover(conversation);
    const isWritten = (id) => writes(id) || elsewhere.has(id);
    if (!settle(conversation, Date.now(), isWritten) && !left.length) return false;
    await this.put(conversation, writes);
    for (const key of left) inBrowser.remove(key);
    return true;
  }

  /**
   * Together with what another tab may have put since: in one transaction, so that neither loses a message. What
   * `fold` says that `conversation` has got by it.
   */
  async put(conversation, writes) {
    const conversations = this.#conversations("readwrite");
    const other = await request(conversations.get(conversation.id));
    const news = other ? fold(conversation, other, this.#bases.get(conversation.id), writes) : NOTHING;
    await request(conversations.put(conversation));
    this.#bases.set(conversation.id, basis(conversation));
    return news;
  }

  /** As it is kept, or undefined. */
  async get(id) {
    return request(this.#conversations("readonly").get(id));
  }

  /** `other`, as it is kept, put into `conversation`. */
  take(conversation, other, writes) {
    const news = fold(conversation, other, this.#bases.get(other.id), writes);
    this.#bases.set(other.id, basis(other));
    return news;
  }

  async remove(id) {
    this.#bases.delete(id);
    await request(this.#conversations("readwrite").delete(id));
  }
}

class MemoryStore {
  lasting = false;
  #kept = new Map();

  async all() {
    return [...this.#kept.values()];
  }

  async settle() {
    return false;
  }

  async put(conversation) {
    this.#kept.set(conversation.id, structuredClone(conversation));
    return NOTHING;
  }

  async get() {
    return undefined; // no other tab sees it
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
  // where it is full, or refused, what the database had a moment ago is still there
  for (const node of nodes) inBrowser.set(LIVE + node.id, JSON.stringify(node.reply));
}

/** The keys whose replies were put back. */
function recover(conversation) {
  const left = [];
  for (const node of Object.values(conversation.nodes)) {
    const kept = inBrowser.get(LIVE + node.id);
    if (kept === null) continue;
    const reply = JSON.parse(kept);
    // in place: what shows it holds it. The page may have come back since, and written on
    if ((reply.moved ?? 0) >= (node.reply.moved ?? 0)) Object.assign(node.reply, reply);
    left.push(LIVE + node.id);
  }
  return left;
}
