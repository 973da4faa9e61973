// One image of the slide: its file, HAL's answer, and what a person decided.

import { HAIRY, UNIDENTIFIED } from "./classes.js";

/** Of an image that was not kept before its tab was closed. */
const NOT_KEPT = new Blob();

export class Cell {
  /**
   * @param {number} id place of the image in the slide
   * @param {string} path name of the file in its folder; it stays in the browser
   * @param {Blob} file
   */
  constructor(id, path, file) {
    Object.assign(this, { id, path, file, sent: file, side: null, cropped: false, duplicate: false, version: 0 });
    this.decided = null;
    this.reviewed = false;
    this.reset();
  }

  /** A cell as `record` and `image` describe it. */
  static restored(record, image) {
    return Object.assign(new Cell(record.id, record.path, image?.file ?? NOT_KEPT), record, { sent: image?.sent ?? image?.file ?? NOT_KEPT });
  }

  /** Back to the state before it was sent; what a person decided stays. */
  reset() {
    Object.assign(this, { state: "waiting", result: null, fault: null, model: null, sha256: null });
    this.version++;
  }

  /** Set the answer of the service: `done`, or `refused` with the image's own error. */
  settle(result, model) {
    this.model = model;
    this.state = result.error ? "refused" : "done";
    this.result = result.error ? null : result;
    this.fault = result.error ?? null;
    this.sha256 = result.image_sha256;
    this.version++;
  }

  /** The request failed for good; the image itself may be fine. */
  fail(code, message) {
    this.state = "failed";
    this.fault = { code, message };
    this.version++;
  }

  /** Set what a person decided. */
  decide([decided, reviewed]) {
    Object.assign(this, { decided, reviewed });
    this.version++;
  }

  /** What is kept beside the image. */
  get record() {
    const { id, path, side, cropped, state, result, fault, model, sha256 } = this;
    return { id, path, side, cropped, state, result, fault, model, sha256 };
  }

  /** Whether it is a cell of the differential: classified, and not a photograph that occurred before. */
  get counts() {
    return this.result !== null && !this.duplicate;
  }

  /** Where HAL put it: its class, Unidentified below the review limit, `null` if it is not classified. */
  get proposed() {
    if (!this.result) return null;
    return this.result.review.some(({ code }) => code === "low_confidence") ? UNIDENTIFIED : this.result.class_id;
  }

  /** Its class now, or Unidentified. */
  get label() {
    return this.decided ?? this.proposed;
  }

  get flagged() {
    return this.result?.hairy_cell.flag === true;
  }

  /** Flagged or named a hairy cell by HAL. */
  get maybeHairy() {
    return this.flagged || this.result?.class_id === HAIRY;
  }

  /** Whether the image looks unlike those that the model learned from. */
  get unfamiliar() {
    return this.result?.novelty?.unfamiliar === true;
  }

  /** Whether a person must look at it before the slide can be signed. */
  get mustReview() {
    return this.counts && (this.result.review.length > 0 || this.label === UNIDENTIFIED);
  }

  get open() {
    return this.mustReview && !this.reviewed;
  }

  get corrected() {
    return this.counts && this.reviewed && this.label !== this.proposed;
  }

  get settled() {
    return this.state !== "waiting";
  }

  /** Why it is not in the differential; `null` if it is. */
  get problem() {
    if (this.fault) return this.fault.message;
    return this.duplicate ? "This photograph occurs in the slide more than once and counts once." : null;
  }

  get size() {
    return this.side ? `${this.side[0]}×${this.side[1]}` : "";
  }
}
