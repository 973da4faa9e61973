// What a person decides about cells, with undo and redo: a list of events and a place in it.

import { nameOf } from "./classes.js";
import { count } from "./text.js";

export class Decisions {
  events = [];

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
  }

  /** Take over the events of a slide and apply those that are not undone. */
  load(events) {
    this.events = events;
    for (const event of events.slice(0, this.store.slide?.position)) this.#apply(event.ids, event.after);
  }

  /** Put the targets, or given cells, in another class, which also confirms them. */
  reclassify(place, cells = this.store.selection.targets) {
    this.#decide(cells, () => [place, true], (some) => `${some}: ${nameOf(place)}.`, true);
  }

  /** Put the targets back where HAL had put them: in its class, also where it was unsure. */
  accept(cells = this.store.selection.targets) {
    this.#decide(cells, (cell) => [cell.result.class_id, true], (some) => `${some} confirmed as HAL named them.`, true);
  }

  /** Mark the targets as reviewed, or not any more if all of them are. */
  toggleReviewed(cells = this.store.selection.targets) {
    const all = cells.every((cell) => cell.reviewed);
    this.#decide(cells, (cell) => [all ? cell.decided : cell.label, !all], (some) => `${some} ${all ? "not reviewed" : "reviewed"}.`, true);
  }

  /** Mark cells as reviewed that are not yet. */
  confirm(cells) {
    this.#decide(cells.filter((cell) => !cell.reviewed), (cell) => [cell.label, true], (some) => `${some} reviewed.`, false);
  }

  undo() {
    const place = this.store.slide?.position - 1;
    this.#step(place, place, "before", "Undone");
  }

  redo() {
    const place = this.store.slide?.position;
    this.#step(place, place + 1, "after", "Done again");
  }

  #step(place, position, side, word) {
    const event = this.events[place];
    if (!event || this.#isSigned()) return;
    this.store.slide.position = position;
    this.#apply(event.ids, event[side]);
    this.store.selection.clear(this.store.cell(event.ids[0]));
    this.store.selection.visited = this.store.moved = true;
    this.store.keepSlide();
    this.store.changed();
    this.store.say(`${word}: ${event.words}`);
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
    this.store.selection.clear(forward ? this.#following(cells) : this.store.selection.active);
    this.store.selection.visited = true;
    this.events.splice(this.store.slide.position, Infinity, event);
    this.#apply(event.ids, event.after);
    this.store.slide.position++;
    this.store.count();
    this.store.kept.putEvent(this.store.slide, this.store.slide.position - 1, event);
    this.store.changed();
    this.store.say(event.words);
  }

  #apply(ids, decisions) {
    ids.forEach((id, place) => this.store.cell(id)?.decide(decisions[place]));
  }

  #isSigned() {
    if (this.store.slide?.signed) this.store.say("The slide is signed off. Reopen it to change it.");
    return Boolean(this.store.slide?.signed);
  }

  /** The cell that comes next in the section of these, or before them, or anywhere. */
  #following(cells) {
    const gone = new Set(cells);
    const last = cells.at(-1);
    const inside = this.store.derived.sections.find((section) => section.cells.includes(last))?.cells ?? [];
    const pick = (some) => some.find((cell) => !gone.has(cell));
    const { flat } = this.store.derived;
    return pick(inside.slice(inside.indexOf(last))) ?? pick(flat.slice(flat.indexOf(last))) ?? pick(inside.toReversed()) ?? last;
  }
}
