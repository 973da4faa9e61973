// The dialogs: slides, signature, classes, keys, export, API key.

import { keyOf, nameOf, PLACES, placeOf, UNIDENTIFIED } from "./classes.js";
import { Component, Dialog, html } from "./html.js";
import { count, moment } from "./text.js";

const values = (form) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));

/** A form in a dialog; `done` gets its values. */
function FormDialog({ id, title, close, submit, done, disabled, children }) {
  const submitted = (event) => {
    event.preventDefault();
    done(values(event.target));
  };
  return html`<${Dialog} id=${id} title=${title} close=${close}>
    <form onSubmit=${submitted}>
      ${children}
      <div class="buttons"><button type="submit" class="primary" disabled=${disabled}>${submit}</button></div>
    </form>
  </${Dialog}>`;
}

export function New({ store, actions }) {
  return html`<${FormDialog} id="new" title="New slide" submit="Begin" close=${() => store.show(null)} done=${({ name }) => (store.show(null), actions.begin(name))}>
    <p>The slide that is open stays in the list of slides, with all that you decided.</p>
    <label>Slide id <input name="name" autocomplete="off" maxlength="80" autofocus /></label>
    <p class="fine">The id stays in this browser and is never sent anywhere.</p>
  </${FormDialog}>`;
}

export function Rename({ store }) {
  const done = ({ name }) => (name && store.rename(name), store.show(null));
  return html`<${FormDialog} id="rename" title="Slide id" submit="Rename" close=${() => store.show(null)} done=${done}>
    <label>Slide id <input name="name" autocomplete="off" maxlength="80" defaultValue=${store.slide.name} required autofocus /></label>
    <p class="fine">The id stays in this browser and is never sent anywhere.</p>
  </${FormDialog}>`;
}

export class Slides extends Component {
  componentDidMount() {
    this.load();
  }

  async load() {
    this.setState({ slides: await this.props.store.kept.slides() });
  }

  async open(slide) {
    const { store, actions } = this.props;
    const problem = await actions.open(slide);
    if (problem) this.setState({ problem });
    else store.show(null);
  }

  async delete(slides) {
    const { actions } = this.props;
    let problem = null;
    for (const slide of slides) problem = (await actions.delete(slide)) ?? problem;
    this.setState({ sure: null, problem });
    await this.load();
  }

  render({ store }, { slides = [], sure, problem }) {
    const ask = (key, some, text) => (sure === key
      ? html`<button type="button" class="danger" onClick=${() => this.delete(some)}>Delete for good</button> <button type="button" onClick=${() => this.setState({ sure: null })}>Keep</button>`
      : html`<button type="button" onClick=${() => this.setState({ sure: key })}>${text}</button>`);
    return html`<${Dialog} id="slides" title="Slides" close=${() => store.show(null)}>
      <p>Images, results and corrections are kept in this browser on this computer, and nowhere else, until they are deleted here.</p>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <table>
        <thead><tr><th scope="col">Slide</th><th scope="col" class="number">Images</th><th scope="col" class="number">Reviewed</th><th scope="col">Signed off</th><th scope="col">Last used</th><td></td></tr></thead>
        <tbody>${slides.map((slide) => html`<tr key=${slide.id}>
          <th scope="row">${slide.name}</th><td class="number">${slide.images.toLocaleString("en")}</td><td class="number">${slide.reviewed.toLocaleString("en")}</td>
          <td>${slide.signed?.name}</td><td>${moment(slide.used)}</td>
          <td class="buttons"><button type="button" onClick=${() => this.open(slide)}>Open</button> ${ask(slide.id, [slide], "Delete")}</td>
        </tr>`)}</tbody>
      </table>
      ${slides.length > 1 && html`<div class="buttons">${ask("all", slides, "Delete all slides")}</div>`}
    </${Dialog}>`;
  }
}

export function Sign({ store }) {
  const { images, settled, open, unidentified } = store.derived.progress;
  const waiting = images - settled;
  const left = [
    waiting && `${count(waiting, "image")} ${waiting === 1 ? "is" : "are"} not classified yet`,
    open && `${count(open, "cell")} must still be reviewed`,
  ].filter(Boolean);
  const review = () => (store.look({ filter: "open" }), store.show(null));
  return html`<${FormDialog} id="sign" title="Sign off" submit="Sign off" disabled=${left.length > 0} close=${() => store.show(null)} done=${({ name, reason }) => name && store.sign(name, reason ?? "")}>
    ${left.length > 0
      ? html`<p class="problem">${left.join("; ")}. Cells that HAL marks for review and cells without a class must be reviewed before a signature.</p>
        ${open > 0 && html`<button type="button" onClick=${review}>Show the cells to review</button>`}`
      : html`<p>The slide is frozen with this name and the time. It can be opened again with a reason, which is kept.</p>`}
    ${unidentified > 0 && html`<label>${count(unidentified, "cell")} in no class. Why? <textarea name="reason" rows="2" required></textarea></label>`}
    <label>Your name <input name="name" autocomplete="name" maxlength="80" required autofocus /></label>
  </${FormDialog}>`;
}

export function Reopen({ store }) {
  return html`<${FormDialog} id="reopening" title="Reopen the slide" submit="Reopen" close=${() => store.show(null)} done=${({ reason }) => reason && store.reopen(reason)}>
    <p>The signature of ${store.slide.signed.name} and your reason are kept. The slide must be signed off again.</p>
    <label>Reason <textarea name="reason" rows="2" required autofocus></textarea></label>
  </${FormDialog}>`;
}

/** The classes to put cells in. */
export function Menu({ store }) {
  const { back = null, x, y } = store.dialog;
  const close = () => store.show(back);
  const targets = back ? [store.selection.active] : store.selection.targets;
  const put = (place) => {
    store.show(back);
    if (place === "=") store.decisions.accept(targets);
    else store.decisions.reclassify(place, targets);
  };
  const key = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...event.currentTarget.querySelectorAll(".places button")];
    if (step) buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
    else if (event.key === "=" || (placeOf(event.key) && !event.ctrlKey && !event.metaKey)) put(event.key === "=" ? "=" : placeOf(event.key));
    else return;
    event.preventDefault();
  };
  const at = x === undefined ? {} : { "--x": `${x}px`, "--y": `${y}px` };
  return html`<div class=${x === undefined ? "" : "at-pointer"} style=${at}>
    <${Dialog} id="menu" title=${`Put ${count(targets.length, "cell")} in`} close=${close} onKeyDown=${key}>
      <div class="places">
        <button type="button" class="proposed" autofocus onClick=${() => put("=")}><kbd>=</kbd> As HAL named it${targets.length === 1 && targets[0].counts ? `: ${nameOf(targets[0].result.class_id)}` : ""}</button>
        ${PLACES.map(({ id, name }) => html`<button key=${id} type="button" onClick=${() => put(id)}><kbd>${keyOf(id).toUpperCase()}</kbd> ${name}</button>`)}
      </div>
    </${Dialog}>
  </div>`;
}

const KEYS = [
  ["Arrow keys, Home, End, Page Up, Page Down", "move between cells; with Shift select them"],
  ["Ctrl + ↑ or ↓", "previous or next class"],
  ["Space", "confirm the cell; once more: not reviewed"],
  ["=", "confirm it as HAL named it"],
  ["Shift + Enter", "confirm all cells of the class"],
  ["Ctrl + Enter", "confirm all cells shown that have a class"],
  ["Enter", "large view; there ← → step, + − change the size"],
  ["Ctrl + Space, Ctrl + A, Escape", "select one more, all, none"],
  ["Menu key or Shift + F10", "list of classes"],
  ["Ctrl + Z, Ctrl + Y", "undo, redo"],
  ["?", "this list"],
];

export function Keys({ store }) {
  return html`<${Dialog} id="keys" title="Keys" close=${() => store.show(null)}>
    <p>Keys act on the selected cells, or else on the one with the frame, while the cells have the focus.</p>
    <div class="places">${PLACES.map(({ id, name, key }) => html`<span key=${id}><kbd>${key.toUpperCase()}</kbd> ${name}</span>`)}</div>
    <table><tbody>${KEYS.map(([key, text]) => html`<tr><th scope="row">${key}</th><td>${text}</td></tr>`)}</tbody></table>
  </${Dialog}>`;
}

const REFERENCES = [["subject", "Patient"], ["specimen", "Specimen"], ["based_on", "Order (ServiceRequest)"], ["performer", "Performer"]];

export function Export({ store, actions, advice }) {
  const { slide } = store;
  const ready = advice.now !== null;
  const changed = (event) => (slide.fhir = values(event.currentTarget));
  return html`<${Dialog} id="exports" title="Export" close=${() => store.show(null)}>
    ${!slide.signed && html`<p class="problem">The slide is not signed off: what leaves now is preliminary.</p>`}
    <div class="buttons">
      <button type="button" id="export-csv" onClick=${actions.csv}>CSV</button>
      <button type="button" id="export-json" onClick=${actions.json}>JSON</button>
      <button type="button" id="print-report" disabled=${!ready} onClick=${actions.print}>Print the report</button>
      <button type="button" id="export-corrections" disabled=${!slide.signed} onClick=${actions.corrections}>Corrections (ZIP)</button>
    </div>
    <p class="fine">Corrections are the confirmed cells with their classes, to teach the next bundle. They need a signature and hold images and the slide id.</p>
    <h3>FHIR R4</h3>
    <form onInput=${changed} onSubmit=${(event) => (event.preventDefault(), actions.fhir())}>
      <div class="fields">${REFERENCES.map(([name, label]) => html`<label key=${name}>${label} <input name=${name} autocomplete="off" placeholder="${{ subject: "Patient/…", specimen: "Specimen/…", based_on: "ServiceRequest/…", performer: "Practitioner/…" }[name]}" value=${slide.fhir?.[name] ?? ""} /></label>`)}</div>
      <p class="fine">References as your record system writes them, if you have any. This service writes the report with them and the name of who signed, and keeps neither.</p>
      <div class="buttons"><button type="submit" id="export-fhir" disabled=${!ready}>FHIR (${slide.signed ? "final" : "preliminary"})</button></div>
    </form>
  </${Dialog}>`;
}

const REASONS = {
  key_missing: "This service requires an API key. Ask the administrator of the service for one.",
  key_unknown: "The service does not know this API key, or it was revoked. Check the key or ask the administrator for a new one.",
};

/** Asks for the API key; `asking` has `message`, `code`, `key`, `resolve` and `reject`. */
export function ApiKey({ asking }) {
  const { message, code, key, resolve, reject } = asking;
  return html`<${FormDialog} id="key" title="API key" submit="Use this key" close=${reject} done=${({ key: given }) => (given ? resolve(given) : reject())}>
    <p>${REASONS[code] ?? message} The page keeps the key until it is closed and sends it to this service only.</p>
    <label>Key <input type="password" name="key" defaultValue=${key} autocomplete="off" spellcheck=${false} autofocus /></label>
  </${FormDialog}>`;
}
