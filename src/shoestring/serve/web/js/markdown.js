/**
 * A block of markdown -> nodes that are safe to show. Three walls: HTML in the text is shown as the text it is;
 * what marked makes goes through DOMPurify with a short list of what may pass; and the page's content policy
 * loads nothing from elsewhere. Formulas are built by KaTeX as nodes, never as a string of HTML.
 */

import DOMPurify from "../vendor/purify.es.js";
import { Marked } from "../vendor/marked.esm.js";

const TAGS =
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td hr br span sub sup";
const RULES = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", "data-tex", "data-display"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  ADD_URI_SAFE_ATTR: ["start", "align", "data-tex", "data-display"],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const PLAIN_HTML = /^<\/?(br|sub|sup)\s*\/?>$/i; // what models write in tables

const escape = (text) =>
  text.replace(
    /[&<>"']/g,
    (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[sign],
  );

const tex = (text, display) =>
  `<span class="tex" data-tex="${escape(text)}"${display ? ' data-display="1"' : ""}>${escape(text)}</span>`;

/** $$...$$ and \[...\] on lines of their own. */
const displayMaths = {
  name: "displayMaths",
  level: "block",
  start: (source) => /(?:^|\n)\s*(?:\$\$|\\\[)/.exec(source)?.index,
  tokenizer(source) {
    const found = /^\s*(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    if (found) return { type: "displayMaths", raw: found[0], text: (found[1] ?? found[2]).trim() };
  },
  renderer: (token) => `<p>${tex(token.text, true)}</p>`,
};

/** \(...\), $$...$$ and $...$ in a line; "$5 and $6" is money: no blank inside, no digit right after. */
const inlineMaths = {
  name: "inlineMaths",
  level: "inline",
  start: (source) => /\$|\\\(|\\\[/.exec(source)?.index,
  tokenizer(source) {
    const found =
      /^\\\(([\s\S]+?)\\\)/.exec(source) ??
      /^\\\[([\s\S]+?)\\\]/.exec(source) ??
      /^\$\$([^$]+?)\$\$/.exec(source) ??
      /^\$((?:[^\s$\\]|\\.)(?:(?:[^$\\\n]|\\.)*?(?:[^\s$\\]|\\.))?)\$(?!\d)/.exec(source);
    if (found) {
      const display = found[0].startsWith("$$") || found[0].startsWith("\\[");
      return { type: "inlineMaths", raw: found[0], text: found[1].trim(), display };
    }
  },
  renderer: (token) => tex(token.text, token.display),
};

const renderer = {
  html: ({ text }) => (PLAIN_HTML.test(text.trim()) ? text : escape(text)),
  // an image would be fetched from whoever the model names, with what it knows in the address
  image: ({ href, text }) => `<a href="${escape(href)}">image: ${escape(text || href)}</a>`,
  checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
};

const marked = new Marked({ gfm: true, breaks: true, extensions: [displayMaths, inlineMaths], renderer });

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** Markdown -> DocumentFragment. `finish` says whether formulas and code are dressed: not while they change. */
export function renderBlock(text, finish = true) {
  const fragment = DOMPurify.sanitize(marked.parse(text), RULES);
  if (finish) {
    for (const node of fragment.querySelectorAll("span.tex")) typeset(node);
    for (const node of fragment.querySelectorAll("pre > code")) highlight(node);
  }
  return fragment;
}

let katex = null;
/** Loaded with the first formula. One that isn't TeX stays the text that it was. */
async function typeset(node) {
  katex ??= import("../vendor/katex.js").then((found) => found.default);
  const made = document.createElement("span");
  // trust off: no links, no classes, no images; sizes are bounded, and macros can't run away
  const options = { displayMode: "display" in node.dataset, trust: false, strict: "ignore", maxSize: 20 };
  try {
    (await katex).render(node.dataset.tex, made, { ...options, maxExpand: 200, throwOnError: true });
    node.replaceChildren(...made.childNodes);
  } catch {
    node.classList.add("tex-error");
  }
}

const MOST_HIGHLIGHTED = 40000; // characters; beyond, colours aren't worth the wait
const COLOURED = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
let hljs = null;
/** Loaded with the first code; languages that it doesn't know stay plain. */
export async function highlight(node) {
  const name = /language-([\w+#-]+)/.exec(node.className)?.[1];
  if (!name || node.textContent.length > MOST_HIGHLIGHTED) return;
  hljs ??= import("../vendor/highlight.js").then((found) => found.default);
  const known = await hljs;
  if (!known.getLanguage(name)) return;
  const html = known.highlight(node.textContent, { language: name, ignoreIllegals: true }).value;
  node.replaceChildren(DOMPurify.sanitize(html, COLOURED));
}
