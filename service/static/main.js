// Starts the page: connects the store, the service and the views, and takes image files in.

import { Advice } from "./advice.js";
import { App } from "./app.js";
import { UNIDENTIFIED } from "./classes.js";
import { byFile } from "./differential.js";
import { html, render } from "./html.js";
import { listen } from "./events.js";
import { sorted } from "./intake.js";
import { corrections, csv, download, json } from "./outputs.js";
import { Persistence } from "./persistence.js";
import { drawReport } from "./report.js";
import { Sender } from "./sender.js";
import { Service } from "./service.js";
import { Store } from "./store.js";
import { count, moment } from "./text.js";

const REDRAW_MS = 250;
const SUMMARY_MS = 1200;
const AFTER_DECISION_MS = 120;

const byId = (id) => document.getElementById(id);
const root = byId("app");
let store = null;
let lost = null;
const kept = await Persistence.open((error) => {
  // A full storage has no message.
  lost = `This browser cannot keep the slide (${error.message || error.name}): it is lost when the page is closed.`;
  store?.notice("kept", lost);
});
store = new Store(kept, draw);
store.notices.kept = lost;
const service = new Service((state) => store.notice("service", state), requestKey);
const advice = new Advice(service, store);
const sender = new Sender(service, answered);

let drawing = false;
/** Draw at the end of the present task, once for all changes in it. */
function draw() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    if (store.slide && decision(store.slide) !== decided) advice.refresh(AFTER_DECISION_MS);
    decided = store.slide && decision(store.slide);
    render(html`<${App} store=${store} advice=${advice} actions=${actions} />`, root);
  });
}
/** Changes with every decision about the slide, its signature included. */
const decision = ({ position, signed }) => `${position} ${signed?.at}`;
let decided = null;

// Answers

let started = null;
let pending = null;

function answered(cells) {
  store.answered(cells);
  pending ??= setTimeout(() => {
    pending = null;
    store.changed();
    const { images, settled } = store.derived.progress;
    if (settled === images) finished();
  }, sender.running ? REDRAW_MS : 0);
  advice.refresh(sender.running ? SUMMARY_MS : 0);
}

function finished() {
  if (!started) return;
  started = null;
  const settled = store.cells.filter((cell) => cell.result).length;
  store.say(`${count(settled, "image")} classified, ${count(store.derived.progress.open, "cell")} to review.`);
}

function send(cells) {
  if (!cells.length) return;
  started ??= { at: performance.now(), settled: store.cells.filter((cell) => cell.settled).length };
  sender.add(cells);
  store.changed();
}

function stop() {
  sender.stop();
  started = null;
}

const waiting = () => store.cells.filter((cell) => cell.state === "waiting");

// Slides

let turn = Promise.resolve();
/** One slide after another is opened, begun or deleted, so that the last one that was asked for stays. */
const inTurn = (work) => (given) => (turn = turn.catch(() => null).then(() => work(given)));

/** Why the slide cannot be opened, `null` if it is. */
const open = inTurn(async ({ id, name }) => {
  if (id === store.slide?.id) return null;
  try {
    if (!(await store.open(id))) return `“${name}” is open in another tab, where it can be closed, or was deleted there.`;
  } catch (error) {
    kept.failed(error);
    return `“${name}” cannot be read.`;
  }
  stop();
  advice.clear();
  decided = decision(store.slide);
  send(waiting());
  advice.refresh(0);
  return null;
});

/** The slide that is begun. */
const begin = inTurn(async (name) => {
  stop();
  advice.clear();
  await store.begin(name || moment(Date.now()));
  return store.slide;
});

/** The slide that images begin which are chosen while none is open. */
let first = null;

/** Take image files, maybe given later, into the slide that is open now. */
async function add(given) {
  const { slide } = store;
  const name = byId("slide-id")?.value.trim();
  const { files, unreadable = [] } = await given;
  const { images, others } = sorted(files);
  const firstOf = (paths) => `${paths[0]}${paths.length > 1 ? ", …" : ""}`;
  const complaints = [
    others.length && `${count(others.length, "file")} skipped: the name does not end in .jpg, .png, .bmp or .tif (${firstOf(others.map(([, path]) => path))}).`,
    unreadable.length && `${count(unreadable.length, "file or folder", "files or folders")} cannot be read (${firstOf(unreadable)}).`,
  ].filter(Boolean).join(" ");
  if (slide?.signed) return store.notice("files", "The slide is signed off. Reopen it, or begin a new one, to add images.");
  const into = slide ?? (images.length ? await (first ??= begin(name)) : null);
  if (into && into !== store.slide) return store.notice("files", `No image was added to “${into.name}”, which was left meanwhile.`);
  store.notice("files", complaints);
  if (images.length) send(store.add(images));
}

// API key

/** The key that the user enters; without one the requests that need it are aborted. */
async function requestKey(message, code) {
  try {
    return await new Promise((resolve, reject) => {
      store.asking = { message, code, key: service.key, resolve, reject: () => reject(new DOMException("no API key was entered", "AbortError")) };
      store.draw();
    });
  } finally {
    store.asking = null;
    store.changed();
  }
}

async function loadModel() {
  try {
    store.model = (await service.ask("model")).body;
  } catch (error) {
    store.modelProblem = `Cannot load the model: ${error.message}`;
  }
  store.draw();
}

// Actions

const dark = matchMedia("(prefers-color-scheme: dark)");
const { dataset } = document.documentElement;
const inOrder = () => [...store.cells].sort(byFile);
const fileName = (suffix) => `hal-${store.slide.name.replace(/[^\w.-]+/g, "-")}.${suffix}`;

const actions = {
  begin,
  open,
  choose: (what) => byId(what).click(),
  /** Why the slide cannot be deleted, `null` if it is. */
  delete: inTurn(async (slide) => {
    if (slide.id === store.slide?.id) {
      stop();
      advice.clear();
      first = null;
    }
    const deleted = await store.delete(slide);
    store.recent = await kept.slides();
    store.draw();
    return deleted ? null : `“${slide.name}” is open in another tab. Close it there.`;
  }),
  running: () => sender.running,
  stop: () => {
    if (sender.running) stop();
    else send(waiting());
    store.notice("service", null);
    store.changed();
  },
  retry: () => {
    const failed = store.cells.filter((cell) => cell.state === "failed" || cell.fault?.code === "model_failed");
    store.reset(failed);
    send(failed);
  },
  classifyAgain: () => {
    stop();
    advice.clear();
    store.notice("model", null);
    store.reset(store.cells);
    send(store.cells);
    loadModel();
  },
  timeLeft: () => {
    const settled = store.cells.filter((cell) => cell.settled).length;
    if (!started || settled <= started.settled) return "starting";
    const seconds = ((store.cells.length - settled) * (performance.now() - started.at)) / 1000 / (settled - started.settled);
    return seconds < 60 ? `about ${Math.ceil(seconds)} s left` : `about ${Math.ceil(seconds / 60)} min left`;
  },
  shownToConfirm: () => store.derived.flat.filter((cell) => cell.counts && !cell.reviewed && cell.label !== UNIDENTIFIED),
  confirmShown: () => store.decisions.confirm(actions.shownToConfirm()),
  askKey: async () => {
    try {
      await service.newKey("This service may require an API key.", "");
    } catch {
      return;
    }
    if (!store.model) loadModel();
  },
  isDark: () => (dataset.theme ? dataset.theme === "dark" : dark.matches),
  switchTheme: () => {
    dataset.theme = actions.isDark() ? "light" : "dark";
    store.draw();
  },
  csv: () => download(fileName("csv"), csv(store.slide, inOrder()), "text/csv"),
  json: () => download(fileName("json"), json(store, inOrder(), advice), "application/json"),
  corrections: async () => {
    try {
      download(fileName("corrections.zip"), await corrections(store.slide, inOrder()), "application/zip");
    } catch (error) {
      store.notice("files", `No corrections: ${error.message}.`);
    }
  },
  fhir: async () => {
    const { signed, fhir } = store.slide;
    const given = Object.fromEntries(Object.entries(fhir ?? {}).filter(([, value]) => value));
    const report = { ...given, ...(signed && { signed_by: signed.name, signed_at: new Date(signed.at).toISOString(), ...(signed.reason && { note: `Cells in no class: ${signed.reason}.` }) }) };
    const body = JSON.stringify({ ...advice.request(true), report });
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
    const name = fileName("fhir.json");
    try {
      const answer = await service.ask("slides/summary?format=fhir", options);
      download(name, JSON.stringify(answer.body, null, 1), "application/fhir+json");
    } catch (error) {
      store.notice("files", `No FHIR report: ${error.message}`);
    }
  },
  print: async () => {
    store.show(null);
    await drawReport(byId("print"), store, advice);
    print();
  },
};

listen(store, add);
addEventListener("beforeprint", () => drawReport(byId("print"), store, advice));
dark.addEventListener("change", draw);

store.recent = await kept.slides();
draw();
loadModel();
if (store.recent.length) await open(store.recent[0]);
navigator.storage?.persist?.();
