// The slide: advice, figures, and the differential as a chart and a table.

import { count, h, percent, svg } from "./elements.js";

const KINDS = {
  "follow up by flow cytometry": "follow-up",
  "no indication": "no-indication",
  "too few cells": "too-few",
  "not supported by this bundle": "not-supported",
  "not supported on these images": "unfamiliar",
};
const per100 = (row) => (row.per_100_wbc === null ? "–" : row.per_100_wbc.toFixed(1));

/** Numbers stay on one line with their signs. */
const unbroken = (text) => text.replaceAll(/ (?=%)|(?<=\bp [=<]) |(?<=\bp) (?=[=<])/g, "\u00a0");

/** The advice with its reason; `provisional` while cells wait. */
export function advice(summary, provisional) {
  const text = summary.advice[0].toUpperCase() + summary.advice.slice(1);
  const hairy = summary.hairy;
  return [
    h("div", { class: `advice ${KINDS[summary.advice]}${provisional ? " provisional" : ""}` },
      h("strong", {}, provisional ? `So far: ${summary.advice}` : text),
      h("p", {}, unbroken(summary.reason))),
    h("dl", { class: "figures" },
      figure("White cells", summary.white_cells.toLocaleString("en")),
      figure("Flagged hairy", hairy ? `${hairy.flagged} of ${hairy.cells.toLocaleString("en")}` : "not supported"),
      figure("For review", summary.doubtful.toLocaleString("en")),
      summary.unfamiliar && figure("Unfamiliar", `${summary.unfamiliar.unfamiliar} of ${summary.unfamiliar.images.toLocaleString("en")}`)),
    summary.cautions.length > 0 && h("ul", { class: "cautions" }, summary.cautions.map((text) => h("li", {}, text))),
  ];
}

/** What to warn of above everything else: more unfamiliar images than the model's own rate explains. */
export function warning({ advice, unfamiliar }) {
  if (KINDS[advice] !== "unfamiliar") return null;
  return `${percent(unfamiliar.unfamiliar / unfamiliar.images)} of these images look unlike those this model has learned from: do not use these results.`;
}

const figure = (name, value) =>
  h("div", {}, h("dt", {}, name), h("dd", { class: /\d/.test(value) ? null : "words" }, value));

/** Bars per 100 white cells with 95 % intervals; classes without a cell are in the table only. */
export function chart(summary) {
  const hairy = (row) => row.slug === "hairy-cell";
  const known = (row) => row.evidence !== "none";
  const white = summary.differential.filter((row) => row.is_wbc && (row.count > 0 || hairy(row)));
  const others = summary.differential.filter((row) => !row.is_wbc && row.count > 0);
  const [width, label, value, height] = [360, 164, 44, 21];
  const space = width - label - value;
  const largest = Math.max(10, ...[...white, ...others].map((row) => Math.min(100, row.interval95?.[1] ?? row.per_100_wbc ?? 0)));
  const x = (share) => label + (Math.min(share, largest) / largest) * space;
  const parts = [];
  let y = 4;
  const draw = (row) => {
    const middle = y + height / 2;
    const name = `${hairy(row) && known(row) ? "hairy" : ""}${known(row) ? "" : " unknown"}`;
    parts.push(svg("g", { class: name },
      svg("text", { x: 0, y: middle + 4 }, row.name),
      known(row) && svg("rect", { class: "track", x: label, y: middle - 6, width: space, height: 12, rx: 2 }),
      row.per_100_wbc > 0 && svg("rect", { class: "bar", x: label, y: middle - 6, width: x(row.per_100_wbc) - label, height: 12, rx: 2 }),
      row.interval95 && row.count > 0 && svg("line", { class: "interval", x1: x(row.interval95[0]), x2: x(row.interval95[1]), y1: middle, y2: middle }),
      svg("text", { class: "value", x: width, y: middle + 4, "text-anchor": "end" }, known(row) ? per100(row) : "not supported")));
    y += height;
  };
  const heading = (text) => {
    parts.push(svg("text", { class: "group", x: 0, y: y + 12 }, text));
    y += 18;
  };
  heading("White cells, per 100 with 95 % interval");
  white.forEach(draw);
  if (others.length) {
    y += 6;
    heading("Other cells, per 100 white cells");
    others.forEach(draw);
  }
  const words = [...white, ...others].map((row) => `${row.name} ${known(row) ? per100(row) : "not supported"}`).join(", ");
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${y + 4}`, role: "img", "aria-label": `Differential per 100 white cells: ${words}` }, parts);
}

/** All 20 classes with counts and intervals; a class without expert labels shows its evidence. */
export function table(summary) {
  const rows = (white) => summary.differential.filter((row) => row.is_wbc === white).map((row) =>
    h("tr", {},
      h("td", {}, row.name, " ", row.evidence !== "real" && h("span", { class: `evidence ${row.evidence}` }, row.evidence)),
      h("td", { class: "number" }, row.count),
      h("td", { class: "number" }, row.evidence === "none" ? "not supported" : per100(row)),
      h("td", { class: "number" }, row.interval95 ? `${row.interval95[0].toFixed(1)}–${row.interval95[1].toFixed(1)}` : "")));
  const head = (name) => h("tr", {}, h("th", { scope: "col" }, name), h("th", { scope: "col", class: "number" }, "Cells"),
    h("th", { scope: "col", class: "number" }, "Per 100"), h("th", { scope: "col", class: "number" }, "95 % interval"));
  return [
    h("table", {}, h("thead", {}, head("White cells")), h("tbody", {}, rows(true))),
    h("table", {}, h("thead", {}, head("Other cells")), h("tbody", {}, rows(false))),
  ];
}

const pValue = (p) => (p < 0.0001 ? "p < 0.0001" : `p = ${Number(p.toPrecision(2))}`);

/** The statistical test and the rule. */
export function rule(summary) {
  const { rule: chosen, hairy } = summary;
  const facts = [
    `“Follow up” requires at least ${count(chosen.min_hits, "flagged cell")} and p ≤ ${chosen.significance}.`,
    `“No indication” requires at least ${count(chosen.min_cells, "white cell")}.`,
  ];
  if (hairy) {
    facts.unshift(
      `${hairy.flagged} of ${hairy.cells} white cells are flagged` +
        (hairy.interval95 ? `: ${percent(hairy.share, 2)}, exact 95 % interval ${percent(hairy.interval95[0], 2)} to ${percent(hairy.interval95[1], 2)}.` : "."),
      `One-sided binomial test against a false-flag rate of ${percent(hairy.false_flag_rate, 2)}: ${pValue(hairy.p_value)}.`,
      `Source of this rate: ${hairy.false_flag_basis}.`,
    );
  }
  return h("ul", { class: "cautions" }, facts.map((text) => h("li", {}, text)));
}
