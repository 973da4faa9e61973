// What is sent for a cell: the file itself, or the centre of a larger image. Nothing is ever resampled.

export const SIDE = 256;

const TYPES = new Map([["jpg", "JPEG"], ["jpeg", "JPEG"], ["png", "PNG"], ["bmp", "BMP"], ["tif", "TIFF"], ["tiff", "TIFF"]]);
const JPEG_FRAMES = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf]);
const SCAN = 0xda;
const EXIF = 0x45786966;
const PNG = 0x89504e47;
const COLOUR_PNG = new Set([2, 3, 6]);

/** The image type that a file name claims, `undefined` if it is none that the service accepts. */
export const typeOf = (name) => TYPES.get(/\.(\w+)$/.exec(name)?.[1].toLowerCase());

/**
 * The bytes to send. An 8-bit colour JPEG, PNG or BMP larger than 256×256 pixels is cropped to its centre and sent as
 * PNG, which loses nothing; every other file is sent as it is, and the service decides. Sets the cell's `side` and
 * `cropped`.
 *
 * @throws {DOMException} the file cannot be read
 */
export async function prepared(cell) {
  // A file that no longer exists would otherwise look like a broken connection.
  const bytes = new DataView(await cell.file.arrayBuffer());
  forgetExif(bytes);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    return cell.file;
  }
  try {
    const { width, height } = bitmap;
    cell.side = [width, height];
    if (width < SIDE || height < SIDE || (width === SIDE && height === SIDE) || !is8BitColour(bytes)) {
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

/**
 * Whether the bytes are a JPEG, PNG or BMP of 8-bit colour. A canvas converts greyscale, CMYK and 16-bit images to
 * 8-bit RGB without a word; the service must see them as they are, to refuse them.
 */
function is8BitColour(bytes) {
  if (bytes.byteLength < 30) return false;
  if (bytes.getUint32(0) === PNG) return bytes.getUint8(24) <= 8 && COLOUR_PNG.has(bytes.getUint8(25));
  if (bytes.getUint16(0) === 0xffd8) return jpegComponents(bytes) === 3;
  return bytes.getUint16(0) === 0x424d;
}

/**
 * Hide the EXIF data of a JPEG: the browser would turn the image as they say, which the service never does. The option
 * `imageOrientation: "none"` means the opposite in some browsers.
 */
function forgetExif(bytes) {
  for (let at = 2; at + 10 < bytes.byteLength && bytes.getUint8(at) === 0xff && bytes.getUint8(at + 1) !== SCAN; ) {
    if (bytes.getUint16(at) === 0xffe1 && bytes.getUint32(at + 4) === EXIF) bytes.setUint32(at + 4, 0);
    at += 2 + bytes.getUint16(at + 2);
  }
}

/** Colour components of a JPEG, 0 if no frame is found. */
function jpegComponents(bytes) {
  for (let at = 2; at + 10 < bytes.byteLength; ) {
    if (bytes.getUint8(at) !== 0xff) return 0;
    const marker = bytes.getUint8(at + 1);
    if (marker === 0xff) at += 1;
    else if (JPEG_FRAMES.has(marker)) return bytes.getUint8(at + 9);
    else at += 2 + bytes.getUint16(at + 2);
  }
  return 0;
}
