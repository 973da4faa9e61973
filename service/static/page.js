// The page: what is dropped is sent, what is answered is shown.

import { Cell, FILTERS, ORDERS } from "./cell.js";
import { announce, byId, count, h, throttled } from "./elements.js";
import { csv, download, json } from "./export.js";
import { Grid } from "./grid.js";
import { chosen, dropped, sorted } from "./intake.js";
import { modelCard } from "./model_card.js";
import { layOut } from "./print.js";
import { Sender } from "./sender.js";
import { Service } from "./service.js";
import { advice, chart, rule, table } from "./slide.js";
import { Viewer } from "./viewer.js";

const REDRAW_MS = 300;
const SUMMARY_MS = 1500;

let cells = [];
let summary = null;
let model = null;
let filter = FILTERS[0];
let begun = null;

const banner = byId("banner");
const notices = { service: null, files: null, model: null };

function notice(kind, text) {
  notices[kind] = text;
  const shown = Object.values(notices).filter(Boolean);
  banner.hidden = !shown.length;
  const words = shown.join(" ");
  if (banner.textContent !== words) banner.textContent = words;
}

const service = new Service((state) => notice("service", state), keyOrStop);
const redraw = throttled(draw, REDRAW_MS);
const resummarise = throttled(summarise, SUMMARY_MS);
const sender = new Sender(service, () => (redraw(), resummarise()));
const grid = new Grid(byId("grid"), (cell) => viewer.open(cell));
const viewer = new Viewer(byId("viewer"), grid, () =>
  new Set(model?.classes.filter((entry) => entry.evidence === "none").map((entry) => entry.name)));

const classNames = () => model?.classes.map((entry) => entry.name) ?? Object.keys(cells.find((cell) => cell.result)?.result.probabilities ?? {});
const stamps = () => new Map(cells.filter((cell) => cell.model).map((cell) => [cell.model.sha256 + cell.model.decision_policy, cell.model]));

// Taking images in

function take(files) {
  const { images, others } = sorted(files);
  notice("files", others.length ? `${count(others.length, "file")} left out: not named as JPEG, PNG, BMP or TIFF (${others[0][1]}${others.length > 1 ? ", …" : ""}).` : null);
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
  begun ??= { at: performance.now(), settled: cells.filter((cell) => cell.settled).length };
  sender.add(some);
  redraw();
}

const lacking = () => cells.filter((cell) => cell.state === "waiting");

byId("choose-images").addEventListener("click", () => byId("images").click());
byId("choose-folder").addEventListener("click", () => byId("folder").click());
for (const id of ["images", "folder"]) {
  byId(id).addEventListener("change", ({ target }) => (take(chosen(target)), (target.value = "")));
}
addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dragging")));
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(await dropped(event.dataTransfer));
});
byId("stop").addEventListener("click", () => {
  if (sender.running) sender.stop();
  else send(lacking());
  notice("service", null);
  redraw();
});
byId("again").addEventListener("click", () => {
  const failed = cells.filter((cell) => cell.state === "failed" || cell.fault?.code === "model_failed");
  for (const cell of failed) cell.forget();
  summary = null;
  send(failed);
});
byId("clear").addEventListener("click", () => {
  sender.stop();
  [cells, summary, begun, filter] = [[], null, null, FILTERS[0]];
  for (const kind of Object.keys(notices)) notice(kind, null);
  byId("main").classList.add("empty");
  for (const id of ["run", "slide", "cells"]) byId(id).hidden = true;
  grid.show([]);
  byId("choose-images").focus();
});

// Showing

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
  if (cropped) parts.push(`${count(cropped, "image was", "images were")} larger and cropped to the centre`);
  if (left && sender.running) parts.push(timeLeft(settled, left));
  if (left && !sender.running) parts.push("stopped");
  byId("progress-text").textContent = parts.join(" · ");
  const stop = byId("stop");
  stop.hidden = !left;
  stop.textContent = sender.running ? "Stop" : "Continue";
  byId("again").hidden = sender.running || !cells.some((cell) => cell.state === "failed" || cell.fault?.code === "model_failed");
  if (!left && begun) {
    begun = null;
    announce(byId("progress-text").textContent);
    summarise();
  }
}

function timeLeft(settled, left) {
  const seconds = (left * (performance.now() - begun.at)) / 1000 / Math.max(1, settled - begun.settled);
  if (settled === begun.settled) return "starting";
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

// The slide

const slim = (cell) => ({
  image_sha256: cell.sha256,
  ...(cell.fault ? { error: cell.fault.code } : {
    predicted_class: cell.result.predicted_class,
    hairy_cell: { flag: cell.result.hairy_cell.flag, threshold: cell.result.hairy_cell.threshold },
    review: cell.result.review.slice(0, 1),
  }),
});

const answered = () => cells.filter((cell) => cell.state === "done" || cell.state === "refused");
/** The summary speaks of all that was added: nothing waits, and nothing was answered since it was asked for. */
const complete = () => summary !== null && !lacking().length && summary.images === answered().length;

let summarising = false;
let outdated = false;

/** Ask for the slide's summary; one request at a time, and one more if cells were answered meanwhile. */
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
    notice("model", "The service changed its model while the images were classified: begin again with “New slide”.");
    byId("slide").hidden = true;
    return;
  }
  if (complete() || !given.some((cell) => cell.result)) return;
  const body = JSON.stringify({ model: models[0], results: given.map(slim) });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  try {
    const { body: answer } = await service.ask("slides/summary", options);
    if (slide !== cells) return;
    summary = answer.summary;
    drawSlide();
  } catch (error) {
    if (slide === cells) notice("model", `The slide cannot be summarised: ${error.message}`);
  }
}

function drawSlide() {
  const provisional = !complete();
  byId("slide").hidden = false;
  byId("advice").replaceChildren(...advice(summary, provisional).filter(Boolean));
  byId("chart").replaceChildren(chart(summary));
  byId("differential").replaceChildren(...table(summary));
  byId("rule").replaceChildren(rule(summary));
  if (!provisional) announce(`The slide: ${summary.advice}. ${summary.reason}`);
}

const stem = () => `hal-slide-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}`;
const byFile = () => [...cells].sort(ORDERS.file);
byId("export-csv").addEventListener("click", () => download(`${stem()}.csv`, csv(byFile(), classNames()), "text/csv"));
byId("export-json").addEventListener("click", () =>
  download(`${stem()}.json`, json(byFile(), [...stamps().values()][0], complete() ? summary : null), "application/json"));
byId("print-slide").addEventListener("click", async () => {
  const pressing = [...cells].sort(ORDERS.urgent);
  await layOut(byId("print"), { summary, provisional: !complete(), cells: pressing, model: [...stamps().values()][0] });
  print();
});

// The model, the key, the colours

async function askForModel() {
  try {
    ({ body: model } = await service.ask("model"));
  } catch (error) {
    byId("model-name").textContent = `The model is not known: ${error.message}`;
    return;
  }
  byId("model-name").textContent = `${model.name} ${model.version}, ${model.precision}`;
  const card = byId("card");
  byId("open-card").disabled = false;
  byId("open-card").addEventListener("click", () => {
    card.replaceChildren(modelCard(model, () => card.close()));
    card.showModal();
  });
  const hairy = model.classes.find((entry) => entry.name === "Hairy cell").evidence;
  if (hairy === "none") byId("model-name").append(" · cannot flag hairy cells");
  else if (hairy !== "real") byId("model-name").append(` · hairy class learned from ${hairy} images`);
}

/** The service speaks to programs here; people are told otherwise. */
const KEY_REASONS = {
  key_missing: "This service answers only with a key. Whoever runs it makes one for you.",
  key_unknown: "This key is not known to the service, or was revoked. Check it, or ask whoever runs the service for another.",
};

/** Resolves with a key, or rejects if the dialog is left without one. */
function askForKey(message, code) {
  const dialog = byId("key");
  const input = byId("key-input");
  byId("key-reason").textContent = `${KEY_REASONS[code] ?? message} It is kept until this page is closed and sent to this service only.`;
  input.value = service.key;
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  input.select();
  return new Promise((resolve, reject) => {
    const closed = () => {
      if (dialog.returnValue === "use" && input.value.trim()) resolve(input.value.trim());
      else reject(new Error("no key was given"));
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}

async function keyOrStop(message, code) {
  try {
    return await askForKey(message, code);
  } catch (error) {
    sender.stop();
    redraw();
    throw error;
  }
}

byId("open-key").addEventListener("click", async () => {
  try {
    service.useKey(await askForKey("This service may ask for a key."));
  } catch {
    return;
  }
  if (!model) askForModel();
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = byId("theme");
const isDark = () => (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : dark.matches);
const showTheme = () => {
  theme.setAttribute("aria-pressed", isDark());
};
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
dark.addEventListener("change", showTheme);
showTheme();
askForModel();
