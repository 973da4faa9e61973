// The large view of one cell: picture, result, facts.

import { announce, h } from "./elements.js";
import { bars, kind } from "./grid.js";
import { picture } from "./picture.js";

const SIDE = 400;

export class Viewer {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {import("./grid.js").Grid} grid its active cell follows the view
   * @param {() => Set<string>} unknown names of the classes that the model does not support
   */
  constructor(dialog, grid, unknown) {
    this.dialog = dialog;
    this.grid = grid;
    this.unknown = unknown;
    this.cell = null;
    dialog.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.#show(this.grid.neighbour(this.cell, steps[event.key]));
    });
    dialog.addEventListener("close", () => this.grid.root.focus({ preventScroll: true }));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  open(cell) {
    if (!cell) return;
    this.#show(cell);
    this.dialog.showModal();
    this.dialog.querySelector("[data-next]").focus();
  }

  /** Draw again if the cell has changed. */
  refresh() {
    if (this.dialog.open && this.cell.version !== this.version) this.#show(this.cell);
  }

  #show(cell) {
    if (!cell) return;
    const focused = this.dialog.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.cell = cell;
    this.version = cell.version;
    this.grid.activate(cell);
    const place = `${this.grid.cells.indexOf(cell) + 1} of ${this.grid.cells.length.toLocaleString("en")}`;
    const step = (by, attributes, text) =>
      h("button", { type: "button", ...attributes, onclick: () => this.#show(this.grid.neighbour(this.cell, by)) }, text);
    this.dialog.replaceChildren(h("div", { class: "viewer-body" },
      picture(cell, SIDE, `Image ${cell.path}`).frame,
      h("div", { class: "said" },
        h("div", { class: "viewer-head" },
          h("h2", { id: "viewer-class" }, title(cell)),
          step(-1, {}, "Previous"), step(1, { "data-next": true }, "Next"),
          h("button", { type: "button", "aria-label": "Close", onclick: () => this.dialog.close() }, "Close")),
        notes(cell),
        cell.result && bars(cell, 20, { shares: true, unknown: this.unknown() })),
      facts(cell, place)));
    if (focused) [...this.dialog.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
    announce(`${place}: ${title(cell)}`);
  }
}

function title(cell) {
  if (cell.result) return cell.result.predicted_class;
  return { waiting: "Waiting …", refused: "Refused", failed: "Not classified" }[cell.state];
}

function notes(cell) {
  const list = [];
  if (cell.fault) list.push(["", cell.fault.message]);
  if (cell.result) {
    list.push(...cell.result.review.map((reason) => [reason.code === "hairy_cell" ? "hairy" : "", reason.message]));
    if (cell.flagged || cell.result.hairy_cell.flag === null) {
      list.push([kind(cell) === "hairy" ? "hairy" : "plain", `Hairy-cell flag: ${cell.result.hairy_cell.advice}`]);
    }
  }
  if (cell.cropped) list.push(["plain", `The image has ${cell.size} pixels. Only the central 256×256 were classified.`]);
  return h("ul", { class: "notes" }, list.map(([name, text]) => h("li", { class: name }, text)));
}

function facts(cell, place) {
  const hairy = cell.result?.hairy_cell;
  const rows = [
    ["Position", place],
    ["File", cell.path],
    ["Pixels", cell.size],
    ["Hairy-cell probability", hairy && hairy.probability !== null &&
      `${hairy.probability.toFixed(4)}, threshold ${hairy.threshold.toFixed(4)}`],
    ["Novelty", cell.result?.novelty && `${cell.result.novelty.score.toFixed(2)}, unfamiliar above 1`],
    ["SHA-256 of the sent file", cell.sha256],
    ["Model", cell.model && `${cell.model.name} ${cell.model.version}, ${cell.model.precision}`],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
