// The section of the shadow version: how often it disagrees, hour by hour.

import { el } from "./answers.js";
import { readShadow } from "./service.js";

const section = document.getElementById("shadow");
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const typed = (name) => name.replace(/([^/]*)$/, "v$1");

document.addEventListener("visibilitychange", () => document.hidden || draw());
document.getElementById("key-form").addEventListener("submit", draw);
draw();

async function draw() {
  const shadow = await readShadow().catch(() => ({ version: null })); // as without a key
  section.hidden = shadow.version === null;
  if (section.hidden) return;
  const { version, default: answering, images, dropped, reason } = shadow;
  const names = `${typed(version)} behind ${typed(answering)}`;
  const count = `${images.toLocaleString("en")} image${images === 1 ? "" : "s"}`;
  const rate = images ? `${interval(shadow)} of ${count}` : "";
  const asked = images ? `disagrees on ${rate} in 24 hours` : "no image was asked yet";
  const lost = dropped ? `, ${dropped.toLocaleString("en")} dropped while busy` : "";
  section.replaceChildren(
    el("h2", { id: "shadow-title" }, "Shadow"),
    el("p", {}, el("b", {}, names), ` ${asked}${lost}.`),
    ...(reason ? [el("p", { className: "refusal" }, reason)] : []),
    ...(shadow.hours.length ? [table(shadow)] : []),
  );
}

const interval = ({ disagreement_rate: { value, low, high } }) =>
  `${percent(value)} (${percent(low)} to ${percent(high)})`;

function table({ hours, version, default: answering }) {
  const own = hours.filter((hour) => hour.version === version && hour.default === answering);
  const rows = own.toReversed().map((hour) =>
    el("tr", {},
      el("th", { scope: "row" }, new Date(hour.start).toLocaleTimeString("en-GB", { timeStyle: "short" })),
      el("td", {}, hour.images ? interval(hour) : "–"),
      el("td", {}, hour.images.toLocaleString("en")),
    ),
  );
  const head = ["from", "disagrees", "images"].map((text) => el("th", { scope: "col" }, text));
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}
