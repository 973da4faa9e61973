// The state of the page: the open slide, its cells and signature, what is shown, and what follows from them.

import { Cell } from "./cell.js";
import { Decisions } from "./decisions.js";
import { differential, markDuplicates, progress, sections } from "./differential.js";
import { Selection } from "./selection.js";
import { count } from "./text.js";

const BATCH = 100;

export class Store {
  slide = null;
  cells = [];
  selection = new Selection(() => this.derived.flat, () => this.draw());
  decisions = new Decisions(this);
  view = { filter: "all", order: "urgent", size: 88, cards: false };
  notices = {};
  dialog = null;
  model = null;
  said = "";
  #byId = new Map();
  #derived = null;
  #deleted = new Set();

  /**
   * @param {import("./persistence.js").Persistence} kept
   * @param {() => void} changed called after each change, to draw
   */
  constructor(kept, changed) {
    this.kept = kept;
    this.draw = changed;
  }

  /** What follows from the cells: sections, cells in the order shown, the differential, the progress. */
  get derived() {
    if (!this.#derived) {
      const shown = sections(this.cells, this.view);
      this.#derived = {
        sections: shown,
        flat: shown.flatMap(({ cells }) => cells),
        differential: differential(this.cells),
        progress: progress(this.cells),
      };
      this.selection.fit(this.#derived.flat);
    }
    return this.#derived;
  }

  /** The cell of an id, `undefined` if it is of another slide. */
  cell(id) {
    return this.#byId.get(id);
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
    await this.kept.hold(now);
    await this.kept.putSlide(this.slide);
  }

  /** Open a slide that is kept, as it is now; `false` if another tab has it or has deleted it. */
  async open(id) {
    if (!(await this.kept.hold(id))) return false;
    const { slide, cells, events } = await this.kept.load(id);
    if (!slide) return false;
    this.#put(slide, cells.map(({ record, image }) => Cell.restored(record, image)), events);
    markDuplicates(this.cells);
    this.changed();
    return true;
  }

  close() {
    if (this.dialog?.name !== "slides") this.show(null);
    this.kept.letGo?.();
    this.#put(null, [], []);
  }

  /** `false` if another tab has the slide. */
  async delete({ id, name }) {
    if (id === this.slide?.id) this.close();
    this.#deleted.add(id);
    const deleted = await this.kept.delete(id);
    if (deleted) this.say(`Slide ${name} deleted.`);
    else this.#deleted.delete(id);
    return deleted;
  }

  rename(name) {
    this.slide.name = name;
    this.keepSlide();
    this.changed();
  }

  #put(slide, cells, events) {
    Object.assign(this, { slide, cells });
    // Whether the browser keeps anything is no matter of the slide.
    this.notices = { kept: this.notices.kept };
    this.view = { ...this.view, filter: "all" };
    this.selection.clear(null);
    this.selection.visited = false;
    this.#byId = new Map(cells.map((cell) => [cell.id, cell]));
    this.decisions.load(events);
    this.changed();
  }

  /** Keep what is said of the slide as a whole. */
  keepSlide() {
    this.count();
    this.kept.putSlide(this.slide);
  }

  /** What the list of slides shows. */
  count() {
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
    this.keepSlide();
    this.kept.putCells(this.slide.id, added);
    this.#keepImages(added);
    this.say(`${count(added.length, "image")} added.`);
    this.changed();
    return added;
  }

  async #keepImages(cells) {
    const slide = this.slide.id;
    for (let at = 0; at < cells.length && !this.#deleted.has(slide); at += BATCH) await this.kept.putImages(slide, cells.slice(at, at + BATCH));
  }

  /** Keep cells that have answers; who calls draws, later where many come at once. */
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

  // Signature

  /** Freeze the slide under a name. */
  sign(name, reason) {
    this.slide.signed = { name, at: Date.now(), reason, advice: null };
    this.selection.clear();
    this.keepSlide();
    this.show(null);
    this.say(`Signed off by ${name}.`);
    this.changed();
  }

  /** Keep the advice of the signed slide, which another model must not change. */
  freeze(advice) {
    this.slide.signed.advice = advice;
    this.keepSlide();
  }

  /** Open a signed slide again; the signature and the reason stay in its history. */
  reopen(reason) {
    const { name, at, reason: left } = this.slide.signed;
    this.slide.history.push({ name, at, reason: left, reopened: { reason, at: Date.now() } });
    this.slide.signed = null;
    this.keepSlide();
    this.show(null);
    this.say("The slide is open again.");
    this.changed();
  }
}
