// THE STORY of the page: it opens on pictures of the last comparison; own pictures come
// in, and are asked about one after the other.

import { drawActions } from "./actions.js";
import {
  aliases, answersOf, el, facts, inWords, judge, overlap, withClasses,
} from "./answers.js";
import { drawComparisons, picturesOf } from "./comparisons.js";
import { predict, readComparisons, readVersions, serve, useKey } from "./service.js";

const $ = (id) => document.getElementById(id);
// {file, url, button, answers by version, times, problem, verdict, truth}, and `kept`,
// the names of the versions, where a comparison has the picture and their answers.
const pictures = [];
const ticks = new Map(); // by a version's name: whether it is asked
let versions = [];
let shown = null;
let isRunning = false;
let isOpened = false;
let lookAgain; // timer

$("drop").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  add($("file").files);
  $("file").value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(event.dataTransfer.files);
});
document.addEventListener("visibilitychange", () => document.hidden || run());
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  run();
});
$("again").addEventListener("click", run);
for (const name of ["load", "error"]) $("picture").addEventListener(name, drawCaption);
run();

/** Own pictures; those of a comparison leave. */
function add(files) {
  if (!files.length) return;
  enlist(Array.from(files, (file) => ({ file, answers: new Map() })));
  $("finding").scrollIntoView({ block: "nearest" }); // on a phone it is further down
  run();
}

function enlist(added) {
  leave(pictures.filter(({ kept }) => kept));
  for (const picture of added) {
    picture.url = URL.createObjectURL(picture.file);
    picture.times = [];
    const image = el("img", { src: picture.url, alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.classList.add("broken"));
    picture.button = el("button", { type: "button" }, image, el("span"));
    picture.button.addEventListener("click", () => show(picture));
    $("pictures").append(el("li", {}, picture.button));
  }
  pictures.push(...added);
  $("history").hidden = pictures.length < 2;
  added.forEach(draw);
  show(added[0]);
}

function leave(gone) {
  for (const { button, url } of gone) {
    button.parentElement.remove();
    URL.revokeObjectURL(url);
  }
  pictures.splice(0, Infinity, ...pictures.filter((one) => !gone.includes(one)));
}

function show(picture) {
  const before = shown;
  shown = picture;
  document.body.classList.remove("empty");
  Object.assign($("picture"), { src: picture.url, alt: picture.file.name });
  if (before) draw(before);
  draw(picture);
  if (isOpened) run();
}

/** The comparisons, and the pictures of the last one that has some. */
async function openHome() {
  isOpened = true;
  const found = await readComparisons();
  drawComparisons(found, versions, showDiffering);
  const last = found.find(({ pictures: count, ...one }) => count && namesIn(one));
  if (last && !pictures.length) await showDiffering(last);
}

async function showDiffering(comparison) {
  try {
    enlist(await picturesOf(comparison, namesIn(comparison)));
  } catch (refusal) {
    tell(refusal);
  }
}

/** The names here of the two versions; null if one of them is not in the registry. */
function namesIn({ a, b }) {
  const [one, other] = [a, b].map((side) =>
    versions.find(
      ({ version, run_id, ...entry }) =>
        side?.version === version &&
        side.run_id === run_id &&
        (entry.model ?? side.model) === side.model,
    ),
  );
  return one && other ? { a: one.name, b: other.name } : null;
}

/** Asks whatever is not answered yet, and what is added meanwhile. */
async function run() {
  if (isRunning) return;
  isRunning = true;
  tell("");
  try {
    await refresh();
    for (const { name, state } of versions) {
      if (state === "ready") forgetRefusals(name);
    }
    $("key-form").hidden = true;
    if (!isOpened) await openHome();
    for (let next = nextPicture(); next; next = nextPicture()) await ask(next);
  } catch (refusal) {
    tell(refusal);
  } finally {
    isRunning = false;
  }
}

async function refresh() {
  const read = await readVersions();
  $("model").textContent = read.models.join(", ");
  document.title = `${read.models.join(", ")} · flipside`;
  const isNew = JSON.stringify(read.versions) !== JSON.stringify(versions);
  versions = read.versions;
  for (const { name, state } of versions) {
    if (state === "ready" && !ticks.has(name)) ticks.set(name, true);
  }
  if (isNew) drawVersions();
  clearTimeout(lookAgain);
  const isLoading = versions.some(({ state }) => state === "loading");
  if (isLoading) lookAgain = setTimeout(run, 2000);
}

const asked = ({ kept }) =>
  versions.filter(({ name }) => ticks.get(name) || kept?.includes(name));
const missing = (picture) =>
  picture.problem
    ? []
    : asked(picture).filter(({ name }) => !picture.answers.has(name));
const nextPicture = () =>
  [shown, ...pictures.filter(({ kept }) => !kept)].find(
    (picture) => picture && missing(picture).length,
  );

/** One request for the versions in memory, and one for each that is to be loaded. */
async function ask(picture) {
  draw(picture);
  const isReady = ({ state }) => state === "ready";
  const ready = missing(picture).filter(isReady);
  const others = missing(picture).filter((entry) => !isReady(entry));
  if (ready.length) await askFor(picture, ready);
  for (const entry of others) if (!picture.problem) await askFor(picture, [entry]);
  if (others.length) await refresh();
}

async function askFor(picture, entries) {
  const names = entries.map(({ name }) => name);
  try {
    const { results, milliseconds } = await predict(picture.file, names);
    names.forEach((name, at) => picture.answers.set(name, results[at]));
    picture.times.push({ names, milliseconds });
  } catch (refusal) {
    if (refusal.isOfVersion && entries.length > 1) {
      for (const entry of entries) await askFor(picture, [entry]); // only one is gone
    } else if (refusal.isOfVersion) picture.answers.set(names[0], refusal);
    else if (refusal.isOfService) throw refusal;
    else picture.problem = refusal.message;
  }
  draw(picture);
}

async function serveToEverybody(name) {
  try {
    await serve(name);
  } catch (refusal) {
    return tell(refusal);
  }
  forgetRefusals(name);
  run();
}

function forgetRefusals(name) {
  for (const { answers } of pictures) {
    if (!answers.get(name)?.top) answers.delete(name);
  }
}

/** Of the whole service: why nothing more is asked. */
function tell(refusal) {
  $("trouble").hidden = !refusal;
  $("message").textContent = refusal.message ?? "";
  $("again").hidden = refusal.status === 401;
  if (refusal.status !== 401) return;
  $("key-form").hidden = false;
  $("key").focus();
}

function drawVersions() {
  const focused = document.activeElement?.id;
  const isNear = ({ name, state }) => state !== "available" || ticks.get(name);
  const far = versions.filter((entry) => !isNear(entry));
  $("asked").hidden = false;
  $("loaded").replaceChildren(...versions.filter(isNear).map(choice));
  $("available").replaceChildren(...far.map(choice));
  $("others").hidden = !far.length;
  $("count").textContent = far.length;
  if (focused) $(focused)?.focus();
}

function choice(entry) {
  const { name, state, reason } = entry;
  const checked = ticks.get(name) ?? false;
  const box = el("input", { type: "checkbox", id: `ask-${name}`, checked });
  box.addEventListener("change", () => {
    ticks.set(name, box.checked);
    forgetRefusals(name);
    pictures.forEach(draw);
    run();
  });
  const words = { ready: "", available: checked ? "not loaded" : "" }[state] ?? state;
  const known = [facts(entry), words].filter(Boolean).join(" · ");
  const title = [el("b", {}, name), ...aliases(entry)];
  const text = el("span", {}, ...title, el("small", {}, known));
  const line = el("li", {}, el("label", {}, box, text));
  if (reason) line.append(el("small", { className: "refusal" }, reason));
  return line;
}

/** A picture's place in the list, and its answers where it is the one shown. */
function draw(picture) {
  const columns = columnsOf(picture);
  picture.verdict = judge(columns);
  const { problem, verdict, button, file } = picture;
  const kind = problem ? "problem" : (verdict?.kind ?? "waiting");
  const isAsking = columns.some(({ answer }) => !answer);
  const words = problem ? "no answer" : (verdict?.said ?? "waits");
  const none = isAsking ? "Asking …" : "No answer";
  button.className = kind;
  button.title = `${file.name}: ${problem ?? verdict?.sentence ?? words}`;
  button.lastElementChild.textContent = words;
  button.setAttribute("aria-current", picture === shown);
  drawTally();
  if (picture !== shown) return;
  $("finding").className = kind;
  $("verdict").textContent = problem ? "No answer" : (verdict?.sentence ?? none);
  $("overlap").textContent = problem ?? overlap(columns);
  if (!columns.length) $("overlap").textContent = "No version is ticked.";
  const look = { truth: picture.truth?.id, onServe: serveToEverybody };
  $("answers").replaceChildren(...(problem ? [] : answersOf(columns, look)));
  drawActions(picture, columns, draw);
  drawCaption();
}

const columnsOf = (picture) =>
  withClasses(
    asked(picture).map((entry) => ({ entry, answer: picture.answers.get(entry.name) })),
  );

function drawTally() {
  const kinds = pictures.map(({ kept, verdict }) => !kept && verdict?.kind);
  const count = (kind) => kinds.filter((one) => one === kind).length;
  const compared = count("agree") + count("disagree");
  const words = `The first answers differ on ${count("disagree")} of ${compared}.`;
  $("tally").textContent = compared ? words : "";
}

function drawCaption() {
  const { naturalWidth: width, naturalHeight: height } = $("picture");
  $("picture").hidden = !width; // no image, or one that the browser cannot show
  $("picture").classList.toggle("tiny", width < 32); // digits are 8 x 8
  const times = shown.times.map(
    ({ names, milliseconds }) =>
      `${inWords(names)} in ${Math.round(milliseconds)}\u00a0ms`,
  );
  const size = width ? `${width} × ${height} pixels` : "";
  const truth = shown.truth ? `true class: ${shown.truth.name}` : "";
  const words = ["", size, truth, shown.about, ...times]
    .filter((text, at) => !at || text)
    .join(" · ");
  const { name } = shown.file;
  const file = shown.kept
    ? el("a", { href: shown.url, download: name, title: "save the picture" }, name)
    : el("b", {}, name);
  $("caption").replaceChildren(file, words);
}
