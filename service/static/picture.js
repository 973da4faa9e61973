// The picture of a cell, always at the same scale, so that sizes can be compared by eye.

import { h } from "./elements.js";
import { SIDE, typeOf } from "./prepare.js";

/**
 * A frame whose side shows 256 pixels of the image around its centre. A file that the browser cannot show is shown by
 * its type and name.
 *
 * @param {import("./cell.js").Cell} cell
 * @param {number} side of the frame in CSS pixels, for when it is not in the document
 * @param {string} alt text for those who do not see the picture; empty where a text beside it says the same
 * @returns {{frame: HTMLElement, done: Promise<void>}} `done` resolves when the picture can be printed
 */
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
      image.replaceWith(placeholder(cell.file.name));
      resolve();
    });
  });
  image.src = url;
  frame.append(image);
  return { frame, done };
}

const placeholder = (name) =>
  h("div", { class: "placeholder" }, h("strong", {}, typeOf(name)), h("span", { title: name }, name));
