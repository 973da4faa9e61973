// The page: header, warnings, start screen, tool bar, and the dialog that is open.

import { HAIRY } from "./classes.js";
import { ApiKey, Export, Keys, Menu, New, Rename, Reopen, Sign, Slides } from "./dialogs.js";
import { FILTERS, ORDERS } from "./differential.js";
import { Gallery } from "./gallery.js";
import { html } from "./html.js";
import { ModelCard } from "./model_card.js";
import { Panel } from "./panel.js";
import { percent } from "./text.js";
import { Viewer } from "./viewer.js";

const DIALOGS = { new: New, rename: Rename, slides: Slides, sign: Sign, reopen: Reopen, menu: Menu, keys: Keys, export: Export, card: ModelCard, viewer: Viewer };
const SIZES = { min: 48, max: 176, step: 8 };

export function App({ store, advice, actions }) {
  const Open = DIALOGS[store.dialog?.name];
  return html`
    <a class="skip" href="#main">Skip to the cells</a>
    <${Header} store=${store} actions=${actions} />
    <${Warnings} store=${store} advice=${advice} actions=${actions} />
    <main id="main" class=${store.slide ? "" : "empty"} tabindex="-1">
      ${store.slide
        ? html`<${Panel} store=${store} advice=${advice} actions=${actions} />
          <div class="cells">
            <${Tools} store=${store} actions=${actions} />
            ${store.cells.length ? html`<${Gallery} store=${store} confirmShown=${actions.confirmShown} />` : html`<${Intake} actions=${actions} />`}
            ${store.cells.length > 0 && !store.derived.flat.length && html`<p class="fine" id="no-cells">No cell matches this filter.</p>`}
          </div>`
        : html`<${Start} store=${store} actions=${actions} />`}
    </main>
    <footer>For research use. HAL assists a qualified technologist, who confirms every class; a flag is not a diagnosis: confirm possible hairy cells by flow cytometry.
      Slides are kept in this browser only; “Slides” deletes them.</footer>
    <div class="visually-hidden" aria-live="polite" id="live">${store.said}</div>
    <div id="drag-badge" aria-hidden="true"></div>
    ${Open && html`<${Open} key=${store.dialog.name} store=${store} actions=${actions} advice=${advice} />`}
    ${store.asking && html`<${ApiKey} asking=${store.asking} />`}`;
}

function Header({ store, actions }) {
  const { model } = store;
  return html`<header>
    <img src="static/icon.svg" alt="" width="30" height="30" />
    <h1>HAL <span>Pre-classification of blood cell images</span></h1>
    <p id="model" class="fine">${model ? `${model.name} ${model.version}, ${model.precision}` : store.modelProblem ?? "Loading the model …"}</p>
    <nav aria-label="Slides and service">
      ${store.slide && html`<button type="button" id="new-slide" onClick=${() => store.show("new")}>New slide</button>`}
      <button type="button" id="open-slides" onClick=${() => store.show("slides")}>Slides</button>
      <button type="button" id="open-card" disabled=${!model} onClick=${() => store.show("card")}>Model card</button>
      <button type="button" id="open-keys" onClick=${() => store.show("keys")}>Keys <kbd>?</kbd></button>
      <button type="button" id="open-key" onClick=${actions.askKey}>API key</button>
      <a class="quiet" href="docs">API</a>
      <button type="button" id="theme" aria-pressed=${actions.isDark()} onClick=${actions.switchTheme}>Dark</button>
    </nav>
  </header>`;
}

/** What a person must see before anything else. */
function Warnings({ store, advice, actions }) {
  const { before } = advice;
  const evidence = store.model?.classes.find((one) => one.class_id === HAIRY).evidence;
  const warnings = [
    store.slide && before?.advice === "not supported on these images" &&
      `${percent(before.unfamiliar.unfamiliar / before.unfamiliar.images)} of these images look unlike those this model has learned from: do not use these results.`,
    evidence && evidence !== "real" && (evidence === "none"
      ? "This bundle has never seen a hairy cell and flags none."
      : "This bundle has never seen a real hairy cell: its hairy-cell flags are a demonstration."),
    ...Object.entries(store.notices).filter(([kind]) => kind !== "model").map(([, text]) => text),
  ].filter(Boolean);
  return html`<div id="warnings" role="status">
    ${warnings.map((text) => html`<p>${text}</p>`)}
    ${store.notices.model && html`<p>${store.notices.model} ${!store.slide?.signed && html`<button type="button" id="classify-again" onClick=${actions.classifyAgain}>Classify again</button>`}</p>`}
  </div>`;
}

function Intake({ actions }) {
  return html`<section class="intake" aria-labelledby="intake-title">
    <h2 id="intake-title">Images of single cells</h2>
    <p class="drop-hint">Drop images or a folder here</p>
    <div class="buttons">
      <button type="button" class="primary" id="choose-images" onClick=${() => actions.choose("images")}>Choose images</button>
      <button type="button" id="choose-folder" onClick=${() => actions.choose("folder")}>Choose a folder</button>
    </div>
    <p class="fine">Add the cells of one slide together: JPEG, PNG, BMP or TIFF, RGB, 256×256 pixels. Larger JPEG, PNG and BMP images are cropped to their centre, never resampled. Images are sent to this service only, which does not store them. File names stay in the browser.</p>
  </section>`;
}

function Start({ store, actions }) {
  return html`<div class="start">
    <label>Slide id <input id="slide-id" autocomplete="off" maxlength="80" placeholder="optional; never sent anywhere" /></label>
    <${Intake} actions=${actions} />
    ${store.recent?.length > 0 && html`<h2>Last slides</h2><ul id="recent">${store.recent.slice(0, 5).map((slide) => html`<li key=${slide.id}>
      <button type="button" onClick=${async () => store.notice("files", await actions.open(slide))}>${slide.name}</button> ${slide.images} images, ${slide.reviewed} reviewed${slide.signed && `, signed off by ${slide.signed.name}`}</li>`)}</ul>`}
  </div>`;
}

function Tools({ store, actions }) {
  const { view, slide, cells } = store;
  const unreviewed = actions.shownToConfirm().length;
  return html`<div class="tools">
    <div class="filters" role="group" aria-label="Show">${Object.entries(FILTERS).map(([name, { label, keep }]) => [name, label, cells.filter(keep).length]).filter(([name, , size]) => size || ["all", "open", view.filter].includes(name)).map(([name, label, size]) => html`<button key=${name} type="button" data-filter=${name}
      aria-pressed=${view.filter === name} onClick=${() => store.look({ filter: name })}>${label} <span class="numbers">${size.toLocaleString("en")}</span></button>`)}</div>
    <select id="order" aria-label="Sort by" value=${view.order} onChange=${(event) => store.look({ order: event.target.value })}>
      ${Object.entries(ORDERS).map(([name, { label }]) => html`<option value=${name}>${label}</option>`)}</select>
    <label>Size <input id="size" type="range" ...${SIZES} value=${view.size} disabled=${view.cards} onInput=${(event) => store.look({ size: Number(event.target.value) })} /></label>
    <button type="button" id="cards" aria-pressed=${view.cards} onClick=${() => store.look({ cards: !view.cards })}>Cards</button>
    <div class="buttons">
      <button type="button" id="undo" disabled=${!slide.position || slide.signed} onClick=${() => store.decisions.undo()}>Undo</button>
      <button type="button" id="redo" disabled=${slide.position >= store.decisions.events.length || slide.signed} onClick=${() => store.decisions.redo()}>Redo</button>
      <button type="button" id="confirm-shown" disabled=${!unreviewed || slide.signed} onClick=${actions.confirmShown}>Confirm all shown (${unreviewed.toLocaleString("en")})</button>
    </div>
  </div>`;
}
