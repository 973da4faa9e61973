// The cells by class. Only those in view are in the document, so that thousands of images scroll smoothly.

import { keyOf, placeOf, UNIDENTIFIED } from "./classes.js";
import { CELLS } from "./events.js";
import { Component, createRef, html } from "./html.js";
import { count } from "./text.js";
import { Tile } from "./tile.js";

const HEAD = 38;
const BETWEEN = 14;
/** Of a section, for its heading. */
const NARROWEST = 270;
const WIDE = 360;
const CARD = { width: 172, height: 262, gap: 10 };
const SPARE = 400;
const STEP = 200;
/** Height of the tool bar that stays above the cells. */
const ABOVE = 60;

export class Gallery extends Component {
  root = createRef();
  state = { width: 0, top: 0 };
  focus = false;

  componentDidMount() {
    this.observer = new ResizeObserver(() => this.setState({ width: this.root.current.clientWidth }));
    this.observer.observe(this.root.current);
    this.scrolled = () => {
      // In steps, so that most frames of scrolling draw nothing.
      const top = Math.floor(-this.root.current.getBoundingClientRect().top / STEP) * STEP;
      if (top !== this.state.top) this.setState({ top });
    };
    addEventListener("scroll", this.scrolled, { passive: true });
    addEventListener("resize", this.scrolled, { passive: true });
  }

  componentWillUnmount() {
    this.observer.disconnect();
    removeEventListener("scroll", this.scrolled);
    removeEventListener("resize", this.scrolled);
  }

  /** The focus follows the active cell to its section, which may be another one after a decision. */
  componentDidUpdate() {
    this.scrolled();
    const { store } = this.props;
    const elsewhere = document.activeElement !== document.body && !this.root.current.contains(document.activeElement);
    const take = !elsewhere && (this.focus || (this.dialog && !store.dialog));
    this.dialog = store.dialog;
    if (take || store.moved) this.reveal();
    if (take) this.takeFocus();
    this.focus = store.moved = false;
  }

  takeFocus() {
    this.root.current.querySelector("[role=listbox][tabindex='0']")?.focus({ preventScroll: true });
  }

  /** Where each section lies, in CSS pixels: small sections share a line, as in a book of plates. */
  layout() {
    const { view, derived } = this.props.store;
    const { width } = this.state;
    const tile = view.cards ? CARD : { width: view.size, height: view.size, gap: 4 };
    const [step, row] = [tile.width + tile.gap, tile.height + tile.gap];
    const widest = Math.max(1, Math.floor((width + tile.gap) / step));
    const narrowest = Math.min(widest, Math.ceil(NARROWEST / step));
    let [left, top, line] = [0, 0, 0];
    const placed = derived.sections.map((section) => {
      const columns = Math.max(narrowest, Math.min(widest, section.cells.length));
      const size = { width: columns * step - tile.gap, height: HEAD + Math.ceil(section.cells.length / columns) * row };
      if (left && left + size.width > width) [left, top, line] = [0, top + line + BETWEEN, 0];
      const place = { ...section, ...size, columns, left, top };
      left += size.width + BETWEEN;
      line = Math.max(line, size.height);
      return place;
    });
    return { tile, step, row, placed, height: top + line };
  }

  /** Every cell with where it lies. */
  positions() {
    const { placed, step, row } = this.layout();
    return placed.flatMap(({ cells, columns, left, top }) => cells.map((cell, place) =>
      ({ cell, x: left + (place % columns) * step, y: top + HEAD + Math.floor(place / columns) * row })));
  }

  /** Bring the active cell into view. */
  reveal() {
    const at = this.positions().find(({ cell }) => cell === this.props.store.selection.active);
    if (!at) return;
    const { tile } = this.layout();
    const top = this.root.current.getBoundingClientRect().top + at.y;
    if (top < ABOVE + HEAD) scrollBy({ top: top - ABOVE - HEAD });
    else if (top + tile.height > innerHeight) scrollBy({ top: top + tile.height - innerHeight + 12 });
  }

  /** The nearest cell so many rows above or below. */
  vertical(cell, rows) {
    const all = this.positions();
    let here = all.find((one) => one.cell === cell);
    for (let left = Math.abs(rows); here && left > 0; left--) {
      const there = all.filter(({ y }) => (y - here.y) * rows > 0);
      const next = Math.sign(rows) * Math.min(...there.map(({ y }) => y * Math.sign(rows)));
      const { x } = here;
      const row = there.filter(({ y }) => y === next);
      if (!row.length) break;
      here = row.reduce((a, b) => (Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a));
    }
    return here?.cell;
  }

  /** The first cell of the section before or after. */
  bySection(cell, step) {
    const { sections } = this.props.store.derived;
    const at = sections.findIndex(({ cells }) => cells.includes(cell));
    return (sections[at + step] ?? sections[at])?.cells[0];
  }

  key(event) {
    if (!event.target.matches("[role=listbox]")) return;
    const { store } = this.props;
    const { active } = store.selection;
    const control = event.ctrlKey || event.metaKey;
    const move = {
      ArrowLeft: () => store.selection.neighbour(-1), ArrowRight: () => store.selection.neighbour(1),
      ArrowUp: () => (control ? this.bySection(active, -1) : this.vertical(active, -1)),
      ArrowDown: () => (control ? this.bySection(active, 1) : this.vertical(active, 1)),
      PageUp: () => this.vertical(active, -4), PageDown: () => this.vertical(active, 4),
      Home: () => store.selection.neighbour(-Infinity), End: () => store.selection.neighbour(Infinity),
    }[event.key];
    this.focus = false;
    if (event.altKey) return;
    if (event.repeat && !move) return event.key === " " && event.preventDefault();
    if (move) store.selection.activate(move(), { range: event.shiftKey });
    else if (event.key === "Enter" && control) this.props.confirmShown();
    else if (event.key === "Enter" && event.shiftKey) this.confirmSection(active);
    else if (event.key === "Enter") store.show("viewer");
    else if (event.key === " " && control) store.selection.activate(active, { toggle: true });
    else if (event.key === " ") store.decisions.toggleReviewed();
    else if (control && event.key === "a") store.say(`${count(store.selection.all(), "cell")} selected.`);
    else if (control) return;
    else if (event.key === "Escape") store.selection.clear();
    else if (event.key === "=") store.decisions.accept();
    else if (placeOf(event.key) && !event.shiftKey) store.decisions.reclassify(placeOf(event.key));
    else return;
    this.focus = true;
    event.preventDefault();
  }

  confirmSection(cell) {
    const { store } = this.props;
    store.decisions.confirm(store.derived.sections.find(({ cells }) => cells.includes(cell))?.cells ?? []);
  }

  cellOf({ target }) {
    const id = Number(target.closest("[data-cell]")?.dataset.cell);
    return this.props.store.derived.flat.find((cell) => cell.id === id);
  }

  click(event) {
    const cell = this.cellOf(event);
    this.focus = true;
    if (cell) this.props.store.selection.activate(cell, { range: event.shiftKey, toggle: event.ctrlKey || event.metaKey, select: true });
  }

  menu(event) {
    const { store } = this.props;
    const cell = this.cellOf(event) ?? store.selection.active;
    if (!cell) return;
    event.preventDefault();
    if (!store.selection.has(cell)) store.selection.activate(cell, { select: true });
    const box = document.getElementById(`cell-${cell.id}`)?.getBoundingClientRect();
    const byMouse = event.button === 2;
    store.show("menu", { x: byMouse ? event.clientX : box?.left + box?.width / 2, y: byMouse ? event.clientY : box?.top + box?.height / 2 });
  }

  drag(event) {
    const { store } = this.props;
    const cell = this.cellOf(event);
    if (!store.selection.has(cell)) store.selection.activate(cell, { select: true });
    event.dataTransfer.setData(CELLS, String(cell.id));
    event.dataTransfer.effectAllowed = "move";
    const badge = document.getElementById("drag-badge");
    badge.textContent = count(store.selection.targets.length, "cell");
    event.dataTransfer.setDragImage(badge, -8, -8);
  }

  render({ store }, { top }) {
    const { placed, tile, step, row, height } = this.layout();
    const { view, derived } = store;
    const [first, last] = [top - SPARE, top + STEP + innerHeight + SPARE];
    const tileOf = (section, cell, place) => html`<${Tile} key=${cell.id} cell=${cell} version=${cell.version} cards=${view.cards}
      active=${cell === store.selection.active} selected=${store.selection.has(cell)} place=${place} total=${section.cells.length}
      x=${(place % section.columns) * step} y=${Math.floor(place / section.columns) * row} width=${tile.width} height=${tile.height} />`;
    return html`<div id="gallery" ref=${this.root} class=${view.cards ? "cards" : "thumbnails"} style=${{ "--side": view.size, height: `${height}px` }}
      onFocusIn=${() => (store.selection.visited = true)} onKeyDown=${(event) => this.key(event)} onClick=${(event) => this.click(event)} onContextMenu=${(event) => this.menu(event)}
      onDblClick=${(event) => this.cellOf(event) && store.show("viewer")} onDragStart=${(event) => this.drag(event)}>
      ${placed.map((section) => {
        const { id, name, cells, columns } = section;
        const from = Math.max(0, Math.floor((first - section.top - HEAD) / row)) * columns;
        const to = Math.max(0, Math.ceil((last - section.top - HEAD) / row)) * columns;
        const tiles = cells.slice(from, to).map((cell, place) => tileOf(section, cell, from + place));
        const at = cells.indexOf(store.selection.active);
        if (at >= 0 && (at < from || at >= to)) tiles.push(tileOf(section, store.selection.active, at));
        const share = derived.differential.rows.find((one) => one.id === id)?.now.per100;
        const left = cells.filter((cell) => cell.counts && !cell.reviewed).length;
        return html`<section key=${id} class="group ${id}" data-place=${keyOf(id) && id} 
          style=${{ width: `${section.width}px`, height: `${section.height}px`, transform: `translate(${section.left}px, ${section.top}px)` }} aria-labelledby="head-${id}">
          <div class="group-head">
            <h3 id="head-${id}">${name} <span class="numbers">${cells.length.toLocaleString("en")}${share != null && section.width > WIDE && ` · ${share.toFixed(1)} per 100`}</span></h3>
            ${keyOf(id) && html`<kbd title="Key that puts a cell here">${keyOf(id).toUpperCase()}</kbd>`}
            ${left > 0 && !store.slide.signed && html`<button type="button" class="small" onClick=${({ detail }) => detail < 2 && store.decisions.confirm(cells)}>${id === UNIDENTIFIED ? "Leave" : "Confirm"} ${left}<span class="visually-hidden"> of ${name}</span>${id === UNIDENTIFIED && " unidentified"}</button>`}
            ${left === 0 && keyOf(id) && html`<span class="all-reviewed">✓ reviewed</span>`}
          </div>
          ${tiles.length > 0 && html`<div role="listbox" aria-multiselectable="true" aria-label=${name} tabindex=${at >= 0 ? 0 : -1}
            aria-activedescendant=${at >= 0 ? `cell-${store.selection.active.id}` : null}>${tiles}</div>`}
        </section>`;
      })}
    </div>`;
  }
}
