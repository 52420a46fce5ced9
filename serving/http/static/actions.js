// What can be done with the picture that is shown: ask by curl, have it remembered.

import { el } from "./answers.js";
import { hasKey, keep, predictPath, readLabels } from "./service.js";

const $ = (id) => document.getElementById(id);
let now = null; // {picture, names, redraw}
let labels = { of: "", known: [] }; // classes of a version

/** `redraw` takes the picture when its true class is known. */
export function drawActions(picture, columns, redraw) {
  const isNew = now?.picture !== picture;
  const names = columns.map(({ entry }) => entry.name);
  now = { picture, names, redraw };
  $("doing").hidden = Boolean(picture.problem) || !names.length;
  $("curl").textContent = command(picture.file.name, names);
  $("copy").textContent = "Copy";
  if (!isNew || !$("keep")) return;
  $("truth").value = picture.truth?.name ?? "";
  say(picture.said);
}

function command(file, names) {
  const key = hasKey() ? '-H "Authorization: Bearer $KEY" ' : "";
  const address = new URL(predictPath(names), location.href).href;
  return `curl ${key}--data-binary @${quoted(file)} ${quoted(address)}`;
}

/** As a shell reads it. */
const quoted = (text) =>
  /^[\w./:%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

const AT_FIRST = "The service keeps it with the answers, for the next comparison.";

function say(words = AT_FIRST) {
  $("kept").textContent = words;
}

$("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren($("curl"));
  // Only a page that came by https or from this machine has a clipboard.
  await (navigator.clipboard?.writeText($("curl").textContent) ??
    document.execCommand("copy"));
  $("copy").textContent = "Copied";
});

$("truth")?.addEventListener("focus", async () => {
  const [name] = now.names;
  if (labels.of === name) return;
  const known = await readLabels(name).catch(() => []);
  labels = { of: name, known };
  $("classes").replaceChildren(
    ...known.map(({ id, name: value }) => el("option", { value, label: id })),
  );
});

$("keep")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { picture, names, redraw } = now;
  const text = $("truth").value.trim();
  try {
    const truth = text && (await classOf(text, names[0], picture));
    const answer = await keep(picture.file, names, truth);
    if (answer.truth) picture.truth = answer.truth;
    const count = answer.kept.toLocaleString("en");
    picture.said = `Remembered; ${count} ${answer.kept > 1 ? "are" : "is"} kept.`;
  } catch (refusal) {
    picture.said = `Not remembered: ${refusal.message}`;
  }
  redraw(picture);
  if (now.picture === picture) say(picture.said);
});

/** The id of the class of this name or id. */
async function classOf(text, version, { truth }) {
  if (text === truth?.name) return truth.id;
  const known = labels.of === version ? labels.known : await readLabels(version);
  const isMeant = ({ id, name }) => [id, name.toLowerCase()].includes(text.toLowerCase());
  const found = known.find(isMeant);
  if (found) return found.id;
  throw new Error(`no class is called ${text}; pick one of the list, or leave it empty`);
}
