// Preact with templates; a dialog. Text is never parsed as HTML: a file name or an answer stays text.

import htm from "./vendor/htm.js";
import { Component, createRef, h, render } from "./vendor/preact.js";

export const html = htm.bind(h);
export { Component, createRef, render };

/** A modal dialog, open as long as it is in the document; Escape and a click beside it close it. */
export class Dialog extends Component {
  element = createRef();

  componentDidMount() {
    this.before = document.activeElement;
    this.element.current.showModal();
  }

  componentWillUnmount() {
    if (this.before?.isConnected) this.before.focus({ preventScroll: true });
  }

  render({ id, title, close, children, onKeyDown }) {
    return html`<dialog ref=${this.element} id=${id} aria-labelledby="${id}-title" onKeyDown=${onKeyDown}
      onCancel=${(event) => (event.preventDefault(), close())}
      onClick=${(event) => event.target === this.element.current && close()}>
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id="${id}-title">${title}</h2>
          <button type="button" aria-label="Close" onClick=${close}>Close</button>
        </div>
        ${children}
      </div>
    </dialog>`;
  }
}
