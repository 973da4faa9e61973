// The slide on paper: summary, differential, cells for review.

import { h, probability } from "./elements.js";
import { kind } from "./grid.js";
import { picture } from "./picture.js";
import { advice, rule, table } from "./slide.js";

const MOST = 60;
const SIDE = 100;

/** Fill `root`; resolves when its pictures can be printed. */
export async function renderPrint(root, { summary, provisional, cells, model }) {
  const marked = cells.filter((cell) => ["hairy", "review"].includes(kind(cell)));
  const shown = marked.slice(0, MOST).map((cell) => ({ cell, ...picture(cell, SIDE) }));
  const left = marked.length - shown.length;
  root.replaceChildren(
    h("h1", {}, "HAL: slide summary"),
    h("p", {}, `Preliminary result for research use. A qualified technologist must confirm it. Printed ${new Date().toLocaleString("en-GB")}.`),
    h("p", {}, `Model ${model.name} ${model.version} (${model.precision}), SHA-256 ${model.sha256}, decision policy ${model.decision_policy}.`),
    ...advice(summary, provisional).filter(Boolean),
    h("h2", {}, "Differential"), ...table(summary),
    h("h2", {}, "How the advice is computed"), rule(summary),
    h("h2", {}, "Flagged cells and cells for review"),
    h("div", { class: "print-cells" }, shown.map(({ cell, frame }) => h("figure", {}, frame,
      h("figcaption", {}, `${cell.result.predicted_class} ${probability(cell.top)}. ${cell.path}`)))),
    h("p", {}, left > 0 ? `${left} more are not printed.` : ""));
  await Promise.all(shown.map(({ done }) => done));
}
