// The state of the page: the open slide, its cells, every decision with undo and redo, the selection.

import { Cell } from "./cell.js";
import { nameOf } from "./classes.js";
import { byFile, differential, markDuplicates, ORDERS, outstanding, sections } from "./differential.js";
import { count } from "./text.js";

const BATCH = 100;

export class Store {
  slide = null;
  cells = [];
  events = [];
  selection = new Set();
  active = null;
  anchor = null;
  view = { filter: "all", order: "urgent", size: 88, cards: false };
  notices = {};
  dialog = null;
  model = null;
  said = "";
  #byId = new Map();
  #derived = null;
  /** Whether the user has chosen the active cell. */
  #visited = false;

  /**
   * @param {import("./persistence.js").Persistence} kept
   * @param {() => void} changed called after each change, to draw
   */
  constructor(kept, changed) {
    this.kept = kept;
    this.draw = changed;
  }

  /** What follows from the cells: sections, cells in the order shown, the differential, what is outstanding. */
  get derived() {
    if (!this.#derived) {
      const shown = sections(this.cells, this.view);
      this.#derived = {
        sections: shown,
        flat: shown.flatMap(({ cells }) => cells),
        differential: differential(this.cells),
        outstanding: outstanding(this.cells),
      };
      if (!this.#visited || !this.#derived.flat.includes(this.active)) this.active = this.#derived.flat[0] ?? null;
    }
    return this.#derived;
  }

  changed() {
    this.#derived = null;
    this.draw();
  }

  /** Tell screen readers. */
  say(text) {
    this.said = text;
    this.draw();
  }

  notice(kind, text) {
    if (this.notices[kind] === text) return;
    this.notices[kind] = text;
    this.draw();
  }

  show(dialog, data = {}) {
    this.dialog = dialog && { name: dialog, ...data };
    this.draw();
  }

  look(view) {
    this.view = { ...this.view, ...view };
    this.changed();
  }

  // Slides

  /** Begin a slide; the one that was open stays in the list. */
  async begin(name) {
    const now = Date.now();
    this.#put({ id: now, name, created: now, used: now, images: 0, reviewed: 0, position: 0, signed: null, history: [] }, [], []);
    this.show(null);
    await this.kept.hold(now);
    await this.kept.putSlide(this.slide);
  }

  /** Open a slide that is kept; `false` if another tab has it. */
  async open(slide) {
    if (!(await this.kept.hold(slide.id))) return false;
    const { cells, events } = await this.kept.load(slide.id);
    this.#put(slide, cells.map(({ record, image }) => Cell.restored(record, image)), events);
    this.show(null);
    for (const event of events.slice(0, slide.position)) this.#apply(event.ids, event.after);
    markDuplicates(this.cells);
    this.changed();
    return true;
  }

  close() {
    this.kept.hold(null);
    this.#put(null, [], []);
  }

  async delete(slide) {
    if (slide.id === this.slide?.id) this.close();
    await this.kept.delete(slide.id);
    this.say(`Slide ${slide.name} deleted.`);
  }

  rename(name) {
    this.slide.name = name;
    this.#keepSlide();
    this.changed();
  }

  #put(slide, cells, events) {
    Object.assign(this, { slide, cells, events, active: null, anchor: null, selection: new Set(), notices: {} });
    this.view = { ...this.view, filter: "all" };
    this.#visited = false;
    this.#byId = new Map(cells.map((cell) => [cell.id, cell]));
    this.changed();
  }

  #keepSlide() {
    this.#count();
    this.kept.putSlide(this.slide);
  }

  /** What the list of slides shows. */
  #count() {
    const reviewed = this.cells.filter((cell) => cell.counts && cell.reviewed).length;
    Object.assign(this.slide, { used: Date.now(), images: this.cells.length, reviewed });
  }

  // Images and answers

  /** Add images as [file, path]. */
  add(images) {
    const first = (this.cells.at(-1)?.id ?? 0) + 1;
    const added = images.map(([file, path], place) => new Cell(first + place, path, file));
    for (const cell of added) this.#byId.set(cell.id, cell);
    this.cells.push(...added);
    this.#keepSlide();
    this.kept.putCells(this.slide.id, added);
    this.#keepImages(added);
    this.say(`${count(added.length, "image")} added.`);
    this.changed();
    return added;
  }

  async #keepImages(cells) {
    const slide = this.slide.id;
    for (let at = 0; at < cells.length; at += BATCH) await this.kept.putImages(slide, cells.slice(at, at + BATCH));
  }

  /** Cells have answers; `redraw` comes later where many come at once. */
  answered(cells) {
    const mine = cells.filter((cell) => this.#byId.get(cell.id) === cell);
    if (!mine.length) return;
    this.kept.putCells(this.slide.id, mine);
    const cropped = mine.filter((cell) => cell.sent !== cell.file);
    if (cropped.length) this.kept.putImages(this.slide.id, cropped);
    markDuplicates(this.cells);
  }

  /** Forget the answers of these cells, to classify them again; what a person decided stays. */
  reset(cells) {
    for (const cell of cells) cell.reset();
    this.kept.putCells(this.slide.id, cells);
    this.changed();
  }

  // Decisions

  /** The cells that an action is about: those selected, else the active one. */
  get targets() {
    const selected = this.derived.flat.filter((cell) => this.selection.has(cell));
    return selected.length ? selected : this.active ? [this.active] : [];
  }

  /** Put the targets, or given cells, in another class, which also confirms them. */
  reclassify(place, cells = this.targets) {
    this.#decide(cells, () => [place, true], (some) => `${some} ${nameOf(place)}.`, true);
  }

  /** Put the targets back where HAL had put them: in its class, also where it was unsure. */
  accept(cells = this.targets) {
    this.#decide(cells, (cell) => [cell.result.class_id, true], (some) => `${some} confirmed as HAL named them.`, true);
  }

  /** Mark the targets as reviewed, or not any more if all of them are. */
  toggleReviewed(cells = this.targets) {
    const all = cells.every((cell) => cell.reviewed);
    this.#decide(cells, (cell) => [all ? cell.decided : cell.label, !all], (some) => `${some} ${all ? "not reviewed" : "reviewed"}.`, true);
  }

  /** Mark cells as reviewed that are not yet. */
  confirm(cells) {
    this.#decide(cells.filter((cell) => !cell.reviewed), (cell) => [cell.label, true], (some) => `${some} reviewed.`, false);
  }

  undo() {
    this.#step(this.slide?.position - 1, -1, "before", "Undone");
  }

  redo() {
    this.#step(this.slide?.position, 0, "after", "Done again");
  }

  #step(place, change, side, word) {
    const event = this.events[place];
    if (!event || this.#isSigned()) return;
    this.slide.position = change ? place : place + 1;
    this.#apply(event.ids, event[side]);
    this.active = this.#byId.get(event.ids[0]);
    this.#visited = this.moved = true;
    this.selection.clear();
    this.#keepSlide();
    this.changed();
    this.say(`${word}: ${event.words}`);
  }

  /** Record and apply a decision; `forward`: the cell after the last one becomes the active one. */
  #decide(given, next, words, forward) {
    const cells = given.filter((cell) => cell.counts);
    if (!cells.length || this.#isSigned()) return;
    const event = {
      at: Date.now(),
      ids: cells.map(({ id }) => id),
      before: cells.map(({ decided, reviewed }) => [decided, reviewed]),
      after: cells.map(next),
      words: words(count(cells.length, "cell")),
    };
    if (forward) this.active = this.#following(cells);
    this.#visited = true;
    this.selection.clear();
    this.anchor = null;
    this.events.splice(this.slide.position, Infinity, event);
    this.#apply(event.ids, event.after);
    this.slide.position++;
    this.#count();
    this.kept.putEvent(this.slide, this.slide.position - 1, event);
    this.changed();
    this.say(event.words);
  }

  #apply(ids, decisions) {
    ids.forEach((id, place) => this.#byId.get(id)?.decide(decisions[place]));
  }

  #isSigned() {
    if (this.slide?.signed) this.say("The slide is signed off. Reopen it to change it.");
    return Boolean(this.slide?.signed);
  }

  /** The cell that comes next in the section of these, or before them, or anywhere. */
  #following(cells) {
    const gone = new Set(cells);
    const last = cells.at(-1);
    const inside = this.derived.sections.find((section) => section.cells.includes(last))?.cells ?? [];
    const pick = (some) => some.find((cell) => !gone.has(cell));
    const { flat } = this.derived;
    return pick(inside.slice(inside.indexOf(last))) ?? pick(flat.slice(flat.indexOf(last))) ?? pick(inside.toReversed()) ?? last;
  }

  /** Freeze the slide under a name. */
  sign(name, reason) {
    this.slide.signed = { name, at: Date.now(), reason };
    this.selection.clear();
    this.#keepSlide();
    this.show(null);
    this.say(`Signed off by ${name}.`);
    this.changed();
  }

  /** Open a signed slide again; the signature and the reason stay in its history. */
  reopen(reason) {
    this.slide.history.push({ ...this.slide.signed, reopened: { reason, at: Date.now() } });
    this.slide.signed = null;
    this.#keepSlide();
    this.show(null);
    this.say("The slide is open again.");
    this.changed();
  }

  // Selection

  /** Make a cell the active one; `range` selects all from the anchor to it, `toggle` adds or removes it. */
  activate(cell, { range = false, toggle = false, select = false } = {}) {
    if (!cell) return;
    const { flat } = this.derived;
    if (range) {
      this.anchor ??= this.active;
      const [from, to] = [flat.indexOf(this.anchor), flat.indexOf(cell)].sort((a, b) => a - b);
      this.selection = new Set(flat.slice(from, to + 1));
    } else {
      if (toggle) this.selection.delete(cell) || this.selection.add(cell);
      else this.selection = new Set(select ? [cell] : []);
      this.anchor = cell;
    }
    this.active = cell;
    this.#visited = true;
    this.draw();
  }

  selectAll() {
    this.selection = new Set(this.derived.flat);
    this.say(`${count(this.selection.size, "cell")} selected.`);
  }

  clearSelection() {
    this.selection.clear();
    this.anchor = null;
    this.draw();
  }

  /** The cell `step` places further in the order shown, at most the first or last. */
  neighbour(cell, step) {
    const { flat } = this.derived;
    return flat[Math.max(0, Math.min(flat.length - 1, flat.indexOf(cell) + step))] ?? null;
  }

  get byFile() {
    return [...this.cells].sort(byFile);
  }

  get byUrgency() {
    return [...this.cells].sort(ORDERS.urgent.compare);
  }
}
