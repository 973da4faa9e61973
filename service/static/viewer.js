// The large view of one cell: picture, result, reasons, reference cells.

import { keyOf, nameOf, placeOf, UNIDENTIFIED } from "./classes.js";
import { Component, Dialog, html } from "./html.js";
import { Picture } from "./picture.js";
import { references } from "./references.js";
import { probability } from "./text.js";
import { Bars } from "./tile.js";

const ZOOMS = [1, 1.5, 2, 3];
const BAR_UM = 10;
const PLAIN = { brightness: 100, contrast: 100 };

export class Viewer extends Component {
  state = { zoom: 2, ...PLAIN, references: new Map() };

  componentDidMount() {
    references().then((found) => this.setState({ references: found }));
  }

  /** The focus stays in the dialog if its button goes. */
  componentDidUpdate() {
    if (document.activeElement === document.body) document.getElementById("next")?.focus();
  }

  step(by) {
    const { store } = this.props;
    store.selection.activate(store.selection.neighbour(by));
    store.say(title(store.selection.active));
  }

  key(event) {
    const { store } = this.props;
    const control = event.ctrlKey || event.metaKey;
    if (event.altKey || (event.repeat && !event.key.startsWith("Arrow")) || event.target.matches("input, select")) return;
    if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (control) return;
    else if (event.key === " " && event.target.closest("button")) return;
    else if (event.key === " ") store.decisions.toggleReviewed([store.selection.active]);
    else if (event.key === "=") store.decisions.accept([store.selection.active]);
    else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 1 : -1);
    else if (placeOf(event.key) && !event.shiftKey) store.decisions.reclassify(placeOf(event.key), [store.selection.active]);
    else return;
    event.preventDefault();
  }

  zoom(by) {
    this.setState(({ zoom }) => ({ zoom: ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, ZOOMS.indexOf(zoom) + by))] }));
  }

  render({ store }, { zoom, brightness, contrast, references: known }) {
    const cell = store.selection.active;
    if (!cell) return null;
    const { flat } = store.derived;
    const pixels = BAR_UM * (store.model?.pixels_per_micrometre ?? 10) * zoom;
    const slider = (name, value) => html`<label>${name[0].toUpperCase() + name.slice(1)}
      <input type="range" min="40" max="200" value=${value} onInput=${(event) => this.setState({ [name]: Number(event.target.value) })} /></label>`;
    const unknown = new Set(store.model?.classes.filter(({ evidence }) => evidence === "none").map(({ class_id: id }) => id));
    return html`<${Dialog} id="viewer" title=${title(cell)} close=${() => store.show(null)} onKeyDown=${(event) => this.key(event)}>
      <div class="viewer">
        <div class="look">
          <div class="large" style=${{ "--scale": zoom }}>
            <${Picture} cell=${cell} alt="Cell ${cell.id}" filter="brightness(${brightness}%) contrast(${contrast}%)" />
            <span class="scale-bar" style=${{ width: `${pixels}px` }}>${BAR_UM} µm</span>
          </div>
          <div class="controls">
            <label>Size <select id="zoom" value=${zoom} onChange=${(event) => this.setState({ zoom: Number(event.target.value) })}>
              ${ZOOMS.map((one) => html`<option value=${one}>${one}:1</option>`)}</select></label>
            ${slider("brightness", brightness)} ${slider("contrast", contrast)}
            <button type="button" class="small" onClick=${() => this.setState(PLAIN)}>Reset</button>
          </div>
          <${References} cell=${cell} known=${known} />
        </div>
        <div class="told">
          <div class="buttons">
            <button type="button" onClick=${() => this.step(-1)}>← Previous</button>
            <button type="button" id="next" autofocus onClick=${() => this.step(1)}>Next →</button>
            <span class="fine numbers">${flat.indexOf(cell) + 1} of ${flat.length.toLocaleString("en")}</span>
          </div>
          <${Notes} cell=${cell} />
          ${cell.counts && !store.slide.signed && html`<${Decide} cell=${cell} store=${store} />`}
          ${cell.result && html`<${Bars} result=${cell.result} most=${20} shares unknown=${unknown} />`}
          <${Facts} cell=${cell} store=${store} />
        </div>
      </div>
    </${Dialog}>`;
  }
}

function Decide({ cell, store }) {
  const unidentified = cell.label === UNIDENTIFIED;
  const words = cell.reviewed ? "Reviewed ✓" : unidentified ? "Leave unidentified" : `Confirm ${nameOf(cell.label)}`;
  return html`<div class="buttons">
    ${unidentified && html`<button type="button" class="primary" onClick=${({ detail }) => detail < 2 && store.decisions.accept([cell])}>It is: ${nameOf(cell.result.class_id)}</button>`}
    <button type="button" id="confirm" class=${unidentified || cell.reviewed ? "" : "primary"} onClick=${({ detail }) => detail < 2 && store.decisions.toggleReviewed([cell])}>${words}</button>
    <button type="button" onClick=${() => store.show("menu", { back: "viewer" })}>Another class …</button>
  </div>`;
}

function title(cell) {
  if (cell.counts) return nameOf(cell.label);
  return { waiting: "Waiting …", refused: "Refused", failed: "Not classified", done: "Duplicate" }[cell.state];
}

function Notes({ cell }) {
  const notes = [
    cell.problem && ["", cell.problem],
    cell.counts && cell.label !== cell.result.class_id && ["plain", `HAL: ${nameOf(cell.result.class_id)}, confidence ${probability(cell.result.confidence)}`],
    ...(cell.result?.review ?? []).map(({ code, message }) => [code === "hairy_cell" ? "hairy" : "", message]),
    cell.cropped && ["plain", `The image has ${cell.size} pixels. Only the central 256×256 were classified.`],
  ].filter(Boolean);
  return html`<ul class="notes">${notes.map(([name, text]) => html`<li class=${name}>${text}</li>`)}</ul>`;
}

/** Cells of the cell's class and of the runner-up, to compare. */
function References({ cell, known }) {
  if (!cell.counts) return null;
  const ranked = Object.entries(cell.result.probabilities).sort((a, b) => b[1] - a[1]).map(([id]) => id);
  const first = cell.label === UNIDENTIFIED ? ranked[0] : cell.label;
  const shown = [first, ranked.find((id) => id !== first)];
  return html`<div class="references">${shown.map((id) => html`<figure key=${id}>
    <div>${(known.get(id) ?? []).slice(0, 2).map(({ url, source }) => html`<img key=${url} src=${url} alt="Reference: ${nameOf(id)}" title=${source} />`)}</div>
    <figcaption>${nameOf(id)} ${keyOf(id) && html`<kbd>${keyOf(id).toUpperCase()}</kbd>`}${!known.has(id) && html`<br />no reference cell`}</figcaption>
  </figure>`)}</div>`;
}

function Facts({ cell, store }) {
  const hairy = cell.result?.hairy_cell;
  const rows = [
    ["File", cell.path],
    ["Pixels", cell.size],
    ["Hairy-cell probability", hairy?.probability != null && hairy.probability.toFixed(4)],
    ["Novelty", cell.result?.novelty && `${cell.result.novelty.score.toFixed(2)}, unfamiliar above 1`],
    ["SHA-256 of the sent file", cell.sha256],
    ["Model", cell.model && `${cell.model.name} ${cell.model.version}, ${cell.model.precision ?? store.model?.precision}`],
  ];
  return html`<dl class="facts">${rows.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}
