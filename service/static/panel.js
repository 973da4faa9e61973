// The slide's panel: progress, advice, and the differential before and after review.

import { html } from "./html.js";
import { count, moment } from "./text.js";

const KINDS = {
  "follow up by flow cytometry": "follow-up",
  "no indication": "no-indication",
  "too few cells": "too-few",
  "not supported by this bundle": "not-supported",
  "not supported on these images": "unfamiliar",
};
const per100 = ({ per100: value }) => (value === null ? "–" : value.toFixed(1));

/** Numbers stay on one line with their signs. */
const unbroken = (text) => text.replaceAll(/ (?=%)|(?<=\bp [=<]) |(?<=\bp) (?=[=<])/g, "\u00a0");

export function Panel({ store, advice, actions }) {
  const { slide, derived } = store;
  return html`<aside class="panel" aria-label="Slide">
    <h2 title=${slide.name}>${slide.name}</h2>
    <${Progress} store=${store} actions=${actions} />
    ${advice.now && html`<${AdviceBox} summary=${advice.now} provisional=${derived.progress.settled < derived.progress.images} />`}
    <${Differential} differential=${derived.differential} />
    <${SignOff} store=${store} />
  </aside>`;
}

function Progress({ store, actions }) {
  const { images, settled, refused, failed, cropped, reviewed, open } = store.derived.progress;
  const { signed } = store.slide;
  const left = images - settled;
  const parts = [
    `${(settled - refused).toLocaleString("en")} of ${images.toLocaleString("en")} classified`,
    refused && `${refused} refused`,
    cropped && `${cropped.toLocaleString("en")} cropped to the centre`,
    left && (actions.running() ? actions.timeLeft() : "stopped"),
  ];
  return html`
    ${left > 0 && html`<progress max=${images} value=${settled} aria-label="Classified images"></progress>`}
    <div class="panel-line">
      <p id="progress" class="numbers fine">${parts.filter(Boolean).join(" · ")}</p>
      <button type="button" class="small" id="rename-slide" disabled=${signed} onClick=${() => store.show("rename")}>Rename</button>
      <button type="button" class="small" id="add-images" disabled=${signed} onClick=${() => actions.choose("images")}>Add images</button>
    </div>
    ${left === 0 && html`<p id="state" class="numbers">${reviewed.toLocaleString("en")} reviewed · <strong>${open ? `${count(open, "cell")} to review` : "nothing left to review"}</strong></p>`}
    <div class="buttons">
      ${left > 0 && html`<button type="button" id="stop" onClick=${actions.stop}>${actions.running() ? "Stop" : "Continue"}</button>`}
      ${failed > 0 && !actions.running() && !signed && html`<button type="button" id="again" onClick=${actions.retry}>Retry failed images</button>`}
    </div>`;
}

/** The advice with its reason; `provisional` while cells wait. */
export function AdviceBox({ summary, provisional }) {
  const text = summary.advice[0].toUpperCase() + summary.advice.slice(1);
  return html`<div id="advice" class="advice ${KINDS[summary.advice]} ${provisional ? "provisional" : ""}">
    <strong>${provisional ? `So far: ${summary.advice}` : text}</strong>
    <p>${unbroken(summary.reason)}</p>
    ${summary.cautions.length > 0 && html`<details><summary>${count(summary.cautions.length, "caution")}</summary>
      <ul>${summary.cautions.map((caution) => html`<li>${caution}</li>`)}</ul></details>`}
  </div>`;
}

/** Per 100 white cells, as classified and after review; a cell can be dropped on a row. */
export function Differential({ differential: { rows, white } }) {
  const largest = Math.max(10, ...rows.map(({ now }) => Math.min(100, now.per100 ?? 0)));
  const row = (one) => {
    const changed = one.now.count !== one.before.count;
    const empty = !one.now.count && !one.before.count;
    return html`<tr key=${one.id} data-place=${one.id} class="${one.id} ${empty ? "empty" : ""}">
      <td class="key"><kbd>${one.key.toUpperCase()}</kbd></td>
      <th scope="row">${one.name}<span class="bar" style=${{ "--share": Math.min(1, (one.now.per100 ?? 0) / largest) }}></span></th>
      <td class="number">${one.id === "unidentified" ? "" : per100(one.before)}</td>
      <td class="number ${changed ? "changed" : ""}">${one.id === "unidentified" ? "" : per100(one.now)}</td>
      <td class="number cells">${one.now.count.toLocaleString("en")}</td>
    </tr>`;
  };
  return html`<table class="differential">
    <caption class="visually-hidden">Differential per 100 white cells</caption>
    <thead><tr><td></td><th scope="col">Per 100 white cells</th><th scope="col" class="number">Pre-<wbr />classified</th><th scope="col" class="number">Reviewed</th><th scope="col" class="number">Cells</th></tr></thead>
    <tbody>${rows.filter((one) => one.white).map(row)}
      <tr class="total"><td></td><th scope="row">White cells</th><td class="number">${white.before.toLocaleString("en")}</td><td class="number">${white.now.toLocaleString("en")}</td><td></td></tr></tbody>
    <tbody>${rows.filter((one) => !one.white).map(row)}</tbody>
  </table>`;
}

function SignOff({ store }) {
  const { slide } = store;
  return html`
    ${slide.signed && html`<p id="signed" class="signed">Signed off by <strong>${slide.signed.name}</strong>, ${moment(slide.signed.at)}${slide.signed.reason && `. Unidentified cells: ${slide.signed.reason}`}</p>`}
    ${slide.history.map((past) => html`<p class="fine">Reopened ${moment(past.reopened.at)} after the signature of ${past.name}: ${past.reopened.reason}</p>`)}
    <div class="buttons finish">
      ${slide.signed
        ? html`<button type="button" id="reopen" onClick=${() => store.show("reopen")}>Reopen …</button>`
        : html`<button type="button" id="sign" class="primary" onClick=${() => store.show("sign")}>Sign off …</button>`}
      <button type="button" id="export" onClick=${() => store.show("export")}>Export …</button>
    </div>`;
}
