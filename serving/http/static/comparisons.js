// The last comparisons: their numbers, reports, and pictures on which versions differ.

import { day, el, percent } from "./answers.js";
import { hasKey, readPictures, readReport, Refusal } from "./service.js";

const SHOWN = 4;

/** The section; `onPictures` takes the comparison whose pictures are to be seen. */
export function drawComparisons(comparisons, versions, onPictures) {
  const section = document.getElementById("compared");
  const list = document.getElementById("comparisons");
  section.hidden = !comparisons.length;
  const lines = comparisons.map((comparison) => line(comparison, onPictures));
  list.replaceChildren(...lines.slice(0, SHOWN));
  if (lines.length <= SHOWN) return;
  const summary = el("summary", {}, `${lines.length - SHOWN} more`);
  const more = el("details", {}, summary, el("ul", {}, ...lines.slice(SHOWN)));
  list.append(el("li", {}, more));
}

/** `v8 → v16`, with their models where these differ; a matrix has a name. */
export function titleOf({ a, b, name }) {
  if (!a || !b) return name;
  const named = ({ model, version }) => {
    if (version.includes(".") && !version.endsWith(".int8")) return version; // a file
    return a.model === b.model ? `v${version}` : `${model}/v${version}`;
  };
  return `${named(a)} → ${named(b)}`;
}

function line(comparison, onPictures) {
  const { a, date, dataset, run_id: run, pictures } = comparison;
  const kind = a ? "report" : "matrix";
  const of = [day(date), dataset].filter(Boolean).join(" · ");
  const links = el("span", { className: "links" }, pageLink(comparison, run, kind));
  if (pictures) {
    const button = el("button", { type: "button" }, "Pictures");
    button.addEventListener("click", () => onPictures(comparison));
    links.append(button);
  }
  return el(
    "li", {}, el("b", {}, titleOf(comparison)), el("small", {}, of),
    ...numbers(comparison.numbers).map((text) => el("small", {}, text)), links,
  );
}

function numbers({ images, disagreement_rate: rate, delta, delta_low, delta_high }) {
  const points = (share) =>
    `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)}`;
  const differ = rate === null ? "" : `${percent(rate, 1)} of first answers differ`;
  const count = images === null ? "" : ` on ${images.toLocaleString("en")} images`;
  const change = delta === null ? "" : `${points(delta)} points of accuracy`;
  const interval = delta_low === null || delta_high === null
    ? "" : ` [${points(delta_low)}, ${points(delta_high)}]`;
  return [differ && differ + count, change && change + interval].filter(Boolean);
}

/** Opens a report; where a key is asked for, a link cannot, so it is saved. */
function pageLink(comparison, run, kind) {
  const href = `comparisons/${run}/${kind}`;
  const link = el("a", { href, target: "_blank", rel: "noopener" }, kind);
  link.addEventListener("click", async (event) => {
    if (!hasKey()) return;
    event.preventDefault();
    const page = await readReport(href).catch((refusal) => refusal);
    if (page instanceof Refusal) return void (link.textContent = page.message);
    const url = URL.createObjectURL(page);
    const name = `${titleOf(comparison).replace(/[^\w.]+/g, "-")}-${kind}.html`;
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  });
  return link;
}

/** The pictures, with the answers that the comparison kept; `names` are those of its
 * versions here. */
export async function picturesOf(comparison, names) {
  const { pictures } = await readPictures(comparison.run_id);
  const about = `of the comparison ${titleOf(comparison)}`;
  return pictures.map(({ name, truth, a, b, b64 }) => {
    const bytes = Uint8Array.from(atob(b64), (letter) => letter.charCodeAt(0));
    const file = new File([bytes], name.split("/").at(-1));
    const answers = new Map([
      [names.a, { top: a }],
      [names.b, { top: b }],
    ]);
    return { file, answers, about, truth, kept: [names.a, names.b] };
  });
}
