/** The chat page: puts the parts together. */

import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { leaf, newConversation, path, summary } from "./conversation.js";
import { SettingsDialog, applyTheme, setUpDialogs, showCard } from "./dialogs.js";
import { byId, el, toast } from "./dom.js";
import { setUpKeys } from "./keys.js";
import { Models } from "./models.js";
import { Options } from "./options.js";
import { isLive } from "./reply.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Tabs } from "./tabs.js";
import { Thread } from "./thread.js";
import { Turns } from "./turns.js";

const WATCH_MS = 4000;

const options = new Options();
const api = new Api(() => options.key);
const models = new Models(options);
const store = await openStore();
const conversations = [];
let current = newConversation(Date.now());
let loaded = false;

const save = async (conversation) => {
  if (!conversations.includes(conversation)) return;
  try {
    const news = await store.put(conversation, (id) => turns.writes(id));
    tabs.tell("kept", { id: conversation.id });
    show(news);
  } catch (error) {
    toast(`This browser could not keep the conversation: ${error.message}`);
  }
};
const turns = new Turns({
  api,
  options,
  save,
  changed: () => draw(),
  moved: (node) => thread.moved(node),
  refused: () => settings.askForKey(),
});
const tabs = new Tabs(
  {
    kept: (id) => takeIn(id),
    removed: (id) => drop(byKey(id)),
    stop: (id) => turns.stop(byKey(id)),
  },
  () => turns.writing,
);
const thread = new Thread({ turns, options, edited: () => edited() });
const settings = new SettingsDialog(options, {
  conversation: () => current,
  save,
  keyChanged: () => loadModels(),
});
const composer = new Composer(options, {
  send: (text) => send(text),
  stop,
  carryOver: () => open(newConversation(Date.now()), summary(current)),
  editLast: () => editLast(),
  modelOf: () => models.current,
});
const sidebar = new Sidebar({ open, create: () => open(newConversation(Date.now())), save, remove, restore });

function draw() {
  thread.show(current);
  sidebar.show(conversations, current);
  composer.show(current, isBusy(current));
  const begun = path(current).length > 0;
  byId("welcome").hidden = begun;
  byId("title").hidden = !begun;
  byId("title").textContent = current.title;
  document.title = current.title ? `${current.title} – Shoestring` : "Shoestring";
}

const byKey = (id) => conversations.find((one) => one.id === id);
const isWritten = (one) => Object.values(one.nodes).some(({ reply }) => reply && isLive(reply));
/** A reply of it is being written, here or in another tab. */
const isBusy = (one) => turns.runningIn(one) || isWritten(one);

/** What came from another tab. */
function show({ moved, changed }) {
  for (const node of moved) thread.moved(node);
  if (changed) draw();
}

async function takeIn(id) {
  const kept = loaded && (await store.get(id));
  if (!kept) return;
  const own = byKey(id);
  if (own) return show(store.take(own, kept, (one) => turns.writes(one)));
  conversations.push(kept);
  draw();
}

/** Replies that a tab was writing which isn't there any more: closed, or broken. */
async function settleLeft(patience) {
  const elsewhere = await tabs.writing(patience);
  for (const one of conversations.filter(isWritten)) {
    if (!(await store.settle(one, elsewhere, (id) => turns.writes(id)))) continue;
    for (const node of path(one)) if (node.reply) thread.moved(node);
  }
  draw();
}

/** A tab that is closed can't tell others any more, so they ask. */
function watch() {
  const left = conversations.some((one) => isWritten(one) && !turns.runningIn(one));
  if (left) settleLeft(WATCH_MS / 2);
}

function stop() {
  turns.stop(current);
  if (!conversations.includes(current) || turns.runningIn(current) || !isWritten(current)) return;
  tabs.tell("stop", { id: current.id });
  settleLeft(); // or nobody writes it any more
}

function edited() {
  save(current);
  draw();
}

function open(conversation, draft = null) {
  current = conversation;
  document.body.classList.remove("sidebar-over");
  draw();
  thread.scrollToEnd();
  if (draft === null) byId("draft").focus();
  else composer.write(draft);
}

function send(text) {
  if (!conversations.includes(current)) conversations.push(current);
  thread.scrollToEnd();
  return turns.send(current, text);
}

async function remove(conversation) {
  drop(conversation); // first: what is still being written of it must not be kept again
  await store.remove(conversation.id);
  tabs.tell("removed", { id: conversation.id });
}

function drop(conversation) {
  if (!conversation) return;
  turns.stop(conversation);
  conversations.splice(conversations.indexOf(conversation), 1);
  if (conversation === current) open(newConversation(Date.now()));
  else draw();
}

async function restore(conversation) {
  conversations.push(conversation);
  await save(conversation);
  draw();
}

function editLast() {
  const last = path(current).findLast((node) => node.role === "user");
  if (last && !isBusy(current)) thread.edit(last);
}

async function loadModels() {
  const trouble = byId("trouble");
  try {
    await models.load(api);
    trouble.hidden = true;
  } catch (error) {
    trouble.hidden = false;
    trouble.replaceChildren(
      error.message,
      el("button", { type: "button", class: "word", text: "Try again", on: { click: loadModels } }),
    );
    if (error.status === 401) settings.askForKey();
  }
  draw();
}

setUpDialogs();
setUpKeys({
  stop,
  create: () => open(newConversation(Date.now())),
  composer,
  sidebar,
});
options.addEventListener("change", () => applyTheme(options.theme));
applyTheme(options.theme);
byId("what").addEventListener("click", () => models.current && showCard(models.current));
byId("open-settings").addEventListener("click", () => settings.open());
for (const button of document.querySelectorAll(".try"))
  button.addEventListener("click", () => send(button.textContent));
byId("where").textContent = store.lasting
  ? `Kept in this browser and nowhere else. ${location.host} makes the replies and keeps none, unless told to log.`
  : "This browser keeps nothing here (a private window?): conversations are gone when the page is closed. Export what you want to keep.";
conversations.push(...(await store.all(() => tabs.writing())));
loaded = true;
setInterval(watch, WATCH_MS);
const latest = conversations.toSorted((a, b) => b.changed - a.changed)[0];
// a reply that was broken off is what one comes back for
if (latest && leaf(latest)?.reply?.state === "broken") current = latest;
await loadModels();
try {
  await navigator.serviceWorker?.register("sw.js");
} catch {
  // site data is blocked: it opens with a connection only
}
