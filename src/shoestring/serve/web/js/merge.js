/** One conversation as two tabs have it, made one again. Messages are only ever added, so none of either is lost. */

import { isLive } from "./reply.js";

const FIELDS = ["title", "system", "pinned"];

/** What `fold` must know of the last time that both were the same. */
export const basis = (conversation) => Object.fromEntries(FIELDS.map((name) => [name, conversation[name]]));

/**
 * Puts into `mine` what `other` has and it hasn't: messages, replies that have moved since, and a title, system
 * text or pin that wasn't changed here. `writes(id)` says which replies are written here: they are ours. Which
 * branch is shown stays as it is. Returns {moved: the nodes whose replies changed, changed: more than text did}.
 */
export function fold(mine, other, base = {}, writes = () => false) {
  const moved = [];
  let changed = false;
  for (const [id, node] of Object.entries(other.nodes)) {
    const own = mine.nodes[id];
    if (!own) {
      mine.nodes[id] = node;
      changed = true;
    } else if (node.reply && !writes(id) && (node.reply.moved ?? 0) > (own.reply.moved ?? 0)) {
      changed ||= isLive(node.reply) !== isLive(own.reply);
      Object.assign(own.reply, node.reply); // in place: what shows it holds it
      moved.push(own);
    }
  }
  for (const [parent, id] of Object.entries(other.chosen)) mine.chosen[parent] ??= id;
  for (const name of FIELDS) {
    if (name in base && mine[name] !== base[name]) continue;
    changed ||= mine[name] !== other[name];
    mine[name] = other[name];
  }
  mine.changed = Math.max(mine.changed, other.changed);
  return { moved, changed };
}
