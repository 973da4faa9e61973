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

  /** The records of a slide's cells, with their images, and its events. */
  async load(slide) {
    const [cells, images, events] = await Promise.all(PARTS.map((part) => this.database.getAll(part, within(slide))));
    const files = new Map(images.map((image) => [image.id, image]));
    return { cells: cells.map((record) => ({ record, image: files.get(record.id) })), events };
  }

  /** Hold a slide for this tab; `false` if another tab has it. The one that was held before is let go. */
  hold(slide) {
    this.letGo?.();
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      const held = () => new Promise((letGo) => ((this.letGo = letGo), resolve(true)));
      navigator.locks.request(`hal-${slide}`, { signal: AbortSignal.timeout(LOCK_MS) }, held).catch(() => resolve(false));
    });
  }

  putSlide(slide) {
    return this.#write((database) => database.put("slides", slide));
  }

  putCells(slide, cells) {
    return this.#write((database) => {
      const all = database.transaction("cells", "readwrite");
      for (const cell of cells) all.store.put({ slide, ...cell.record });
      return all.done;
    });
  }

  /** One by one: a file that cannot be read keeps no other one out. */
  putImages(slide, cells) {
    const image = (cell) => ({ slide, id: cell.id, file: cell.file, ...(cell.sent !== cell.file && { sent: cell.sent }) });
    return Promise.all(cells.map((cell) => this.#write((database) => database.put("images", image(cell)))));
  }

  /** The event at `place`; those after it, which were undone, go. */
  putEvent(slide, place, event) {
    return this.#write((database) => {
      const both = database.transaction(["slides", "events"], "readwrite");
      both.objectStore("events").delete(within(slide.id, [place]));
      both.objectStore("events").put({ slide: slide.id, place, ...event });
      both.objectStore("slides").put(slide);
      return both.done;
    });
  }

  /** Delete a slide with everything in it. */
  delete(slide) {
    return this.#write((database) => {
      const all = database.transaction(Object.keys(STORES), "readwrite");
      for (const part of PARTS) all.objectStore(part).delete(within(slide));
      all.objectStore("slides").delete(slide);
      return all.done;
    });
  }

  async #write(work) {
    try {
      if (this.database) await work(this.database);
    } catch (error) {
      this.failed(error);
    }
  }
}
