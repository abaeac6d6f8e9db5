/**
 * A conversation is a tree: editing a message or asking again adds a branch and loses nothing. Plain values, so
 * that it can be stored and exported as it is.
 *
 * nodes[id] = {id, parent, role: "user", text} or {id, parent, role: "assistant", reply, pair}; `chosen` says
 * which child of a node (of "" at the top) is on the path that is shown. Replies with the same `pair` are shown
 * side by side.
 */

/** 128 random bits; crypto.randomUUID isn't there on a page over plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation(now) {
  return {
    id: newId(),
    title: "",
    created: now,
    changed: now,
    pinned: false,
    system: "",
    nodes: {},
    chosen: {},
  };
}

export function add(conversation, parent, values, now) {
  const node = { id: newId(), parent, at: now, ...values };
  conversation.nodes[node.id] = node;
  conversation.chosen[parent] = node.id;
  conversation.changed = now;
  if (node.role === "user" && !conversation.title) conversation.title = titleOf(node.text);
  return node;
}

/** From the text itself: no model is asked for it. */
export function titleOf(text) {
  const line = text.trim().split("\n")[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}

/** In the order in which they were made. */
export function children(conversation, parent) {
  return Object.values(conversation.nodes).filter((node) => node.parent === parent);
}

export const siblings = (conversation, node) => children(conversation, node.parent);

/** Those that stand beside it: itself alone unless models were compared. */
export function paired(conversation, node) {
  if (!node.pair) return [node];
  return siblings(conversation, node).filter((other) => other.pair === node.pair);
}

/** What is shown, from the top down. */
export function path(conversation) {
  const found = [];
  for (let at = conversation.chosen[""]; at && conversation.nodes[at]; at = conversation.chosen[at]) {
    found.push(conversation.nodes[at]);
  }
  return found;
}

export const leaf = (conversation) => path(conversation).at(-1) ?? null;

export function choose(conversation, node) {
  conversation.chosen[node.parent] = node.id;
}

/** One step to the left (-1) or right among a node's branches; a pair counts as one branch. */
export function step(conversation, node, by) {
  const all = branches(conversation, node);
  const next = all.nodes[all.index + by];
  if (next) choose(conversation, next);
}

/** {nodes: the first of each branch, index of the one that `node` is on} */
export function branches(conversation, node) {
  const all = siblings(conversation, node);
  const nodes = all.filter((one) => !one.pair || all.find((other) => other.pair === one.pair) === one);
  const index = nodes.findIndex((one) => one.id === node.id || (one.pair && one.pair === node.pair));
  return { nodes, index };
}

/** From the top to `node`, itself included. */
export function upTo(conversation, node) {
  const found = [];
  for (let at = node; at; at = conversation.nodes[at.parent]) found.unshift(at);
  return found;
}

/**
 * The API's messages for what leads to `node`. Thinking of earlier turns is left out, as the model was taught; a
 * reply that was broken off in its thinking is an empty answer, so that no open thinking reaches the model.
 */
export function messages(conversation, node) {
  const turns = upTo(conversation, node).map((one) =>
    one.role === "user"
      ? { role: "user", content: one.text }
      : { role: "assistant", content: one.reply.answer },
  );
  return conversation.system ? [{ role: "system", content: conversation.system }, ...turns] : turns;
}

/** All that a search looks at, of every branch. */
export function searchText(conversation) {
  const texts = Object.values(conversation.nodes).map((node) => node.text ?? node.reply.answer);
  return [conversation.title, ...texts].join("\n").toLowerCase();
}

/** What to carry into a new conversation when this one is full: short, and made without a model. */
export function summary(conversation) {
  const lines = path(conversation).map((node) => {
    const text = (node.text ?? node.reply.answer).trim().replace(/\s+/g, " ");
    return `${node.role === "user" ? "I" : "You"}: ${text.length > 240 ? `${text.slice(0, 237)}…` : text}`;
  });
  const kept = lines.length > 12 ? [...lines.slice(0, 2), "…", ...lines.slice(-8)] : lines;
  return `Our earlier conversation, in short:\n${kept.join("\n")}\n\nGo on from there: `;
}
