// Events of the whole document: chosen and dropped files, dragged cells, keys that work everywhere.

import { chosen, dropped } from "./intake.js";

export const CELLS = "application/x-hal-cells";

/** Mark the place under a dragged cell. */
function over(target) {
  for (const one of document.querySelectorAll(".over")) if (one !== target) one.classList.remove("over");
  target?.classList.add("over");
}

/**
 * @param {import("./store.js").Store} store
 * @param {(given: {files: [File, string][], unreadable?: string[]}|Promise) => void} add takes image files
 */
export function listen(store, add) {
  for (const id of ["images", "folder"]) {
    document.getElementById(id).addEventListener("change", ({ target }) => (add({ files: chosen(target) }), (target.value = "")));
  }

  addEventListener("dragover", (event) => {
    event.preventDefault();
    const { types } = event.dataTransfer;
    if (types.includes(CELLS)) over(event.target.closest?.("[data-place]"));
    document.body.classList.toggle("dragging", types.includes("Files"));
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
  addEventListener("dragend", () => over(null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    over(null);
    if (event.dataTransfer.types?.includes(CELLS)) {
      const place = event.target.closest?.("[data-place]")?.dataset.place;
      if (place) store.decisions.reclassify(place);
    } else add(dropped(event.dataTransfer));
  });
  addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=range]), textarea, select")) return;
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (control && key === "z") event.shiftKey ? store.decisions.redo() : store.decisions.undo();
    else if (control && key === "y") store.decisions.redo();
    else if (key === "?" && !store.dialog) store.show("keys");
    else return;
    event.preventDefault();
  });
}
