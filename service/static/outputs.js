// What leaves the page: CSV, JSON, FHIR, and the corrections as a ZIP archive.

import { UNIDENTIFIED } from "./classes.js";
import { typeOf } from "./prepare.js";
import "./vendor/fflate.js";

const { Zip, ZipPassThrough } = self.fflate;
const EXTENSIONS = { JPEG: "jpg", PNG: "png", BMP: "bmp", TIFF: "tif" };
// The format keeps counts in 16 bits and places in 32; the library writes no larger one (ZIP64) and would not say so.
const MOST_FILES = 65_534;
const MOST_BYTES = 4e9;
const iso = (at) => new Date(at).toISOString();
const modelOf = ({ name, version, sha256 }) => `${name} ${version} ${sha256}`;

/** A field of a CSV file; a spreadsheet must not read a name as a formula. */
function field(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (/^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?(e-?\d+)?$/.test(text)) text = `'${text}`;
  return /[",\n\r;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const table = (rows) => rows.map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";

/** One row for each cell; `hal slides summary` reads it. */
export function csv(slide, cells) {
  const classes = Object.keys(cells.find(({ result }) => result)?.result.probabilities ?? {});
  const head = [
    "file", "slide_id", "pixels", "cropped", "image_sha256", "class_id", "confidence", "label", "reviewed", "reviewer",
    "hairy_probability", "hairy_flag", "novelty_score", "unfamiliar", "review", "error", "model", "model_sha256",
    "model_decision_policy", ...classes.map((id) => `p(${id})`),
  ];
  const rows = cells.map(({ path, size, cropped, sha256, result, fault, model, label, reviewed }) => [
    path, slide.name, size, cropped, sha256, result?.class_id, result?.confidence, result && label, reviewed, slide.signed?.name,
    result?.hairy_cell.probability, result?.hairy_cell.flag, result?.novelty?.score, result?.novelty?.unfamiliar,
    result?.review.map(({ message }) => message).join("; "), fault && `${fault.code}: ${fault.message}`,
    model && `${model.name} ${model.version}`, model?.sha256, model?.decision_policy,
    ...classes.map((id) => result?.probabilities[id]),
  ]);
  // Spreadsheets need the byte order mark to read UTF-8.
  return "\ufeff" + table([head, ...rows]);
}

/** The slide with its signature and history, the differential before and after review, the advice, every cell. */
export function json({ slide, derived }, cells, { before, now, models }) {
  const { name, created, signed, history } = slide;
  const results = cells.map((cell) => ({
    file: cell.path, pixels: cell.side, cropped: cell.cropped,
    ...(cell.result ?? { image_sha256: cell.sha256, error: cell.fault ?? { code: "not_sent", message: "The image was not sent." } }),
    ...(cell.counts && { label: cell.label, reviewed: cell.reviewed }),
  }));
  const one = { id: name, created: iso(created), signed: signed && { name: signed.name, at: iso(signed.at), reason: signed.reason }, history };
  return JSON.stringify({
    exported: iso(Date.now()), slide: one, model: models[0], differential: derived.differential, summary: { before, now }, results,
  }, null, 1);
}

/**
 * The images of confirmed cells, as they were sent, with `manifest.csv`.
 *
 * @returns {Promise<Blob>}
 * @throws {Error} an image cannot be read, or they are too many for one archive
 */
export async function corrections(slide, cells) {
  const confirmed = cells.filter((cell) => cell.counts && cell.reviewed && cell.label !== UNIDENTIFIED);
  const bytes = confirmed.reduce((sum, { sent }) => sum + sent.size, 0);
  if (confirmed.length > MOST_FILES || bytes > MOST_BYTES) {
    throw new Error(`${confirmed.length} images of ${Math.ceil(bytes / 1e6)} MB are too many for one ZIP archive; split the slide`);
  }
  const chunks = [];
  // ZIP has times without a zone. UTC tells which of two archives is the later one, whatever the clocks were set to.
  const utc = new Date();
  utc.setMinutes(utc.getMinutes() + utc.getTimezoneOffset());
  const zip = new Zip((error, chunk) => {
    if (error) throw error;
    chunks.push(new Blob([chunk]));
  });
  const put = (name, bytes) => {
    const file = new ZipPassThrough(name);
    file.mtime = utc;
    zip.add(file);
    file.push(bytes, true);
  };
  const head = ["image", "label", "predicted", "confidence", "reviewer", "slide_id", "sha256", "source", "model"];
  // All rows before the first wait, in which the slide may be reopened.
  const rows = confirmed.map(({ label, cropped, path, sha256, model, result: { class_id: predicted, confidence } }) => [
    `images/${sha256}.${cropped ? "png" : EXTENSIONS[typeOf(path)]}`, label, predicted, confidence, slide.signed.name, slide.name, sha256,
    "review", modelOf(model),
  ]);
  for (const [place, [image]] of rows.entries()) put(image, new Uint8Array(await confirmed[place].sent.arrayBuffer()));
  put("manifest.csv", new TextEncoder().encode(table([head, ...rows])));
  zip.end();
  return new Blob(chunks, { type: "application/zip" });
}

export function download(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
