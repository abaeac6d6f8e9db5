/** The chat page: puts the parts together. */

import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { leaf, newConversation, path, summary } from "./conversation.js";
import { SettingsDialog, applyTheme, setUpDialogs, showCard } from "./dialogs.js";
import { byId, el, toast } from "./dom.js";
import { setUpKeys } from "./keys.js";
import { Models } from "./models.js";
import { Options } from "./options.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Thread } from "./thread.js";
import { Turns } from "./turns.js";

const options = new Options();
const api = new Api(() => options.key);
const models = new Models(options);
const store = await openStore();
const conversations = await store.all();
let current = newConversation(Date.now());

const save = async (conversation) => {
  if (!conversations.includes(conversation)) return;
  try {
    await store.put(conversation);
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
const thread = new Thread({ turns, options, edited: () => edited() });
const settings = new SettingsDialog(options, {
  conversation: () => current,
  save,
  keyChanged: () => loadModels(),
});
const composer = new Composer(options, {
  send: (text) => send(text),
  stop: () => turns.stop(current),
  carryOver: () => open(newConversation(Date.now()), summary(current)),
  editLast: () => editLast(),
  modelOf: () => models.current,
});
const sidebar = new Sidebar({ open, create: () => open(newConversation(Date.now())), save, remove, restore });

function draw() {
  thread.show(current);
  sidebar.show(conversations, current);
  composer.show(current, turns.runningIn(current));
  const begun = path(current).length > 0;
  byId("welcome").hidden = begun;
  byId("title").hidden = !begun;
  byId("title").textContent = current.title;
  document.title = current.title ? `${current.title} – Shoestring` : "Shoestring";
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
  turns.stop(conversation);
  conversations.splice(conversations.indexOf(conversation), 1);
  await store.remove(conversation.id);
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
  if (last && !turns.runningIn(current)) thread.edit(last);
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
  stop: () => turns.stop(current),
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
const latest = conversations.toSorted((a, b) => b.changed - a.changed)[0];
// a reply that was broken off is what one comes back for
if (latest && leaf(latest)?.reply?.state === "broken") current = latest;
await loadModels();
if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => {});
