/**
 * Keeps the shell of the page (its files and nothing else) so that it opens without a connection. What the API
 * says is never kept. The network is asked first: after an update the new page is the one that is shown.
 */
const CACHE = "shoestring-shell";
const SHELL =
  /\/(?:$|index\.html$|runs\.html$|icon\.svg$|manifest\.webmanifest$|js\/[\w.]+$|css\/[\w.]+$|vendor\/[\w./-]+$)/;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", "runs.html", "icon.svg"])));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin || !SHELL.test(pathname)) return;
  event.respondWith(fromNetwork(event.request));
});

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
