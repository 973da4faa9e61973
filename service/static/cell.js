// One image of the slide and its result; filters and orders of cells.

let next = 0;

export class Cell {
  constructor(file, path) {
    this.id = `cell-${next++}`;
    this.file = file;
    this.path = path || file.name;
    this.version = 0;
    this.side = null;
    this.cropped = false;
    this.reset();
  }

  /** Back to the state before it was sent. */
  reset() {
    this.state = "waiting";
    this.result = null;
    this.fault = null;
    this.model = null;
    this.version++;
  }

  /** Set the result of the service: `done`, or `refused` with the image's own error. */
  settle(result, model) {
    this.model = model;
    this.state = result.error ? "refused" : "done";
    this.result = result.error ? null : result;
    this.fault = result.error || null;
    this.sha256 = result.image_sha256;
    this.version++;
  }

  /** The request failed for good; the image itself may be fine. */
  fail(code, message) {
    this.state = "failed";
    this.fault = { code, message };
    this.version++;
  }

  get flagged() {
    return this.result?.hairy_cell.flag === true;
  }

  get predictedHairy() {
    return this.result?.predicted_class === "Hairy cell";
  }

  get forReview() {
    return Boolean(this.result?.review.length);
  }

  /** Whether the image looks unlike those that the model learned from. */
  get unfamiliar() {
    return this.result?.novelty?.unfamiliar === true;
  }

  get top() {
    return this.result ? this.result.probabilities[this.result.predicted_class] : 0;
  }

  get settled() {
    return this.state !== "waiting";
  }

  get size() {
    return this.side ? `${this.side[0]}×${this.side[1]}` : "";
  }

  /** The largest probabilities, best first, as [name, value]. */
  ranked(most = 20) {
    return Object.entries(this.result.probabilities).sort((a, b) => b[1] - a[1]).slice(0, most);
  }
}

export const FILTERS = [
  { name: "all", label: "All", keep: () => true },
  { name: "hairy", label: "Possible hairy", keep: (cell) => cell.flagged || cell.predictedHairy },
  { name: "review", label: "For review", keep: (cell) => cell.forReview },
  { name: "refused", label: "Refused", keep: (cell) => cell.state === "refused" || cell.state === "failed" },
];

function urgency(cell) {
  if (cell.flagged) return 0;
  if (cell.predictedHairy) return 1;
  if (cell.forReview) return 2;
  if (cell.state === "done") return 3;
  return cell.state === "waiting" ? 5 : 4;
}

const hairyFirst = (a, b) => (b.result.hairy_cell.probability ?? 0) - (a.result.hairy_cell.probability ?? 0);

/** Comparisons for `Array.sort`, which is stable. */
export const ORDERS = {
  urgent: (a, b) => urgency(a) - urgency(b) || (urgency(a) < 2 ? hairyFirst(a, b) : a.top - b.top),
  class: (a, b, classes) =>
    (a.result ? classes.indexOf(a.result.predicted_class) : 99) -
      (b.result ? classes.indexOf(b.result.predicted_class) : 99) || a.top - b.top,
  file: (a, b) => a.path.localeCompare(b.path, "en", { numeric: true }),
};
