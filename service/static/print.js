// The slide on paper: summary, differential, and the cells that need eyes.

import { h, probability } from "./elements.js";
import { kind } from "./grid.js";
import { picture } from "./picture.js";
import { advice, rule, table } from "./slide.js";

const MOST = 60;
const SIDE = 100;

/** Fill `root`; resolves when its pictures can be printed. */
export async function layOut(root, { summary, provisional, cells, model }) {
  const pressing = cells.filter((cell) => ["hairy", "doubtful"].includes(kind(cell)));
  const shown = pressing.slice(0, MOST).map((cell) => ({ cell, ...picture(cell, SIDE) }));
  const left = pressing.length - shown.length;
  root.replaceChildren(
    h("h1", {}, "HAL: cells of one slide"),
    h("p", {}, `Preliminary, for research use; to be confirmed by a qualified technologist. Printed ${new Date().toLocaleString("en-GB")}.`),
    h("p", {}, `Model ${model.name} ${model.version} (${model.precision}), SHA-256 ${model.sha256}, decision policy ${model.decision_policy}.`),
    ...advice(summary, provisional).filter(Boolean),
    h("h2", {}, "Differential"), ...table(summary),
    h("h2", {}, "How the advice is reached"), rule(summary),
    h("h2", {}, "Cells that a technologist should look at"),
    h("div", { class: "print-cells" }, shown.map(({ cell, frame }) => h("figure", {}, frame,
      h("figcaption", {}, `${cell.result.predicted_class} ${probability(cell.top)}. ${cell.path}`)))),
    h("p", {}, left > 0 ? `${left} more are not printed.` : ""));
  await Promise.all(shown.map(({ done }) => done));
}
