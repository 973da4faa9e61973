// The image files of a drop or a choice, with their paths.

import { typeOf } from "./prepare.js";

async function entriesOf(directory) {
  const reader = directory.createReader();
  const found = [];
  for (;;) {
    // A reader gives at most 100 entries at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}

async function walk(entry, found, unreadable) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) found.push([await new Promise((resolve, reject) => entry.file(resolve, reject)), path]);
    else for (const inner of await entriesOf(entry)) await walk(inner, found, unreadable);
  } catch {
    unreadable.push(path);
  }
}

/** The files of a drop as [file, path], folders included, and the paths that cannot be read. */
export async function dropped(transfer) {
  // Entries must be taken before the first wait: the transfer is emptied when the event ends.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files].map((file) => [file, file.name]);
  if (!entries.length) return { files, unreadable: [] };
  const [found, unreadable] = [[], []];
  for (const entry of entries) await walk(entry, found, unreadable);
  return { files: found, unreadable };
}

/** The files of an input, as [file, path]. */
export const chosen = (input) => [...input.files].map((file) => [file, file.webkitRelativePath || file.name]);

/** Images and other files, in the order of their paths; hidden files are left out. */
export function sorted(files) {
  const shown = files.filter(([file]) => !file.name.startsWith(".") && file.name !== "Thumbs.db");
  const order = (a, b) => a[1].localeCompare(b[1], "en", { numeric: true });
  return {
    images: shown.filter(([file]) => typeOf(file.name)).sort(order),
    others: shown.filter(([file]) => !typeOf(file.name)),
  };
}
