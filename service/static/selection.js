// Which cells are selected, and which one is active, in the order shown.

export class Selection {
  active = null;
  /** Whether the user has chosen the active cell; until then it is the first one. */
  visited = false;
  #cells = new Set();
  #anchor = null;

  /**
   * @param {() => import("./cell.js").Cell[]} shown the cells in their order
   * @param {() => void} changed
   */
  constructor(shown, changed) {
    this.shown = shown;
    this.changed = changed;
  }

  has(cell) {
    return this.#cells.has(cell);
  }

  /** The cells that an action is about: those selected, else the active one. */
  get targets() {
    const selected = this.shown().filter((cell) => this.#cells.has(cell));
    return selected.length ? selected : this.active ? [this.active] : [];
  }

  /** Keep an active cell that is shown. */
  fit(shown) {
    if (!this.visited || !shown.includes(this.active)) this.active = shown[0] ?? null;
  }

  /** Make a cell the active one; `range` selects all from the anchor to it, `toggle` adds or removes it. */
  activate(cell, { range = false, toggle = false, select = false } = {}) {
    if (!cell) return;
    if (range) {
      this.#anchor ??= this.active;
      const shown = this.shown();
      const [from, to] = [shown.indexOf(this.#anchor), shown.indexOf(cell)].sort((a, b) => a - b);
      this.#cells = new Set(shown.slice(from, to + 1));
    } else {
      if (toggle) this.#cells.delete(cell) || this.#cells.add(cell);
      else this.#cells = new Set(select ? [cell] : []);
      this.#anchor = cell;
    }
    this.active = cell;
    this.visited = true;
    this.changed();
  }

  /** Select all; how many they are. */
  all() {
    this.#cells = new Set(this.shown());
    this.changed();
    return this.#cells.size;
  }

  /** Select none; with `active`, go to that cell. */
  clear(active = this.active) {
    this.#cells.clear();
    this.#anchor = null;
    this.visited ||= active !== this.active;
    this.active = active;
    this.changed();
  }

  /** The cell `step` places further, at most the first or last. */
  neighbour(step) {
    const shown = this.shown();
    return shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(this.active) + step))] ?? null;
  }
}
