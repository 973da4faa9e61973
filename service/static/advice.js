// The slide's advice, as the service computes it: once of HAL's classes, once of the reviewed ones.

import { HAIRY, UNIDENTIFIED } from "./classes.js";
import { Refused } from "./service.js";

const MIXED = "The service changed its model while it classified this slide. Classify the images again; what you decided stays.";

/** What the service needs of a cell: HAL's classes, or with `reviewed` those that a person has decided. */
function entry(cell, reviewed) {
  if (cell.fault) return { image_sha256: cell.sha256, error: cell.fault.code };
  const { result } = cell;
  const person = reviewed && cell.reviewed;
  return {
    image_sha256: cell.sha256,
    class_id: person ? cell.label : result.class_id,
    hairy_cell: { flag: person && result.hairy_cell.flag !== null ? cell.label === HAIRY : result.hairy_cell.flag },
    novelty: result.novelty && { unfamiliar: !person && result.novelty.unfamiliar },
    review: person ? [] : result.review.slice(0, 1),
  };
}

export class Advice {
  before = null;
  now = null;
  #working = false;
  #again = false;
  #timer = null;
  #asked = null;

  /**
   * @param {import("./service.js").Service} service
   * @param {import("./store.js").Store} store
   */
  constructor(service, store) {
    this.service = service;
    this.store = store;
  }

  clear() {
    this.before = this.now = this.#asked = null;
  }

  get models() {
    return [...new Map(this.store.cells.filter(({ model }) => model).map(({ model }) => [model.sha256 + model.decision_policy, model])).values()];
  }

  /** The body of a request for a summary. */
  request(reviewed) {
    const cells = this.store.cells.filter((cell) => cell.result || cell.state === "refused");
    // A cell that a person could not identify is in no class.
    const results = cells.filter((cell) => !(reviewed && cell.reviewed && cell.label === UNIDENTIFIED)).map((cell) => entry(cell, reviewed));
    return { model: this.models[0], results };
  }

  /** Ask in `ms` milliseconds; one request at a time, and another one if cells have changed meanwhile. */
  refresh(ms) {
    this.#timer ??= setTimeout(() => ((this.#timer = null), this.#run()), ms);
  }

  async #run() {
    this.#again = true;
    if (this.#working) return;
    this.#working = true;
    while (this.#again) {
      this.#again = false;
      await this.#ask();
    }
    this.#working = false;
  }

  async #ask() {
    const { store } = this;
    const signed = store.slide?.signed;
    if (signed?.advice) {
      Object.assign(this, signed.advice);
      return store.draw();
    }
    if (!store.cells.some(({ result }) => result)) return this.clear();
    if (this.models.length > 1) return store.notice("model", MIXED);
    const asked = (this.#asked = {});
    try {
      const before = await this.summary(this.request(false));
      const now = store.cells.some(({ reviewed }) => reviewed) ? await this.summary(this.request(true)) : before;
      if (asked !== this.#asked) return;
      Object.assign(this, { before, now });
      if (signed && store.slide.signed === signed) store.freeze({ before, now });
      store.notice("model", null);
    } catch (error) {
      if (asked !== this.#asked) return;
      store.notice("model", error instanceof Refused && error.code === "other_model" ? MIXED : `Cannot compute the advice: ${error.message}`);
    }
    store.draw();
  }

  /** The answer to a request; the service has nothing to summarise where every cell is unidentified. */
  async summary(request) {
    if (!request.results.length) return null;
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
    return (await this.service.ask("slides/summary", options)).body.summary;
  }
}
