/* Links into the gallery, sortable tables, and scripts that need no images. */
document.documentElement.classList.add("scripted");

function goTo(id) {
  const goal = document.getElementById(id);
  goal?.scrollIntoView({ block: "start" });
  goal?.querySelector("h2")?.focus({ preventScroll: true });
}

/* In a frame whose page is a blob, following `#gallery` is not allowed everywhere. */
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  event.preventDefault();
  if (link.dataset.filter !== undefined && window.filterGallery) {
    window.filterGallery(link.dataset.filter);
  }
  goTo(link.getAttribute("href").slice(1));
});

function cellValue(row, column) {
  const cell = row.cells[column];
  const number = Number(cell.dataset.value);
  if (cell.dataset.value !== undefined) return Number.isNaN(number) ? Infinity : number;
  return cell.textContent.trim().toLowerCase();
}

function sortTable(button) {
  const header = button.closest("th"), table = button.closest("table");
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) {
    other.removeAttribute("aria-sort");
  }
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const sorted = [...table.tBodies[0].rows].map((row) =>
    [cellValue(row, header.cellIndex), row]);
  sorted.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  if (!rising) sorted.reverse();
  table.tBodies[0].append(...sorted.map(([, row]) => row));
}

for (const header of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => sortTable(button));
}

const classFilter = document.getElementById("class-filter");
classFilter?.addEventListener("input", () => {
  const part = classFilter.value.trim().toLowerCase();
  let shown = 0;
  for (const row of document.querySelectorAll("#class-table tbody tr")) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(part);
    shown += !row.hidden;
  }
  document.getElementById("class-count").textContent = `${shown} classes`;
});

/* Print opens every fold: paper cannot be unfolded. */
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
