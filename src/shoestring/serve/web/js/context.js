/** How full the model's window is. What the server has counted is exact; the rest is estimated, and says so. */

import { path } from "./conversation.js";

const WIDE = /[\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]/g; // a token each, nearly

export function estimate(text) {
  const wide = text.match(WIDE)?.length ?? 0;
  return Math.ceil(wide + (text.length - wide) / 3.6);
}

const isCounted = (usage) => Number.isFinite(usage?.prompt_tokens + usage?.completion_tokens);

/**
 * {used, exact, window, share} for what would be sent with `draft`; window and share are null where the server
 * doesn't say how long the window is. Thinking of earlier turns isn't sent again, so it doesn't count.
 */
export function contextUse(conversation, draft, model) {
  const shown = path(conversation);
  const counted = shown.findLastIndex((node) => isCounted(node.reply?.usage));
  const { usage } = counted < 0 ? {} : shown[counted].reply;
  const thought = usage?.completion_tokens_details?.reasoning_tokens ?? 0;
  let used = usage ? usage.prompt_tokens + usage.completion_tokens - thought : estimate(conversation.system);
  for (const node of shown.slice(counted + 1)) used += estimate(node.text ?? node.reply.answer);
  used += estimate(draft);
  const window = model?.max_model_len ?? model?.context_length ?? null;
  const exact = counted >= 0 && counted === shown.length - 1 && !draft;
  return { used, exact, window, share: window ? used / window : null };
}

/** "", or what to say from 80 and from 95 % on. */
export function warning({ used, window, share }) {
  if (share === null || share < 0.8) return "";
  const full = `${Math.min(100, Math.floor(100 * share))} % of this model's window of ${window.toLocaleString("en")} tokens`;
  if (share >= 1)
    return `This is longer than the window: about ${used.toLocaleString("en")} tokens, and it holds ${window.toLocaleString("en")}. The server will refuse it.`;
  if (share >= 0.95) return `Nearly full: this conversation takes ${full}. A reply may be cut.`;
  return `This conversation takes ${full}.`;
}
