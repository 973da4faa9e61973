// Reference cells: photographs that experts have labelled, of the bundle or else HAL's own samples.

let loading = null;

/** URLs and sources of reference cells by class id; empty if they cannot be loaded. */
export function references() {
  loading ??= load().catch(() => ((loading = null), new Map()));
  return loading;
}

async function load() {
  const response = await fetch("static/cells/labels.csv");
  if (!response.ok) throw new Error(`${response.status}`);
  const [head, ...rows] = (await response.text()).trim().split(/\r?\n/).map((line) => line.split(","));
  const found = new Map();
  for (const row of rows) {
    const { file, source, licence } = Object.fromEntries(head.map((name, place) => [name, row[place]]));
    const id = file.replace(/-\d+\.\w+$/, "");
    if (!found.has(id)) found.set(id, []);
    found.get(id).push({ url: `static/cells/${file}`, source: `${source}, ${licence}` });
  }
  return found;
}
