// TIFF, which browsers do not show: as much of it as photographs of cells are stored in, and `null` for all else.
// One image of 8-bit RGB in strips, plain or compressed by LZW, Deflate or PackBits (TIFF 6.0, sections 4, 9, 13, 14).
//
// Why not UTIF.js (utif2 4.1.0 with pako 1.0.11, 140 kB)? What is decoded here is not only shown: the centre of a
// larger image is sent and classified. UTIF reads all 36 usual kinds of tests/service/page/test_tiff.py exactly, but it
// takes what the service refuses: a file that is cut comes out as a whole picture, black where bytes are missing, and so
// do 20 of 20 damaged LZW files (here: 3); grey, palette and turned images pass as well. A few damaged bytes in a
// directory kept it busy for 9, 14 and 59 s on a busy machine, which would freeze the page (here: 0.6 s at most). To
// refuse all that beforehand takes the directory reader and the checks below, which are most of this file.

const SHORT = 3;
const LONG = 4;
const TAGS = {
  width: 256, height: 257, bits: 258, compression: 259, photometric: 262, fillOrder: 266, offsets: 273, orientation: 274,
  samples: 277, rowsPerStrip: 278, counts: 279, planar: 284, predictor: 317, extraSamples: 338, sampleFormat: 339,
};
const RGB = 2;
const MOST_PIXELS = 4096 * 4096;
const COMPRESSIONS = {
  1: (strip) => strip,
  5: (strip, size) => lzw(strip, size),
  8: (strip) => inflate(strip),
  32946: (strip) => inflate(strip),
  32773: (strip, size) => packBits(strip, size),
};

export const isTiff = (bytes) => bytes.byteLength > 8 && [0x49492a00, 0x4d4d002a].includes(bytes.getUint32(0));

/**
 * The pixels of a TIFF file, or `null` if it is damaged or of a kind that is not read here; the service says what it is.
 *
 * @param {DataView} bytes of the whole file
 * @returns {Promise<ImageData|null>}
 */
export async function decodeTiff(bytes) {
  try {
    return isTiff(bytes) ? await decode(bytes) : null;
  } catch {
    return null;
  }
}

async function decode(bytes) {
  const tags = directory(bytes, bytes.getUint16(0) === 0x4949);
  const one = (name, otherwise) => tags?.get(TAGS[name])?.[0] ?? otherwise;
  const all = (name) => tags.get(TAGS[name]) ?? [];
  const [width, height] = [one("width"), one("height")];
  const rows = Math.min(one("rowsPerStrip", height), height);
  const offsets = all("offsets");
  const counts = all("counts");
  const expand = COMPRESSIONS[one("compression", 1)];
  const plain = one("photometric") === RGB && one("samples") === 3 && all("bits").join() === "8,8,8" &&
    one("planar", 1) === 1 && one("orientation", 1) === 1 && one("fillOrder", 1) === 1 &&
    one("sampleFormat", 1) === 1 && !tags.has(TAGS.extraSamples);
  if (!plain || !expand || !(width * height <= MOST_PIXELS) || offsets.length !== Math.ceil(height / rows)) return null;
  const image = new ImageData(width, height);
  for (const [strip, offset] of offsets.entries()) {
    const top = strip * rows;
    const size = Math.min(rows, height - top) * width * 3;
    const stored = new Uint8Array(bytes.buffer, bytes.byteOffset + offset, counts[strip]);
    const pixels = await expand(stored, size);
    if (pixels.length < size) return null;
    place(image, top, one("predictor", 1) === 2 ? summed(pixels, width, size) : pixels, size);
  }
  return image;
}

/** The first directory's integers by tag; `null` if there is another image behind it. */
function directory(bytes, little) {
  const at = bytes.getUint32(4, little);
  const entries = bytes.getUint16(at, little);
  if (bytes.getUint32(at + 2 + 12 * entries, little) !== 0) return null;
  const tags = new Map();
  for (let entry = at + 2; entry < at + 2 + 12 * entries; entry += 12) {
    const type = bytes.getUint16(entry + 2, little);
    const count = bytes.getUint32(entry + 4, little);
    if ((type !== SHORT && type !== LONG) || count > bytes.byteLength) continue;
    const size = type === SHORT ? 2 : 4;
    const first = count * size <= 4 ? entry + 8 : bytes.getUint32(entry + 8, little);
    const value = (place) => type === SHORT ? bytes.getUint16(place, little) : bytes.getUint32(place, little);
    tags.set(bytes.getUint16(entry, little), Array.from({ length: count }, (_, number) => value(first + number * size)));
  }
  return tags;
}

function place(image, top, pixels, size) {
  let to = top * image.width * 4;
  for (let from = 0; from < size; from += 3, to += 4) {
    image.data[to] = pixels[from];
    image.data[to + 1] = pixels[from + 1];
    image.data[to + 2] = pixels[from + 2];
    image.data[to + 3] = 255;
  }
}

/** Each row was stored as differences to the pixel before. */
function summed(stored, width, size) {
  const pixels = stored.slice(0, size);
  for (let row = 0; row < size; row += 3 * width) {
    for (let at = row + 3; at < row + 3 * width; at++) pixels[at] += pixels[at - 3];
  }
  return pixels;
}

async function inflate(strip) {
  const stream = new Blob([strip]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function packBits(strip, size) {
  const found = new Uint8Array(size);
  let to = 0;
  for (let at = 0; at < strip.length && to < size; ) {
    const head = strip[at++];
    if (head < 128) {
      const run = strip.subarray(at, Math.min(at + head + 1, at + size - to));
      found.set(run, to);
      at += head + 1;
      to += run.length;
    } else if (head > 128) {
      found.fill(strip[at++], to, Math.min(to + 257 - head, size));
      to += 257 - head;
    }
  }
  return found.subarray(0, to);
}

/** Codes of 9 to 12 bits, highest bit first; the width grows one code early (TIFF 6.0, section 13). */
function lzw(strip, size) {
  const [clear, end] = [256, 257];
  const found = new Uint8Array(size);
  // A string is where it was last written and its length: no string is ever copied twice.
  const starts = new Uint32Array(4096);
  const lengths = new Uint16Array(4096);
  let [to, bit, width, next, before] = [0, 0, 9, 258, -1];
  while (to < size && bit + width <= 8 * strip.length) {
    const byte = bit >> 3;
    const window = (strip[byte] << 16) | ((strip[byte + 1] ?? 0) << 8) | (strip[byte + 2] ?? 0);
    const code = (window >> (24 - width - (bit & 7))) & ((1 << width) - 1);
    bit += width;
    if (code === end) break;
    if (code === clear) {
      [width, next, before] = [9, 258, -1];
      continue;
    }
    if (code >= next + (before < 0 ? 0 : 1)) return found.subarray(0, 0);
    const begun = to;
    if (before >= 0 && next < 4096) {
      // The string before, and the first byte of this one, which follows it in what was written.
      starts[next] = before;
      lengths[next] = begun - before + 1;
      next++;
    }
    if (code < 256) found[to++] = code;
    else for (let place = 0; place < lengths[code] && to < size; place++) found[to++] = found[starts[code] + place];
    before = begun;
    if (next + 1 >= 1 << width && width < 12) width++;
  }
  return found.subarray(0, to);
}
