// The slide on one page of paper.

import { HAIRY, nameOf } from "./classes.js";
import { ORDERS } from "./differential.js";
import { html, render } from "./html.js";
import { Picture } from "./picture.js";
import { Differential } from "./panel.js";
import { count, moment, probability } from "./text.js";

const MOST = 12;

/** Draw the report in `root`; resolves when its pictures can be printed. */
export async function drawReport(root, store, advice) {
  render(store.slide && advice.now && html`<${Report} store=${store} advice=${advice} />`, root);
  await Promise.all([...root.querySelectorAll("img")].map((image) => image.decode().catch(() => null)));
}

function Report({ store, advice: { before, now, models: [model] } }) {
  const { slide, derived, cells } = store;
  const { signed } = slide;
  const flagged = cells.filter((cell) => cell.counts && (cell.maybeHairy || cell.label === HAIRY || cell.unfamiliar)).sort(ORDERS.urgent.compare);
  const counted = cells.filter((cell) => cell.counts);
  const reviewed = counted.filter((cell) => cell.reviewed).length;
  const corrected = counted.filter((cell) => cell.corrected).length;
  const evidence = store.model?.classes.find((one) => one.class_id === HAIRY).evidence;
  return html`
    <h1>Differential of photographed cells</h1>
    <p><strong>Slide ${slide.name}</strong>. ${signed ? `Signed off by ${signed.name}, ${moment(signed.at)}.` : "Preliminary: not signed off; a qualified technologist must confirm it."}
      ${signed?.reason && ` Unidentified cells: ${signed.reason}`}
      ${slide.history.map((past) => ` Reopened ${moment(past.reopened.at)} after the signature of ${past.name}: ${past.reopened.reason}.`)}</p>
    <p>${count(counted.length, "cell")}, ${reviewed.toLocaleString("en")} reviewed, ${corrected.toLocaleString("en")} corrected;
      ${" "}${count(cells.length - counted.length, "image")} not counted. Printed ${moment(Date.now())}.</p>
    <div class="report">
      <${Differential} differential=${derived.differential} />
      <div>
        <h2>${now.advice[0].toUpperCase() + now.advice.slice(1)}</h2>
        <p>${now.reason}</p>
        ${before.advice !== now.advice && html`<p>Before review: ${before.advice}. ${before.reason}</p>`}
        ${flagged.length > 0 && html`<h2>Flagged cells (${flagged.length.toLocaleString("en")}${flagged.length > MOST && `, the first ${MOST}`})</h2>
          <div class="print-cells">${flagged.slice(0, MOST).map((cell) => html`<figure key=${cell.id}><${Picture} cell=${cell} />
            <figcaption>${cell.reviewed ? nameOf(cell.label) : `${nameOf(cell.result.class_id)} ${probability(cell.result.confidence)}, not reviewed`}</figcaption></figure>`)}</div>`}
      </div>
    </div>
    <p class="fine">Pre-classified by ${model.name} ${model.version}, SHA-256 ${model.sha256}, decision policy ${model.decision_policy}.
      ${evidence !== "real" && " This model has never seen a real hairy cell."} For research use; a flag is not a diagnosis.</p>`;
}
