/**
 * Keeps the shell of the page (its files and nothing else) so that it opens without a connection. What the API
 * says is never kept. The network is asked first: after an update the new page is the one that is shown.
 */
const CACHE = "shoestring-shell";
// all of them, from the first visit on: a formula may come up for the first time where there is no connection
const FILES = `
  ./ index.html runs.html icon.svg manifest.webmanifest
  css/base.css css/chat.css css/markdown.css css/runs.css js/api.js js/blocks.js js/card.js js/code_view.js
  js/composer.js js/context.js js/conversation.js js/curves.js js/dialogs.js js/dom.js js/kept.js js/keys.js
  js/main.js js/markdown.js js/merge.js js/models.js js/options.js js/reply.js js/reply_view.js
  js/rollouts.js js/run_parts.js js/runs.js js/sidebar.js js/sse.js js/store.js js/stream_view.js js/tabs.js
  js/theme.js js/thinking.js js/thread.js js/transfer.js js/turns.js js/words.js vendor/highlight.js
  vendor/katex.js vendor/katex.min.css vendor/marked.esm.js vendor/purify.es.js vendor/uPlot.esm.js
  vendor/uPlot.min.css vendor/fonts/KaTeX_AMS-Regular.woff2 vendor/fonts/KaTeX_Caligraphic-Bold.woff2
  vendor/fonts/KaTeX_Caligraphic-Regular.woff2 vendor/fonts/KaTeX_Fraktur-Bold.woff2
  vendor/fonts/KaTeX_Fraktur-Regular.woff2 vendor/fonts/KaTeX_Main-Bold.woff2
  vendor/fonts/KaTeX_Main-BoldItalic.woff2 vendor/fonts/KaTeX_Main-Italic.woff2
  vendor/fonts/KaTeX_Main-Regular.woff2 vendor/fonts/KaTeX_Math-BoldItalic.woff2
  vendor/fonts/KaTeX_Math-Italic.woff2 vendor/fonts/KaTeX_SansSerif-Bold.woff2
  vendor/fonts/KaTeX_SansSerif-Italic.woff2 vendor/fonts/KaTeX_SansSerif-Regular.woff2
  vendor/fonts/KaTeX_Script-Regular.woff2 vendor/fonts/KaTeX_Size1-Regular.woff2
  vendor/fonts/KaTeX_Size2-Regular.woff2 vendor/fonts/KaTeX_Size3-Regular.woff2
  vendor/fonts/KaTeX_Size4-Regular.woff2 vendor/fonts/KaTeX_Typewriter-Regular.woff2
`
  .trim()
  .split(/\s+/);
const SHELL = new Set(FILES.map((name) => new URL(name, location).pathname));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(takeOver()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin || !SHELL.has(pathname)) return;
  event.respondWith(fromNetwork(event.request));
});

async function takeOver() {
  const cache = await caches.open(CACHE);
  for (const request of await cache.keys()) {
    if (!SHELL.has(new URL(request.url).pathname)) await cache.delete(request); // of an older version
  }
  await self.clients.claim();
}

async function fromNetwork(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
