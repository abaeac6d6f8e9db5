/** What happens on send, stop, edit, ask again and go on: it changes the conversation and runs its replies. */

import { announce } from "./dom.js";
import { add, leaf, messages, newId } from "./conversation.js";
import { ApiError } from "./api.js";
import { chatBody } from "./options.js";
import { endEarly, goOn, isLive, newReply, stateWords, take } from "./reply.js";
import { keepLive } from "./store.js";

const SAVE_MS = 400;

export class Turns {
  #running = new Map(); // node id -> {node, conversation, controller}

  /**
   * `save(conversation)`; `changed()` after the tree has changed; `moved(node)` after a reply has.
   */
  constructor({ api, options, save, changed, moved, refused }) {
    Object.assign(this, { api, options, save, changed, moved, refused });
    addEventListener("pagehide", () => keepLive([...this.#running.values()].map(({ node }) => node)));
  }

  runningIn(conversation) {
    return [...this.#running.values()].some((run) => run.conversation === conversation);
  }

  /** Whether the reply with this id is written by this tab. */
  writes(id) {
    return this.#running.has(id);
  }

  get writing() {
    return [...this.#running.keys()];
  }

  send(conversation, text) {
    const parent = leaf(conversation)?.id ?? "";
    return this.#ask(conversation, add(conversation, parent, { role: "user", text }, Date.now()));
  }

  /** A new branch beside `node`, a message of the user's. */
  edit(conversation, node, text) {
    return this.#ask(conversation, add(conversation, node.parent, { role: "user", text }, Date.now()));
  }

  /** A new branch beside `node`, a reply. */
  again(conversation, node) {
    return this.#ask(conversation, conversation.nodes[node.parent]);
  }

  /** From the tokens it has: the server is handed the beginning of the reply, and writes on. */
  continue(conversation, node) {
    const { thinking, answer } = node.reply;
    goOn(node.reply, Date.now());
    const begun = { role: "assistant", content: answer, prefix: true };
    if (thinking) begun.reasoning_content = thinking;
    const asked = [...messages(conversation, conversation.nodes[node.parent]), begun];
    // asked as it was, since thinking that is on or off makes another prompt; a budget opens thinking, so it
    // goes with a reply that is thinking alone
    const { model, asked: think = "auto" } = node.reply;
    const options = thinking && !answer ? this.options : { ...this.options, budget: null };
    return this.#run(conversation, node, chatBody(options, model, think, asked));
  }

  /** Closes the connections: the server hears of it and stops. */
  stop(conversation) {
    for (const run of this.#running.values()) if (run.conversation === conversation) run.controller.abort();
  }

  #ask(conversation, user) {
    const { options } = this;
    const wanted = [{ model: options.model, think: options.think }];
    if (options.compare) wanted.push({ model: options.other || options.model, think: options.otherThink });
    const pair = wanted.length > 1 ? newId() : undefined;
    const now = Date.now();
    const runs = wanted.map(({ model, think }) => {
      const reply = newReply(model, think === "off" ? null : options.budget, now);
      reply.asked = think;
      const node = add(conversation, user.id, { role: "assistant", reply, ...(pair && { pair }) }, now);
      return [node, chatBody(options, model, think, messages(conversation, user))];
    });
    conversation.chosen[user.id] = runs[0][0].id;
    return Promise.all(runs.map(([node, body]) => this.#run(conversation, node, body)));
  }

  async #run(conversation, node, body) {
    const controller = new AbortController();
    const { reply } = node;
    this.#running.set(node.id, { node, conversation, controller });
    this.changed();
    await this.save(conversation);
    const saving = setInterval(() => this.save(conversation), SAVE_MS);
    try {
      for await (const event of this.api.chat(body, controller.signal)) this.#take(node, event);
      if (isLive(reply)) endEarly(reply, "failed", Date.now(), "The server ended without saying how.");
    } catch (error) {
      if (controller.signal.aborted) endEarly(reply, "stopped", Date.now());
      else this.#failed(reply, error);
    } finally {
      clearInterval(saving);
      this.#running.delete(node.id);
      await this.save(conversation);
      this.moved(node);
      this.changed();
      announce(stateWords(reply));
    }
  }

  #take(node, event) {
    const before = node.reply.state;
    take(node.reply, event, Date.now());
    this.moved(node);
    if (node.reply.state !== before && isLive(node.reply)) announce(stateWords(node.reply));
  }

  #failed(reply, error) {
    if (!(error instanceof ApiError)) console.error(error); // a fault of this page: the reply says so too
    const later = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    endEarly(reply, "failed", Date.now(), error.message + later);
    if (error.status === 401 || error.status === 403) this.refused();
  }
}
