// Exports: CSV with one row for each cell, or JSON. `hal slides summary` reads both.

/** A field of the CSV file; a spreadsheet must not read a file name as a formula. */
function field(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (/^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?(e-?\d+)?$/.test(text)) text = `'${text}`;
  return /[",\n\r;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(cells, classes) {
  const head = [
    "file", "pixels", "cropped", "image_sha256", "predicted_class", "probability", "hairy_probability", "hairy_flag",
    "hairy_threshold", "novelty_score", "unfamiliar", "review", "error", "model", "model_sha256", ...classes.map((name) => `p(${name})`),
  ];
  const rows = cells.map((cell) => {
    const hairy = cell.result?.hairy_cell;
    return [
      cell.path, cell.size, cell.cropped, cell.sha256, cell.result?.predicted_class, cell.result && cell.top,
      hairy?.probability, hairy?.flag, hairy?.threshold, cell.result?.novelty?.score, cell.result?.novelty?.unfamiliar,
      cell.result?.review.map((reason) => reason.message).join(" "), cell.fault && `${cell.fault.code}: ${cell.fault.message}`,
      cell.model && `${cell.model.name} ${cell.model.version}`, cell.model?.sha256,
      ...classes.map((name) => cell.result?.probabilities[name]),
    ];
  });
  // Spreadsheets need the byte order mark to read UTF-8.
  return "\ufeff" + [head, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

export function json(cells, model, summary) {
  const results = cells.map((cell) => ({
    file: cell.path,
    pixels: cell.side,
    cropped: cell.cropped,
    ...(cell.result ?? { image_sha256: cell.sha256, error: cell.fault ?? { code: "not_sent", message: "The image was not sent." } }),
  }));
  return JSON.stringify({ exported: new Date().toISOString(), model, summary, results }, null, 1);
}

export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
