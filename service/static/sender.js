// Sends the cells, a few at a time, until each has its answer.

import { prepared } from "./prepare.js";
import { Refused } from "./service.js";

const IMAGES_PER_REQUEST = 8;
const PARALLEL = 2;
const MAX_ATTEMPTS = 4;

export class Sender {
  /**
   * @param {import("./service.js").Service} service
   * @param {(cells: import("./cell.js").Cell[]) => void} answered called with cells that have answers; with none at the end
   */
  constructor(service, answered) {
    this.service = service;
    this.answered = answered;
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

  /** Cancel the requests under way; cells without an answer stay waiting. */
  stop() {
    this.abort?.abort(new DOMException("stopped", "AbortError"));
    this.abort = null;
    this.queue = [];
    this.active = 0;
  }

  async #work(signal) {
    this.active++;
    try {
      while (this.queue.length && !signal.aborted) {
        const batch = this.queue[0].alone ? this.queue.splice(0, 1) : this.#nextBatch();
        await this.#send(batch, signal);
        if (!signal.aborted) this.answered(batch.map(({ cell }) => cell).filter((cell) => cell.settled));
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      if (!signal.aborted) this.active--;
      if (!this.running) this.answered([]);
    }
  }

  #nextBatch() {
    let size = 0;
    while (size < IMAGES_PER_REQUEST && size < this.queue.length && !this.queue[size].alone) size++;
    return this.queue.splice(0, size);
  }

  async #send(batch, signal) {
    const form = new FormData();
    const sent = [];
    for (const item of batch) {
      try {
        item.cell.sent = await prepared(item.cell);
        // Not the file's name, which may be a patient's.
        form.append("file", item.cell.sent, `cell-${sent.length}`);
        sent.push(item);
      } catch (error) {
        item.cell.fail("unreadable_file", `Cannot read the file (${error.message}). It may have been moved or deleted.`);
      }
    }
    if (sent.length) await this.#post(form, sent, signal);
  }

  async #post(form, batch, signal) {
    try {
      const { body } = await this.service.ask("classify", { method: "POST", body: form }, signal);
      if (signal.aborted) return;
      for (const result of body.results) batch[result.index].cell.settle(result, body.model);
    } catch (error) {
      if (signal.aborted) return;
      if (error.name === "AbortError") return this.stop();
      if (!(error instanceof Refused)) {
        for (const { cell } of batch) cell.fail("page_error", String(error));
        throw error;
      }
      this.#retry(batch, error);
    }
  }

  /** Retry images one by one, so that one cannot fail another. */
  #retry(batch, error) {
    const late = error.code === "deadline_exceeded";
    for (const item of batch) {
      item.attempts++;
      if (batch.length === 1 && (!late || item.attempts >= MAX_ATTEMPTS)) item.cell.fail(error.code, error.message);
      else this.queue.push({ ...item, alone: true });
    }
  }
}
