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

  componentWillUnmount() {
    URL.revokeObjectURL(this.url);
  }

  load() {
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(this.props.cell.file);
    this.image.current.src = this.url;
  }

  loaded({ target }) {
    target.style.setProperty("--pixels", target.naturalWidth);
    URL.revokeObjectURL(this.url);
  }

  render({ cell, alt = "", filter, children }, { broken }) {
    return html`<div class="frame">
      ${broken
        ? html`<div class="placeholder"><strong>${typeOf(cell.path) ?? "Image"}</strong><span>${cell.path.split("/").at(-1)}</span></div>`
        : html`<img ref=${this.image} alt=${alt} draggable=${false} decoding="async" style=${{ filter }}
            onLoad=${(event) => this.loaded(event)} onError=${() => this.setState({ broken: true })} />`}
      ${children}
    </div>`;
  }
}
