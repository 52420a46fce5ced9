/* The enlarged view of one image, with both lists in one table. */
const dialog = document.getElementById("enlarged");
let sequence = [], position = 0;

/* Rows are classes: A's answers in order, then the answers of B alone. */
function joined(image) {
  const list = { a: answers("a", image), b: answers("b", image) };
  const classes = [...new Set([...list.a, ...list.b].map((answer) => answer.index))];
  return classes.map((index) => ({
    index,
    ...Object.fromEntries(SIDES.map((side) => {
      const at = list[side].findIndex((answer) => answer.index === index);
      return [side, at < 0 ? null : { rank: at + 1, ...list[side][at] }];
    })),
  }));
}

function shareCell(side, answer) {
  if (answer === null) {
    return make("td", { class: "absent" }, make("span", {}, "not listed"));
  }
  const cell = make("td", { class: `share-cell side-${side}` },
    make("span", { class: "rank" }, place(answer.rank)),
    make("span", { class: "bar" }),
    make("span", { class: "value" }, percent(answer.probability, 2)));
  cell.style.setProperty("--share", width(answer.probability));
  return cell;
}

function joinedTable(image) {
  const head = make("tr", {}, make("th", { scope: "col" }, "class"),
    ...SIDES.map((side) => make("th", { scope: "col" }, VERSION[side])));
  const body = joined(image).map((row) => {
    const isTruth = row.index === truth(image);
    const name = make("th", { scope: "row" },
      isTruth ? "✓ " : "", className(row.index));
    if (isTruth) name.append(make("span", { class: "soft" }, " (truth)"));
    return make("tr", { class: isTruth ? "truth" : null }, name,
      ...SIDES.map((side) => shareCell(side, row[side])));
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

function fill() {
  const image = sequence[position], target = truth(image);
  const facts = [
    ...(target === null ? [] : [`truth: ${className(target)} (${images.class_ids[target]})`]),
    moved(image),
    `${shared(image)} of ${answers("a", image).length} answers shared`,
  ];
  const large = make("div", { class: "large", role: "img", "aria-label": describe(image) },
    picture(image));
  document.getElementById("enlarged-body").replaceChildren(
    large,
    make("div", { class: "about" },
      make("h3", { id: "enlarged-name" }, images.name[image]), badge(image),
      make("p", {}, facts.join(" · ")), joinedTable(image)));
  document.getElementById("enlarged-place").textContent =
    `${(position + 1).toLocaleString("en")} of ${sequence.length.toLocaleString("en")}`;
  document.getElementById("previous").disabled = position === 0;
  document.getElementById("next").disabled = position === sequence.length - 1;
}

function enlarge(image, among) {
  sequence = among.includes(image) ? among : [image];
  position = sequence.indexOf(image);
  fill();
  dialog.showModal();
  document.getElementById("close").focus();
}

function step(by) {
  position = Math.min(Math.max(0, position + by), sequence.length - 1);
  fill();
}

dialog.addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 }[event.key];
  if (!by) return;
  step(by);
  event.preventDefault();
});
document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
/* Focus returns to the card of the image that was shown last. */
dialog.addEventListener("close", () => {
  const image = sequence[position], among = rows.indexOf(image);
  if (sequence !== rows || among < 0) return;
  const needed = Math.floor(among / PER_PAGE);
  if (needed !== page) {
    page = needed;
    draw();
  }
  grid.querySelector(`.open[data-image="${image}"]`)?.focus();
});
grid.addEventListener("click", (event) => {
  const opened = event.target.closest("[data-card]");
  if (opened) enlarge(Number(opened.dataset.card), rows);
});
