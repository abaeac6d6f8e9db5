/** Keys that work anywhere on the page. */

import { byId } from "./dom.js";

export function setUpKeys({ stop, create, composer, sidebar }) {
  for (const button of document.querySelectorAll("[data-sidebar]"))
    button.addEventListener("click", toggleSidebar);
  addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey;
    const writing = event.target.matches?.("input, textarea, select");
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      document.body.classList.remove("sidebar-over");
      stop();
    } else if (command && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!sidebarShown()) toggleSidebar();
      sidebar.search.focus();
    } else if (command && event.shiftKey && event.key.toLowerCase() === "o") {
      event.preventDefault();
      create();
    } else if (event.key === "/" && !writing) {
      event.preventDefault();
      composer.field.focus();
    } else if (event.key === "?" && !writing) {
      byId("shortcuts").showModal();
    }
  });
}

const narrow = matchMedia("(max-width: 52rem)");

const sidebarShown = () =>
  narrow.matches
    ? document.body.classList.contains("sidebar-over")
    : !document.body.classList.contains("sidebar-off");

/** Beside the conversation where there is room, over it where there is none. */
function toggleSidebar() {
  document.body.classList.toggle(narrow.matches ? "sidebar-over" : "sidebar-off");
  const shown = sidebarShown();
  for (const button of document.querySelectorAll("[data-sidebar]"))
    button.setAttribute("aria-expanded", String(shown));
}
