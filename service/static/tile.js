// One cell of the gallery: its picture with marks, or its card.

import { HAIRY, nameOf } from "./classes.js";
import { Component, html } from "./html.js";
import { Picture } from "./picture.js";
import { percent, probability } from "./text.js";

export class Tile extends Component {
  shouldComponentUpdate(next) {
    for (const name in next) if (name !== "children" && next[name] !== this.props[name]) return true;
    return false;
  }

  render({ cell, cards, active, selected, place, total, x, y, width, height }) {
    const words = description(cell);
    return html`<div id="cell-${cell.id}" data-cell=${cell.id} role="option" draggable=${cell.counts} class="cell ${kind(cell)} ${active ? "active" : ""}"
      aria-selected=${selected} aria-setsize=${total} aria-posinset=${place + 1} aria-label=${words} title=${words}
      style=${{ width: `${width}px`, height: `${height}px`, transform: `translate(${x}px, ${y}px)` }}>
      <${Picture} cell=${cell} />
      ${marks(cell).map(([name, text]) => html`<span class="mark ${name}">${text}</span>`)}
      ${cards && html`<${Card} cell=${cell} />`}
    </div>`;
  }
}

function kind(cell) {
  if (!cell.counts) return "other";
  if (cell.maybeHairy && (cell.open || cell.label === HAIRY)) return "hairy";
  return cell.open ? "open" : "";
}

function marks(cell) {
  return [
    kind(cell) === "hairy" && ["hairy", "Hairy?"],
    cell.unfamiliar && ["unfamiliar", "Unfamiliar"],
    cell.open && ["open", "!"],
    cell.counts && cell.reviewed && ["reviewed", "✓"],
  ].filter(Boolean);
}

function Card({ cell }) {
  if (!cell.settled) return html`<div class="name">Waiting …</div>`;
  if (!cell.counts) return html`<div class="why">${cell.problem}</div>`;
  const reason = cell.result.review[0]?.message;
  return html`<div class="name"><span>${nameOf(cell.result.class_id)}</span><span>${probability(cell.result.confidence)}</span></div>
    <${Bars} result=${cell.result} most=${3} />
    ${reason && html`<div class="why">${reason}</div>`}`;
}

/** Bars of the largest probabilities; of a class that the model does not support, `unknown` has the id. */
export function Bars({ result, most, shares = false, unknown = new Set() }) {
  const ranked = Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]).slice(0, most);
  return html`<div class="bars">${ranked.map(([id, value]) => html`<div key=${id} class="row ${id} ${unknown.has(id) ? "unknown" : ""}">
    <span class="label">${nameOf(id)}</span>
    <span class="track"><span class="fill" style=${{ width: percent(value, 1).replace("\u00a0", "") }}></span></span>
    ${shares && html`<span class="share">${unknown.has(id) ? "not supported" : probability(value)}</span>`}
  </div>`)}</div>`;
}

/** A cell in words: class, confidence, what HAL said if a person changed it, reasons for review. */
function description(cell) {
  if (!cell.settled) return `Waiting. ${cell.path}`;
  if (!cell.counts) return `Not counted: ${cell.problem} ${cell.path}`;
  const { class_id: id, confidence, review } = cell.result;
  const hal = `${nameOf(id)} ${probability(confidence)}`;
  const state = cell.reviewed ? ", reviewed" : cell.open ? `, to review: ${review.map(({ message }) => message).join("; ")}` : "";
  return `${cell.label === id ? hal : `${nameOf(cell.label)}, HAL: ${hal}`}${cell.flagged ? ", possible hairy cell" : ""}${state}. ${cell.path}`;
}
