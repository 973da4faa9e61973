// How an image's pixels are stored, from its header: what a browser would convert without a word must not be cropped.

const FRAMES = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf]);
const PNG = 0x89504e47;
const COLOURED_PNG = new Set([2, 3, 6]);

/**
 * Whether the bytes are a JPEG, PNG or BMP of 8-bit colour. Greyscale, CMYK and 16-bit images come out of a canvas as
 * 8-bit RGB; the service refuses them, since their colours would be a guess, and so they are sent as they are.
 *
 * @param {DataView} bytes of the whole file
 */
export function plainColour(bytes) {
  if (bytes.byteLength < 30) return false;
  if (bytes.getUint32(0) === PNG) return bytes.getUint8(24) <= 8 && COLOURED_PNG.has(bytes.getUint8(25));
  if (bytes.getUint16(0) === 0xffd8) return componentsOf(bytes) === 3;
  return bytes.getUint16(0) === 0x424d;
}

/** Colour components of a JPEG, 0 if no frame is found. */
function componentsOf(bytes) {
  for (let at = 2; at + 10 < bytes.byteLength; ) {
    if (bytes.getUint8(at) !== 0xff) return 0;
    const marker = bytes.getUint8(at + 1);
    if (marker === 0xff) at += 1;
    else if (FRAMES.has(marker)) return bytes.getUint8(at + 9);
    else at += 2 + bytes.getUint16(at + 2);
  }
  return 0;
}
