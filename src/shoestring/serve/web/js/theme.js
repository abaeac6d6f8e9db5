// Before anything is painted, so that a dark page doesn't flash white. A classic script: modules come too late.
try {
  document.documentElement.dataset.theme = JSON.parse(localStorage.getItem("shoestring.options")).theme;
} catch {
  // nothing kept: the system's
}
