// The picture of a cell, always at the same scale, so that sizes can be compared by eye: what the network saw fills it.

import { h } from "./elements.js";
import { SIDE } from "./prepare.js";

/** A frame whose side shows 256 pixels of the image around its centre. `side` is the frame's
 * in CSS pixels, for when it is not in the document. */
export function picture(cell, side, alt = "") {
  const frame = h("div", { class: "frame" });
  const image = h("img", { alt, draggable: "false", decoding: "async" });
  const url = URL.createObjectURL(cell.file);
  const done = new Promise((resolve) => {
    image.addEventListener("load", () => {
      image.style.width = `${(image.naturalWidth * (frame.clientWidth || side)) / SIDE}px`;
      URL.revokeObjectURL(url);
      resolve();
    });
    image.addEventListener("error", () => {
      URL.revokeObjectURL(url);
      image.replaceWith(h("span", { class: "no-picture" }, "No preview in this browser"));
      resolve();
    });
  });
  image.src = url;
  frame.append(image);
  return { frame, done };
}
