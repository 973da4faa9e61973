// The picture of a cell, always at the same scale, so that sizes can be compared by eye: what the network saw fills it.

import { h } from "./elements.js";
import { SIDE } from "./prepare.js";
import { decodeTiff, isTiff } from "./tiff.js";

/** A frame whose side shows 256 pixels of the image around its centre. `side` is the frame's
 * in CSS pixels, for when it is not in the document. */
export function picture(cell, side, alt = "") {
  const frame = h("div", { class: "frame" });
  const image = h("img", { alt, draggable: "false", decoding: "async" });
  const url = URL.createObjectURL(cell.file);
  const scale = (shown, width) => (shown.style.width = `${(width * (frame.clientWidth || side)) / SIDE}px`);
  const done = new Promise((resolve) => {
    image.addEventListener("load", () => {
      scale(image, image.naturalWidth);
      URL.revokeObjectURL(url);
      resolve();
    });
    image.addEventListener("error", async () => {
      URL.revokeObjectURL(url);
      const shown = await instead(cell.file, alt);
      if (shown.width) scale(shown, shown.width);
      image.replaceWith(shown);
      resolve();
    });
  });
  image.src = url;
  frame.append(image);
  return { frame, done };
}

/** For what the browser does not show: a TIFF that this page can read as a canvas, else words. */
async function instead(file, alt) {
  let bytes;
  try {
    bytes = new DataView(await file.arrayBuffer());
  } catch {
    return words("No preview: the file cannot be read.");
  }
  const pixels = await decodeTiff(bytes);
  if (!pixels) {
    return words(isTiff(bytes) ? "No preview of this kind of TIFF. It is classified all the same." : "No preview in this browser.");
  }
  const { width, height } = pixels;
  const canvas = h("canvas", { width, height, ...(alt ? { role: "img", "aria-label": alt } : { "aria-hidden": "true" }) });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

const words = (text) => h("span", { class: "no-picture" }, text);
