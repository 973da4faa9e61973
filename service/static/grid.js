// The grid of cells: only those in view are in the document, so that thousands of images scroll smoothly.

import { h, probability } from "./elements.js";
import { picture } from "./picture.js";

const NARROWEST = 168;
const HEIGHT = 288;
const GAP = 12;
const SPARE_ROWS = 2;
const SIDE = 128;

export class Grid {
  /**
   * @param {HTMLElement} root a focusable list box
   * @param {(cell: import("./cell.js").Cell) => void} open called to open the large view of a cell
   */
  constructor(root, open) {
    this.root = root;
    this.open = open;
    this.cells = [];
    this.active = null;
    this.visited = false;
    this.cards = new Map();
    this.columns = 1;
    new ResizeObserver(() => this.#layout()).observe(root);
    let drawing = false;
    const draw = () => {
      if (drawing) return;
      drawing = true;
      requestAnimationFrame(() => ((drawing = false), this.#draw()));
    };
    addEventListener("scroll", draw, { passive: true });
    addEventListener("resize", draw, { passive: true });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("click", (event) => {
      const card = event.target.closest(".cell");
      if (!card) return;
      this.activate(this.cells.find((cell) => cell.id === card.id));
      this.open(this.active);
    });
  }

  /** Show these cells in this order; an active cell that the user chose stays active. */
  show(cells) {
    this.cells = cells;
    this.visited &&= cells.includes(this.active);
    if (!this.visited) this.active = cells[0] ?? null;
    this.root.hidden = !cells.length;
    this.#layout();
  }

  /** Make a cell the active one and bring it into view. */
  activate(cell) {
    this.active = cell;
    this.visited = true;
    const place = this.cells.indexOf(cell);
    if (place < 0) return;
    const top = this.root.getBoundingClientRect().top + Math.floor(place / this.columns) * (HEIGHT + GAP);
    if (top < 0) scrollBy({ top: top - GAP });
    else if (top + HEIGHT > innerHeight) scrollBy({ top: top + HEIGHT - innerHeight + GAP });
    this.#draw();
  }

  /** The cell `step` places further, at most the first or last. */
  neighbour(cell, step) {
    const place = this.cells.indexOf(cell) + step;
    return this.cells[Math.max(0, Math.min(this.cells.length - 1, place))] ?? null;
  }

  #key(event) {
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -3 * this.columns, PageDown: 3 * this.columns, Home: -Infinity, End: Infinity,
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.activate(this.neighbour(this.active, steps[event.key]));
    else if (event.key === "Enter" || event.key === " ") this.open(this.active);
    else return;
    event.preventDefault();
  }

  #layout() {
    const width = this.root.clientWidth;
    this.columns = Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)));
    this.width = (width - GAP * (this.columns - 1)) / this.columns;
    const rows = Math.ceil(this.cells.length / this.columns);
    this.root.style.height = `${Math.max(0, rows * (HEIGHT + GAP) - GAP)}px`;
    this.#draw();
  }

  #draw() {
    const above = -this.root.getBoundingClientRect().top;
    const row = HEIGHT + GAP;
    const first = Math.max(0, (Math.floor(above / row) - SPARE_ROWS) * this.columns);
    const last = Math.min(this.cells.length, (Math.ceil((above + innerHeight) / row) + SPARE_ROWS) * this.columns);
    const shown = new Map();
    for (let place = first; place < last; place++) shown.set(this.cells[place].id, place);
    const active = this.cells.indexOf(this.active);
    if (active >= 0) shown.set(this.active.id, active);
    for (const [id, card] of this.cards) {
      if (!shown.has(id)) {
        card.remove();
        this.cards.delete(id);
      }
    }
    for (const place of [...shown.values()].sort((a, b) => a - b)) this.#place(this.cells[place], place);
    if (this.active && active >= 0) this.root.setAttribute("aria-activedescendant", this.active.id);
    else this.root.removeAttribute("aria-activedescendant");
  }

  #place(cell, place) {
    let card = this.cards.get(cell.id);
    if (!card) {
      card = h("div", { id: cell.id, role: "option" }, picture(cell, SIDE).frame);
      this.cards.set(cell.id, card);
      card.version = -1;
    }
    if (card.version !== cell.version) {
      card.version = cell.version;
      card.replaceChildren(card.firstChild, ...content(cell).filter(Boolean));
      card.setAttribute("aria-label", description(cell));
    }
    card.className = `cell ${kind(cell)}${cell === this.active ? " active" : ""}`;
    card.setAttribute("aria-selected", cell === this.active);
    card.setAttribute("aria-setsize", this.cells.length);
    card.setAttribute("aria-posinset", place + 1);
    const x = (place % this.columns) * (this.width + GAP);
    const y = Math.floor(place / this.columns) * (HEIGHT + GAP);
    Object.assign(card.style, { width: `${this.width}px`, height: `${HEIGHT}px`, transform: `translate(${x}px, ${y}px)` });
    // In the order of the cells, for screen readers.
    if (card.parentNode !== this.root || card.nextSibling) this.root.append(card);
  }
}

export function kind(cell) {
  if (cell.flagged || cell.predictedHairy) return "hairy";
  if (cell.forReview) return "review";
  return cell.state === "failed" ? "refused" : cell.state;
}

function tags(cell) {
  return [
    kind(cell) === "hairy" && h("span", { class: "tag hairy" }, "Hairy?"),
    kind(cell) === "review" && h("span", { class: "tag review" }, cell.unfamiliar ? "Unfamiliar" : "Review"),
    cell.cropped && h("span", { class: "tag cropped", title: `Centre of ${cell.size} pixels` }, "Cropped"),
  ];
}

function content(cell) {
  if (cell.state === "waiting") return [h("div", { class: "name" }, h("span", {}, "Waiting …"))];
  if (!cell.result) {
    const name = cell.state === "refused" ? "Refused" : "Failed";
    return [...tags(cell), h("div", { class: "name" }, h("span", {}, name)), h("div", { class: "why" }, cell.fault.message)];
  }
  const reason = cell.result.review[0]?.message;
  return [
    ...tags(cell),
    h("div", { class: "name" },
      h("span", { title: cell.result.predicted_class }, cell.result.predicted_class),
      h("span", {}, probability(cell.top))),
    bars(cell, 3),
    reason && h("div", { class: "why", title: cell.result.review.map((one) => one.message).join("\n") }, reason),
  ];
}

/** Bars of the largest probabilities. */
export function bars(cell, most, { shares = false, unknown = new Set() } = {}) {
  return h("div", { class: "bars" }, cell.ranked(most).map(([name, value]) => {
    const fill = h("div", { class: "fill" });
    fill.style.width = `${100 * value}%`;
    const missing = unknown.has(name);
    const row = `row${name === "Hairy cell" ? " hairy" : ""}${missing ? " unknown" : ""}`;
    return h("div", { class: row },
      h("span", { class: "label", title: name }, name),
      h("div", { class: "track" }, fill),
      shares && h("span", { class: "share" }, missing ? "not supported" : probability(value)));
  }));
}

function description(cell) {
  if (cell.state === "waiting") return `${cell.path}: waiting`;
  if (!cell.result) return `${cell.path}: ${cell.state}, ${cell.fault.message}`;
  const flag = cell.flagged ? ", flagged as possible hairy cell" : "";
  const review = cell.forReview ? `, for review: ${cell.result.review.map((one) => one.message).join(" ")}` : "";
  return `${cell.result.predicted_class}, ${probability(cell.top)}${flag}${review}. ${cell.path}`;
}
