// What is kept in this browser (IndexedDB): slides, their cells with images and results, and every decision.

import { openDB } from "./vendor/idb.js";

const STORES = { slides: "id", cells: ["slide", "id"], images: ["slide", "id"], events: ["slide", "place"] };
const PARTS = ["cells", "images", "events"];
const LOCK_MS = 1500;

const within = (slide, first = []) => IDBKeyRange.bound([slide, ...first], [slide, []]);

export class Persistence {
  /**
   * @param {import("./vendor/idb.js").IDBPDatabase|null} database `null`: nothing can be kept
   * @param {(error: Error) => void} failed called if something cannot be written or read
   */
  constructor(database, failed) {
    this.database = database;
    this.failed = failed;
  }

  static async open(failed) {
    try {
      const database = await openDB("hal", 1, {
        upgrade: (made) => {
          for (const [name, keyPath] of Object.entries(STORES)) made.createObjectStore(name, { keyPath });
        },
      });
      return new Persistence(database, failed);
    } catch (error) {
      failed(error);
      return new Persistence(null, failed);
    }
  }

  /** All slides, the last used one first. */
  async slides() {
    try {
      const slides = (await this.database?.getAll("slides")) ?? [];
      return slides.sort((a, b) => b.used - a.used);
    } catch (error) {
      this.failed(error); // The browser closes the database when its data is cleared or its disk fails.
      return [];
    }
  }

  /** A slide, the records of its cells, with their images, and its events. */
  async load(id) {
    const slide = await this.database.get("slides", id);
    const [cells, images, events] = await Promise.all(PARTS.map((part) => this.database.getAll(part, within(id))));
    const files = new Map(images.map((image) => [image.id, image]));
    return { slide, cells: cells.map((record) => ({ record, image: files.get(record.id) })), events };
  }

  /** Hold a slide for this tab, and let go the one that was held before; `false` if another tab has it. */
  async hold(slide) {
    const letGo = await this.#lock(slide);
    if (letGo) this.letGo?.();
    this.letGo = letGo ?? this.letGo;
    return letGo !== null;
  }

  /** What lets a slide go that this tab now has; `null` if another tab has it. */
  #lock(slide) {
    if (!navigator.locks) return Promise.resolve(() => null);
    return new Promise((resolve) => {
      const held = () => new Promise((letGo) => resolve(letGo));
      navigator.locks.request(`hal-${slide}`, { signal: AbortSignal.timeout(LOCK_MS) }, held).catch(() => resolve(null));
    });
  }

  putSlide(slide) {
    return this.#write(["slides"], (all) => [all.store.put(slide)]);
  }

  putCells(slide, cells) {
    return this.#write(["cells"], (all) => cells.map((cell) => all.store.put({ slide, ...cell.record })));
  }

  /** One by one: a file that cannot be read keeps no other one out. */
  putImages(slide, cells) {
    const image = (cell) => ({ slide, id: cell.id, file: cell.file, ...(cell.sent !== cell.file && { sent: cell.sent }) });
    return Promise.all(cells.map((cell) => this.#write(["images"], (all) => [all.store.put(image(cell))])));
  }

  /** The event at `place`; those after it, which were undone, go. */
  putEvent(slide, place, event) {
    return this.#write(["slides", "events"], (both) => [
      both.objectStore("events").delete(within(slide.id, [place])),
      both.objectStore("events").put({ slide: slide.id, place, ...event }),
      both.objectStore("slides").put(slide),
    ]);
  }

  /** Delete a slide with everything in it; `false` if another tab has it. */
  async delete(slide) {
    const letGo = await this.#lock(slide);
    if (!letGo) return false;
    await this.#write(Object.keys(STORES), (all) => [
      ...PARTS.map((part) => all.objectStore(part).delete(within(slide))),
      all.objectStore("slides").delete(slide),
    ]);
    letGo();
    return true;
  }

  /** Write what `work` requests, at once: what waits for its answers is lost with a tab that is closed. */
  async #write(stores, work) {
    try {
      const all = this.database?.transaction(stores, "readwrite");
      if (!all) return;
      const requests = work(all);
      all.commit();
      await Promise.all([...requests, all.done]);
    } catch (error) {
      this.failed(error);
    }
  }
}
