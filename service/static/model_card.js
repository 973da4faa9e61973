// The model card: intended use, limits, evidence and recall of each class, metrics, training images.

import { Dialog, html } from "./html.js";
import { percent } from "./text.js";

const RECALL = "recall, ";
/** The condition of unchanged images; the bundle's own model card has the robustness tests too. */
const AS_PHOTOGRAPHED = "as photographed";

export function ModelCard({ store }) {
  const { model } = store;
  const { policy } = model;
  return html`<${Dialog} id="card" title="Model ${model.name} ${model.version}" close=${() => store.show(null)}>
    <p>${model.intended_use}</p>
    <h3>Limits</h3>
    <ul>${model.limits.map((limit) => html`<li>${limit}</li>`)}</ul>
    <h3>Hairy cells</h3>
    <p>${policy.hairy_advice}</p>
    <p class="fine">${policy.hairy_threshold === null
      ? "This model has no hairy-cell flag."
      : `A cell is flagged at a probability of ${policy.hairy_threshold.toFixed(4)} or more. Threshold: ${policy.hairy_threshold_basis}.`}</p>
    <h3>Evidence of each class</h3>
    <p class="fine">real: photographs labelled by experts. size-derived: labelled by measured size. composite: edited photographs of other cells. none: the model does not support this class.</p>
    <${Classes} model=${model} />
    <h3>Metrics</h3>
    <${Metrics} model=${model} />
    <h3>Training images</h3>
    <ul>${model.attributions.map((source) => html`<li>${source.title} (${source.licence}). ${source.citation} ${source.changes}.</li>`)}</ul>
    <p class="fine">${files(model)}</p>
  </${Dialog}>`;
}

/** Whether a metric is of composites, as its data says. */
const ofComposites = (metric) => metric.data.includes("composites");

/** Metrics of the served precision on unchanged images; test metrics replace validation metrics. */
function metricsOf(model) {
  const served = model.metrics.filter((one) => one.precision === model.precision && one.condition === AS_PHOTOGRAPHED);
  return served.some((one) => one.split === "test") ? served.filter((one) => one.split !== "val") : served;
}

function Classes({ model }) {
  const recalls = metricsOf(model).filter((one) => one.name.startsWith(RECALL) && ["test", "val"].includes(one.split));
  const recall = new Map(recalls.map((one) => [one.name.slice(RECALL.length), one]));
  const head = ["Class", "Evidence", "Training images", "Measured on", "Recall", "95 % interval"];
  return table(head, 2, model.classes.map((entry) => {
    const measured = recall.get(entry.name);
    return [
      entry.name,
      html`<span class="evidence ${entry.evidence}">${entry.evidence}</span>`,
      entry.training_images.toLocaleString("en"),
      measured ? `${measured.images.toLocaleString("en")} ${measured.split}` : "–",
      measured ? `${percent(measured.value, 1)}${ofComposites(measured) ? " of composites" : ""}` : "–",
      measured?.interval95 ? `${measured.interval95.map((bound) => (100 * bound).toFixed(1)).join("–")}\u00a0%` : "",
    ];
  }));
}

function Metrics({ model }) {
  const shown = metricsOf(model).filter((one) => !one.name.startsWith(RECALL));
  if (!shown.length) return html`<p class="fine">The bundle states no metrics.</p>`;
  return table(["Metric", "Value", "95 % interval", "Images", "Data"], 1, shown.map((one) => [
    one.name,
    one.value.toFixed(3),
    one.interval95 ? one.interval95.map((bound) => bound.toFixed(3)).join("–") : "",
    one.images.toLocaleString("en"),
    `${one.data}, ${one.split}`,
  ]));
}

/** A table; the columns from `firstNumber` on are aligned as numbers, except a last one named "Data". */
function table(head, firstNumber, rows) {
  const kind = (place) => (place >= firstNumber && head[place] !== "Data" ? "number" : "");
  return html`<table>
    <thead><tr>${head.map((name, place) => html`<th scope="col" class=${kind(place)}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((value, place) => html`<td class=${kind(place)}>${value}</td>`)}</tr>`)}</tbody>
  </table>`;
}

function files(model) {
  const served = model.files.find((file) => file.precision === model.precision);
  return `Served: ${model.precision} on ${model.device ?? "a device not opened yet"}, SHA-256 ${served?.sha256 ?? "unknown"}; ` +
    `calibration ${model.calibration.id} on ${model.calibration.images} images; decision policy ${model.policy.version}.`;
}
