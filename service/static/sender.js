// Sends the cells in small bulk requests, few at a time, until each has its answer.

import { prepared } from "./prepare.js";
import { Refused } from "./service.js";

const SLICE = 8;
const PARALLEL = 2;
const MOST_ATTEMPTS = 4;

export class Sender {
  /**
   * @param {import("./service.js").Service} service
   * @param {() => void} changed called when cells have got answers
   */
  constructor(service, changed) {
    this.service = service;
    this.changed = changed;
    this.queue = [];
    this.active = 0;
    this.abort = null;
  }

  get running() {
    return this.active > 0;
  }

  add(cells) {
    this.queue.push(...cells.map((cell) => ({ cell, attempts: 0, alone: false })));
    this.abort ??= new AbortController();
    while (this.active < PARALLEL && this.active < this.queue.length) this.#work(this.abort.signal);
  }

  /** Give up what is under way; cells without an answer stay waiting. */
  stop() {
    this.abort?.abort(new DOMException("stopped", "AbortError"));
    this.abort = null;
    this.queue = [];
  }

  async #work(signal) {
    this.active++;
    try {
      while (this.queue.length && !signal.aborted) {
        const slice = this.queue[0].alone ? this.queue.splice(0, 1) : this.#nextSlice();
        await this.#send(slice, signal);
        if (!signal.aborted) this.changed();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.active--;
      if (!this.running) this.changed();
    }
  }

  #nextSlice() {
    let size = 0;
    while (size < SLICE && size < this.queue.length && !this.queue[size].alone) size++;
    return this.queue.splice(0, size);
  }

  async #send(slice, signal) {
    const form = new FormData();
    const sent = [];
    for (const item of slice) {
      try {
        // The name stays here: a file name may be a patient's.
        form.append("file", await prepared(item.cell), `cell-${sent.length}`);
        sent.push(item);
      } catch (error) {
        item.cell.fail("unreadable_file", `The file cannot be read (${error.message}); was it moved or deleted?`);
      }
    }
    if (sent.length) await this.#post(form, sent, signal);
  }

  async #post(form, slice, signal) {
    try {
      const { body } = await this.service.ask("classify", { method: "POST", body: form }, signal);
      if (signal.aborted) return;
      for (const result of body.results) slice[result.index].cell.take(result, body.model);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) {
        for (const { cell } of slice) cell.fail("page_error", String(error));
        throw error;
      }
      this.#again(slice, error);
    }
  }

  /** One by one, so that no image suffers for another; what fails alone too often has failed. */
  #again(slice, error) {
    const late = error.code === "deadline_exceeded";
    for (const item of slice) {
      item.attempts++;
      if (slice.length === 1 && (!late || item.attempts >= MOST_ATTEMPTS)) item.cell.fail(error.code, error.message);
      else this.queue.push({ ...item, alone: true });
    }
  }
}
