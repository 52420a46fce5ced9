/* The gallery: only the cards of the current page exist. */
const PER_PAGE = 24;
const grid = document.getElementById("cards");
const count = document.getElementById("count");
let rows = [], page = 0;

function answerList(side, image) {
  const target = truth(image);
  const items = answers(side, image).map(({ index, probability }) => {
    const isTruth = index === target;
    const item = make("li", { class: isTruth ? "truth" : null },
      make("span", { class: "sign" }, isTruth ? "✓" : ""),
      make("span", { class: "class", title: className(index) }, className(index)),
      make("span", { class: "share" }, percent(probability)));
    if (isTruth) item.prepend(make("span", { class: "unseen" }, "truth: "));
    item.style.setProperty("--share", width(probability));
    return item;
  });
  return make("div", { class: `answers side-${side}` },
    make("h4", {}, VERSION[side]), make("ol", {}, ...items));
}

function badge(image) {
  const { sign, words } = CATEGORY[categoryOf(image)];
  const kind = categoryOf(image).replace(/_.*/, "");
  return make("span", { class: `category is-${kind}` },
    make("span", { "aria-hidden": "true" }, `${sign} `), words);
}

function moved(image) {
  if (!images.labelled) {
    return `confidence ${percent(confidence.a[image])} → ${percent(confidence.b[image])}`;
  }
  const places = SIDES.map((side) => place(ranks[side][image]));
  return `truth ${places[0]} → ${places[1]}`;
}

function card(image) {
  const target = truth(image);
  const open = make("button", {
    type: "button", class: "open", "data-image": image,
    "aria-label": `Enlarge ${describe(image)}`,
  }, picture(image));
  const head = make("div", { class: "card-head" }, badge(image),
    make("span", { class: "truth-name", title: target === null ? null : className(target) },
      target === null ? "" : `✓ ${className(target)}`),
    make("span", { class: "soft" }, moved(image)),
    make("span", { class: "soft file", title: images.name[image] }, images.name[image]));
  return make("article", { class: "card", "data-card": image },
    open, head,
    make("div", { class: "lists" }, answerList("a", image), answerList("b", image)));
}

function draw() {
  const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
  page = Math.min(Math.max(0, page), pages - 1);
  const shown = rows.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  grid.replaceChildren(...shown.map(card));
  const without = rows.filter((image) => !hasPicture(image)).length;
  const of = COUNT + images.left_out;
  count.textContent =
    `${rows.length.toLocaleString("en")} of ${of.toLocaleString("en")} images`
    + (without ? `, ${without.toLocaleString("en")} of them without a picture` : "");
  for (const pager of document.querySelectorAll(".pager")) {
    pager.hidden = pages === 1;
    pager.querySelector("output").textContent = `page ${page + 1} of ${pages}`;
    pager.querySelector("[data-step='-1']").disabled = page === 0;
    pager.querySelector("[data-step='1']").disabled = page === pages - 1;
  }
  document.getElementById("nothing").hidden = rows.length > 0;
}

function refresh() {
  rows = found();
  page = 0;
  draw();
}

form.addEventListener("input", () => { readForm(); refresh(); });
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("clear").addEventListener("click", () => { wish(""); refresh(); });
for (const pager of document.querySelectorAll(".pager")) {
  pager.addEventListener("click", (event) => {
    const step = event.target.dataset.step;
    if (!step) return;
    page += Number(step);
    draw();
    document.getElementById("count").scrollIntoView({ block: "start" });
  });
}
/* Arrow keys move from card to card, as in the enlarged view. */
grid.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !event.target.matches(".open")) return;
  const buttons = [...grid.querySelectorAll(".open")];
  buttons[buttons.indexOf(event.target) + step]?.focus();
  event.preventDefault();
});
