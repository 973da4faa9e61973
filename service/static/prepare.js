// What is sent for a cell: the file as it is, or the centre of a larger image. Nothing is ever resampled.

import { plainColour } from "./layout.js";
import { decodeTiff } from "./tiff.js";

export const SIDE = 256;

/**
 * The bytes to send. A colour image of at least 256×256 pixels that is not exactly that is cropped to its centre and
 * sent as PNG, which loses nothing; all others go as they are and the service decides. Sets the cell's `side` and `cropped`.
 *
 * @throws {DOMException} the file cannot be read
 */
export async function prepared(cell) {
  // A file that has gone would otherwise look like a broken connection.
  const bytes = new DataView(await cell.file.arrayBuffer());
  let bitmap;
  try {
    bitmap = await createImageBitmap(cell.file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    return preparedTiff(cell, bytes);
  }
  try {
    const { width, height } = bitmap;
    cell.side = [width, height];
    if (width < SIDE || height < SIDE || (width === SIDE && height === SIDE) || !plainColour(bytes)) {
      return cell.file;
    }
    const canvas = new OffscreenCanvas(SIDE, SIDE);
    const left = Math.floor((width - SIDE) / 2);
    const top = Math.floor((height - SIDE) / 2);
    canvas.getContext("2d").drawImage(bitmap, left, top, SIDE, SIDE, 0, 0, SIDE, SIDE);
    cell.cropped = true;
    return await canvas.convertToBlob({ type: "image/png" });
  } finally {
    bitmap.close();
  }
}

/** The same for TIFF, which browsers do not know. */
async function preparedTiff(cell, bytes) {
  const pixels = await decodeTiff(bytes);
  // Another kind of TIFF, or damaged: the service says what it is.
  if (!pixels) return cell.file;
  const { width, height } = pixels;
  cell.side = [width, height];
  if (width < SIDE || height < SIDE || (width === SIDE && height === SIDE)) return cell.file;
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  canvas.getContext("2d").putImageData(pixels, -Math.floor((width - SIDE) / 2), -Math.floor((height - SIDE) / 2));
  cell.cropped = true;
  return canvas.convertToBlob({ type: "image/png" });
}
