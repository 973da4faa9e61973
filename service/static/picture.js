// The picture of a cell, always at the same scale, so that sizes can be compared by eye.

import { Component, createRef, html } from "./html.js";
import { typeOf } from "./prepare.js";

/**
 * A frame around the centre of the image. A pixel of the image is `--scale` CSS pixels, a number that the style sheet or
 * an element around it sets. A file that the browser cannot show is shown by its type and name.
 *
 * Properties: `cell`; `alt`, empty where a text beside it says the same; `filter`, as in CSS; `children` in the frame.
 */
export class Picture extends Component {
  image = createRef();

  shouldComponentUpdate(next, { broken }) {
    return next.cell !== this.props.cell || next.filter !== this.props.filter || next.children || broken !== this.state.broken;
  }

  componentDidMount() {
    this.load();
  }

  componentDidUpdate({ cell }) {
    if (cell === this.props.cell) return;
    if (this.state.broken) this.setState({ broken: false }, () => this.load());
    else this.load();
  }

  load() {
    this.image.current.src = URL.createObjectURL(this.props.cell.file);
  }

  /** Only now: a URL that goes while its image loads, as in fast scrolling, is an error in the console. */
  loaded({ target }) {
    target.style.setProperty("--pixels", target.naturalWidth);
    URL.revokeObjectURL(target.src);
  }

  failed({ target }) {
    URL.revokeObjectURL(target.src);
    this.setState({ broken: true });
  }

  render({ cell, alt = "", filter, children }, { broken }) {
    return html`<div class="frame">
      ${broken
        ? html`<div class="placeholder"><strong>${typeOf(cell.path) ?? "Image"}</strong><span>${cell.path.split("/").at(-1)}</span></div>`
        : html`<img ref=${this.image} alt=${alt} draggable=${false} decoding="async" style=${{ filter }}
            onLoad=${(event) => this.loaded(event)} onError=${(event) => this.failed(event)} />`}
      ${children}
    </div>`;
  }
}
