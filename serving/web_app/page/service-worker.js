// Keeps all files of the page, so that it works without a network. `FILES` is put in when the page
// is written; another version of any of them is another name of the cache. All pages of a server's
// address share its caches, so the name has the page's own address, too.
const OWN = `levit ${self.registration.scope} `;
const CACHE = `${OWN}VERSION`;
const FILES = [];

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      // The browser's other cache may have files of an earlier version, so the server is asked;
      // those that are unchanged, which the page has just loaded, are not sent again.
      .then((cache) => cache.addAll(FILES.map((name) => new Request(name, { cache: "no-cache" }))))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  const others = (names) => names.filter((name) => name.startsWith(OWN) && name !== CACHE);
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(others(names).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  event.respondWith(
    caches
      .match(event.request, { ignoreSearch: true, cacheName: CACHE })
      .then((found) => found ?? fetch(event.request)),
  );
});
