// The page: takes image files, sends them, shows the results.

import { ApiKeyDialog } from "./api_key.js";
import { Cell, FILTERS, ORDERS } from "./cell.js";
import { announce, byId, count, h, throttled } from "./elements.js";
import { csv, download, json } from "./export.js";
import { Grid } from "./grid.js";
import { showModel, showThemeButton } from "./header.js";
import { chosen, dropped, sorted } from "./intake.js";
import { renderPrint } from "./print.js";
import { Sender } from "./sender.js";
import { Service } from "./service.js";
import { advice, chart, rule, table, warning } from "./slide.js";
import { Viewer } from "./viewer.js";

const REDRAW_MS = 300;
const SUMMARY_MS = 1500;

let cells = [];
let summary = null;
let model = null;
let filter = FILTERS[0];
let started = null;

const banner = byId("banner");
const notices = { unfamiliar: null, service: null, files: null, model: null };

function notice(kind, text) {
  notices[kind] = text;
  const shown = Object.values(notices).filter(Boolean);
  banner.hidden = !shown.length;
  const words = shown.join(" ");
  if (banner.textContent !== words) banner.textContent = words;
}

const keyDialog = new ApiKeyDialog();
const service = new Service((state) => notice("service", state), requestKey);
const redraw = throttled(draw, REDRAW_MS);
const resummarise = throttled(summarise, SUMMARY_MS);
const sender = new Sender(service, () => (redraw(), resummarise()));
const grid = new Grid(byId("grid"), (cell) => viewer.open(cell));
const viewer = new Viewer(byId("viewer"), grid, () =>
  new Set(model?.classes.filter((entry) => entry.evidence === "none").map((entry) => entry.name)));

/** The key that the user enters; without one the upload stops. */
async function requestKey(message, code) {
  try {
    return await keyDialog.ask(message, code, service.key);
  } catch (error) {
    sender.stop();
    redraw();
    throw error;
  }
}

const classNames = () => model?.classes.map((entry) => entry.name) ?? Object.keys(cells.find((cell) => cell.result)?.result.probabilities ?? {});
const stamps = () => new Map(cells.filter((cell) => cell.model).map((cell) => [cell.model.sha256 + cell.model.decision_policy, cell.model]));

// Image files

const firstOf = (paths) => `${paths[0]}${paths.length > 1 ? ", …" : ""}`;

function add({ files, unreadable = [] }) {
  const { images, others } = sorted(files);
  notice("files", [
    others.length && `${count(others.length, "file")} skipped: the name does not end in .jpg, .png, .bmp or .tif (${firstOf(others.map(([, path]) => path))}).`,
    unreadable.length && `${count(unreadable.length, "file or folder", "files or folders")} cannot be read (${firstOf(unreadable)}).`,
  ].filter(Boolean).join(" "));
  if (!images.length) return;
  const added = images.map(([file, path]) => new Cell(file, path));
  cells.push(...added);
  byId("main").classList.remove("empty");
  for (const id of ["run", "cells"]) byId(id).hidden = false;
  if (summary) drawSlide();
  send(added);
  announce(`${count(added.length, "image")} added.`);
}

function send(some) {
  started ??= { at: performance.now(), settled: cells.filter((cell) => cell.settled).length };
  sender.add(some);
  redraw();
}

const waiting = () => cells.filter((cell) => cell.state === "waiting");

byId("choose-images").addEventListener("click", () => byId("images").click());
byId("choose-folder").addEventListener("click", () => byId("folder").click());
for (const id of ["images", "folder"]) {
  byId(id).addEventListener("change", ({ target }) => (add({ files: chosen(target) }), (target.value = "")));
}
addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dragging")));
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(await dropped(event.dataTransfer));
});
byId("stop").addEventListener("click", () => {
  if (sender.running) sender.stop();
  else send(waiting());
  notice("service", null);
  redraw();
});
byId("again").addEventListener("click", () => {
  const failed = cells.filter((cell) => cell.state === "failed" || cell.fault?.code === "model_failed");
  for (const cell of failed) cell.reset();
  summary = null;
  send(failed);
});
byId("clear").addEventListener("click", () => {
  sender.stop();
  [cells, summary, started, filter] = [[], null, null, FILTERS[0]];
  for (const kind of Object.keys(notices)) notice(kind, null);
  byId("main").classList.add("empty");
  for (const id of ["run", "slide", "cells"]) byId(id).hidden = true;
  grid.show([]);
  byId("choose-images").focus();
});

// Cells

function draw() {
  if (!cells.length) return;
  drawProgress();
  drawFilters();
  const name = byId("class-filter").value;
  const order = ORDERS[byId("order").value];
  const classes = classNames();
  const kept = cells.filter((cell) => filter.keep(cell) && (!name || cell.result?.predicted_class === name));
  grid.show(kept.sort((a, b) => order(a, b, classes)));
  byId("no-cells").hidden = kept.length > 0;
  viewer.refresh();
}

function drawProgress() {
  const settled = cells.filter((cell) => cell.settled).length;
  const refused = cells.filter((cell) => cell.state === "refused" || cell.state === "failed").length;
  const cropped = cells.filter((cell) => cell.cropped).length;
  const left = cells.length - settled;
  Object.assign(byId("progress"), { max: cells.length, value: settled });
  const parts = [`${(settled - refused).toLocaleString("en")} of ${cells.length.toLocaleString("en")} classified`];
  if (refused) parts.push(`${refused} refused`);
  if (cropped) parts.push(`${cropped.toLocaleString("en")} cropped to the centre`);
  if (left && sender.running) parts.push(timeLeft(settled, left));
  if (left && !sender.running) parts.push("stopped");
  byId("progress-text").textContent = parts.join(" · ");
  const stop = byId("stop");
  stop.hidden = !left;
  stop.textContent = sender.running ? "Stop" : "Continue";
  byId("again").hidden = sender.running || !cells.some((cell) => cell.state === "failed" || cell.fault?.code === "model_failed");
  if (!left && started) {
    started = null;
    announce(byId("progress-text").textContent);
    summarise();
  }
}

function timeLeft(settled, left) {
  const seconds = (left * (performance.now() - started.at)) / 1000 / Math.max(1, settled - started.settled);
  if (settled === started.settled) return "starting";
  return seconds < 60 ? `about ${Math.ceil(seconds)} s left` : `about ${Math.ceil(seconds / 60)} min left`;
}

function drawFilters() {
  const root = byId("filters");
  if (!root.children.length) {
    root.append(...FILTERS.map((one) =>
      h("button", { type: "button", "data-filter": one.name, onclick: () => ((filter = one), draw()) })));
  }
  for (const button of root.children) {
    const one = FILTERS.find(({ name }) => name === button.dataset.filter);
    button.setAttribute("aria-pressed", one === filter);
    const text = `${one.label} (${cells.filter(one.keep).length.toLocaleString("en")})`;
    if (button.textContent !== text) button.textContent = text;
  }
  const counts = new Map();
  for (const cell of cells) if (cell.result) counts.set(cell.result.predicted_class, (counts.get(cell.result.predicted_class) ?? 0) + 1);
  const select = byId("class-filter");
  const chosenName = select.value;
  const names = classNames().filter((name) => counts.has(name) || name === chosenName);
  const options = [["", "All classes"], ...names.map((name) => [name, `${name} (${counts.get(name) ?? 0})`])];
  if (options.map(([, text]) => text).join() !== [...select.options].map((option) => option.text).join()) {
    select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
    select.value = chosenName;
  }
}
byId("class-filter").addEventListener("change", draw);
byId("order").addEventListener("change", draw);

// Slide

/** What the service needs of a cell for the summary. */
const summaryInput = (cell) => ({
  image_sha256: cell.sha256,
  ...(cell.fault ? { error: cell.fault.code } : {
    predicted_class: cell.result.predicted_class,
    hairy_cell: { flag: cell.result.hairy_cell.flag, threshold: cell.result.hairy_cell.threshold },
    novelty: cell.result.novelty && { unfamiliar: cell.result.novelty.unfamiliar },
    review: cell.result.review.slice(0, 1),
  }),
});

const answered = () => cells.filter((cell) => cell.state === "done" || cell.state === "refused");
/** Whether the summary covers every cell: none waits, and none was answered after the request. */
const complete = () => summary !== null && !waiting().length && summary.images === answered().length;

let summarising = false;
let outdated = false;

/** Request the slide's summary; one request at a time, and another one if cells were answered meanwhile. */
async function summarise() {
  outdated = true;
  if (summarising) return;
  summarising = true;
  try {
    while (outdated) {
      outdated = false;
      await summariseOnce();
    }
  } finally {
    summarising = false;
  }
}

async function summariseOnce() {
  const slide = cells;
  const given = answered();
  const models = [...stamps().values()];
  if (models.length > 1) {
    notice("model", "The service changed its model while it classified this slide. Choose “New slide” and add the images again.");
    byId("slide").hidden = true;
    return;
  }
  if (complete() || !given.some((cell) => cell.result)) return;
  const body = JSON.stringify({ model: models[0], results: given.map(summaryInput) });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  try {
    const { body: answer } = await service.ask("slides/summary", options);
    if (slide !== cells) return;
    summary = answer.summary;
    notice("model", null);
    drawSlide();
  } catch (error) {
    if (slide === cells) notice("model", `Cannot summarise the slide: ${error.message}`);
  }
}

function drawSlide() {
  const provisional = !complete();
  byId("slide").hidden = false;
  notice("unfamiliar", warning(summary));
  byId("advice").replaceChildren(...advice(summary, provisional).filter(Boolean));
  byId("chart").replaceChildren(chart(summary));
  byId("differential").replaceChildren(...table(summary));
  byId("rule").replaceChildren(rule(summary));
  if (!provisional) announce(`Slide: ${summary.advice}. ${summary.reason}`);
}

// Export

const exportName = () => `hal-slide-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}`;
const byFile = () => [...cells].sort(ORDERS.file);
byId("export-csv").addEventListener("click", () => download(`${exportName()}.csv`, csv(byFile(), classNames()), "text/csv"));
byId("export-json").addEventListener("click", () =>
  download(`${exportName()}.json`, json(byFile(), [...stamps().values()][0], complete() ? summary : null), "application/json"));
byId("print-slide").addEventListener("click", async () => {
  const byUrgency = [...cells].sort(ORDERS.urgent);
  await renderPrint(byId("print"), { summary, provisional: !complete(), cells: byUrgency, model: [...stamps().values()][0] });
  print();
});

// Header

async function loadModel() {
  model = await showModel(service, byId("model-name"), byId("open-card"), byId("card"));
}

byId("open-key").addEventListener("click", async () => {
  try {
    service.useKey(await keyDialog.ask("This service may require an API key.", "", service.key));
  } catch {
    return;
  }
  if (!model) loadModel();
});
showThemeButton(byId("theme"));
loadModel();
