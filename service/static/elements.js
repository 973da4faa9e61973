// Builds elements from text only: a file name or an answer is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element; `on...` attributes are listeners, children are elements or text. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** With a space that does not break. */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

/** 0.97 as "97 %"; "< 1 %" or "> 99 %" for what would round to 0 or 100. */
export function probability(value) {
  if (value > 0 && value < 0.005) return "<\u00a01\u00a0%";
  if (value < 1 && value >= 0.995) return ">\u00a099\u00a0%";
  return percent(value);
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** `work`, at most once in `ms` milliseconds, and once more after the last call. */
export function throttled(work, ms) {
  let timer = null;
  let again = false;
  return () => {
    if (timer !== null) {
      again = true;
      return;
    }
    work();
    timer = setTimeout(function end() {
      timer = null;
      if (again) {
        again = false;
        work();
        timer = setTimeout(end, ms);
      }
    }, ms);
  };
}

/** Tell screen readers. */
export function announce(text) {
  byId("live").textContent = text;
}
