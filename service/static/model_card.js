// The model's card: what it is for, what each class was learned from, what it was measured on, and its limits.

import { h, percent } from "./elements.js";

const RECALL = "recall, ";
/** What images are that were not changed to see how robust the model is; the model card in the bundle has the others. */
const AS_PHOTOGRAPHED = "as photographed";

/** The card as the content of a dialog; `close` is called by its button. */
export function modelCard(model, close) {
  return h("div", { class: "card-body" },
    h("div", { class: "card-head" },
      h("h2", { id: "card-title" }, `Model ${model.name} ${model.version}`),
      h("button", { type: "button", onclick: close }, "Close")),
    h("p", {}, model.intended_use),
    h("h3", {}, "Limits"),
    h("ul", {}, model.limits.map((limit) => h("li", {}, limit))),
    h("h3", {}, "Hairy cells"),
    h("p", {}, model.policy.hairy_advice),
    h("p", { class: "fine" }, model.policy.hairy_threshold === null
      ? "This model has no hairy-cell flag."
      : `Flag from a probability of ${model.policy.hairy_threshold.toFixed(4)} on: ${model.policy.hairy_threshold_basis}.`),
    h("h3", {}, "Evidence of each class"),
    h("p", { class: "fine" }, "real: photographs labelled by experts; size-derived: named by a measured size; composite: made by editing photographs of other cells; none: the model cannot name this class."),
    classes(model),
    h("h3", {}, "Measured"),
    metrics(model),
    h("h3", {}, "Images behind the model"),
    h("ul", {}, model.attributions.map((source) => h("li", {}, `${source.title} (${source.licence}). ${source.citation} ${source.changes}.`))),
    h("p", { class: "fine" }, files(model)));
}

function classes(model) {
  const recalls = model.metrics.filter((one) => one.name.startsWith(RECALL) && one.precision === model.precision);
  const split = recalls.some((one) => one.split === "test") ? "test" : "val";
  const recall = new Map(recalls.filter((one) => one.split === split).map((one) => [one.name.slice(RECALL.length), one]));
  const head = ["Class", "Evidence", "Trained on", "Measured on", "Recall", "95 % interval"];
  return h("table", {},
    h("thead", {}, h("tr", {}, head.map((name, place) => h("th", { scope: "col", class: place > 1 ? "number" : null }, name)))),
    h("tbody", {}, model.classes.map((entry) => {
      const measured = recall.get(entry.name);
      return h("tr", {},
        h("td", {}, entry.name),
        h("td", {}, h("span", { class: `evidence ${entry.evidence}` }, entry.evidence)),
        h("td", { class: "number" }, entry.training_images.toLocaleString("en")),
        h("td", { class: "number" }, entry.validation_images.toLocaleString("en")),
        h("td", { class: "number" }, measured ? percent(measured.value, 1) : "–"),
        h("td", { class: "number" }, interval(measured)));
    })));
}

const interval = (metric) =>
  metric?.interval95 ? `${(100 * metric.interval95[0]).toFixed(1)}–${(100 * metric.interval95[1]).toFixed(1)} %` : "";

function metrics(model) {
  const shown = model.metrics.filter((one) => !one.name.startsWith(RECALL) && one.precision === model.precision && one.condition === AS_PHOTOGRAPHED);
  if (!shown.length) return h("p", { class: "fine" }, "Nothing is stated.");
  return h("table", {},
    h("thead", {}, h("tr", {}, ["Figure", "Value", "95 % interval", "Images", "Data"].map((name, place) =>
      h("th", { scope: "col", class: place > 0 && place < 4 ? "number" : null }, name)))),
    h("tbody", {}, shown.map((one) => h("tr", {},
      h("td", {}, one.name),
      h("td", { class: "number" }, one.value.toFixed(3)),
      h("td", { class: "number" }, interval(one)),
      h("td", { class: "number" }, one.images),
      h("td", {}, `${one.data}, ${one.split}`)))));
}

function files(model) {
  const served = model.files.find((file) => file.precision === model.precision);
  return `Served: ${model.precision} on ${model.device ?? "a device not opened yet"}, SHA-256 ${served?.sha256 ?? "unknown"}; ` +
    `calibration ${model.calibration.id} on ${model.calibration.images} images; decision policy ${model.policy.version}.`;
}
