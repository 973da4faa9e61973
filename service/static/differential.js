// From cells to sections and the differential. No state, no document.

import { CLASSES, HAIRY, nameOf, PLACES, UNIDENTIFIED } from "./classes.js";

const names = new Intl.Collator("en", { numeric: true });
const urgency = (cell) => (cell.maybeHairy ? 0 : cell.unfamiliar ? 1 : cell.mustReview ? 2 : 3);
const confidence = (cell) => cell.result?.confidence ?? 0;

export const byFile = (a, b) => names.compare(a.path, b.path);
/** Comparisons of cells of one section; neither depends on what has been reviewed, so that no cell moves by it. */
export const ORDERS = {
  urgent: { label: "By priority", compare: (a, b) => urgency(a) - urgency(b) || confidence(a) - confidence(b) },
  file: { label: "By file name", compare: byFile },
};

export const FILTERS = {
  all: { label: "All", keep: () => true },
  open: { label: "To review", keep: (cell) => cell.open },
  hairy: { label: "Possible hairy", keep: (cell) => cell.maybeHairy },
  unfamiliar: { label: "Unfamiliar", keep: (cell) => cell.unfamiliar },
  corrected: { label: "Corrected", keep: (cell) => cell.corrected },
};

const SECTIONS = [HAIRY, UNIDENTIFIED, ...CLASSES.map(({ id }) => id).filter((id) => id !== HAIRY), "waiting", "not-counted"];
const OTHER_NAMES = { waiting: "Waiting", "not-counted": "Not counted" };

/** Mark the cells whose bytes occurred before in the slide. */
export function markDuplicates(cells) {
  const seen = new Set();
  for (const cell of cells) {
    if (!cell.result) continue;
    const duplicate = seen.has(cell.sha256);
    if (duplicate !== cell.duplicate) cell.version++;
    cell.duplicate = duplicate;
    seen.add(cell.sha256);
  }
}

/** Sections that have cells, as `{id, name, cells}`: hairy cells, then Unidentified, then the other classes. */
export function sections(cells, { filter, order }) {
  const found = new Map(SECTIONS.map((id) => [id, []]));
  for (const cell of cells) {
    if (FILTERS[filter].keep(cell)) found.get(cell.counts ? cell.label : cell.settled ? "not-counted" : "waiting").push(cell);
  }
  return [...found].filter(([, inside]) => inside.length).map(([id, inside]) => ({
    id, name: OTHER_NAMES[id] ?? nameOf(id), cells: inside.sort(ORDERS[order].compare),
  }));
}

/**
 * Counts before and after review.
 *
 * @returns rows of all places with `before` and `now`, each `{count, per100}`; `per100` is `null` without white cells and
 *   of Unidentified; `white` has the denominators.
 */
export function differential(cells) {
  const counts = new Map(PLACES.map(({ id }) => [id, { before: 0, now: 0 }]));
  for (const cell of cells) {
    if (!cell.counts) continue;
    counts.get(cell.proposed).before++;
    counts.get(cell.label).now++;
  }
  const white = { before: 0, now: 0 };
  for (const { id, white: counted } of CLASSES) {
    if (!counted) continue;
    white.before += counts.get(id).before;
    white.now += counts.get(id).now;
  }
  const part = (id, when) => {
    const count = counts.get(id)[when];
    return { count, per100: white[when] && id !== UNIDENTIFIED ? (100 * count) / white[when] : null };
  };
  return { white, rows: PLACES.map((one) => ({ ...one, before: part(one.id, "before"), now: part(one.id, "now") })) };
}

/** How far the slide is: images with answers, and what stands between it and a signature. */
export function progress(cells) {
  const count = (keep) => cells.filter(keep).length;
  return {
    images: cells.length,
    settled: count((cell) => cell.settled),
    refused: count((cell) => cell.fault),
    failed: count((cell) => cell.state === "failed" || cell.fault?.code === "model_failed"),
    cropped: count((cell) => cell.cropped),
    reviewed: count((cell) => cell.counts && cell.reviewed),
    open: count((cell) => cell.open),
    unidentified: count((cell) => cell.counts && cell.label === UNIDENTIFIED && cell.reviewed),
  };
}
