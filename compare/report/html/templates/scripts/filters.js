/* Filters and the order of the gallery's images. */
const DEFAULTS = {
  show: "changed", target: "", says: "", a: "", b: "", a_rank: "", b_rank: "",
  a_tenth: "", b_tenth: "", name: "",
};
const form = document.getElementById("filters");
const sortBy = document.getElementById("sort");
let wanted = { ...DEFAULTS };

const KINDS = {
  changed: (i) => disagree(i) || ranks.a[i] !== ranks.b[i],
  lost: (i) => ranks.a[i] > 0 && ranks.b[i] === 0,
  gained: (i) => ranks.a[i] === 0 && ranks.b[i] > 0,
  both_wrong: (i) => ranks.a[i] !== 1 && ranks.b[i] !== 1,
  both_in: (i) => ranks.a[i] > 0 && ranks.b[i] > 0,
  both_out: (i) => ranks.a[i] === 0 && ranks.b[i] === 0,
  all: () => true,
};

const truthMove = (i) => truthProbability.b[i] - truthProbability.a[i];
const confidenceMove = (i) => confidence.b[i] - confidence.a[i];
const ORDERS = {
  truth_down: (i) => truthMove(i),
  truth_up: (i) => -truthMove(i),
  confidence_up: (i) => -confidenceMove(i),
  confidence_down: (i) => confidenceMove(i),
  confidence_moved: (i) => -Math.abs(confidenceMove(i)),
  b_confidence: (i) => -confidence.b[i],
  a_confidence: (i) => -confidence.a[i],
  least_shared: (i) => shared(i),
  data: (i) => i,
};

/* Classes of a typed text: the class with this name, else all that contain it. */
function classesMeant(text) {
  if (text === "") return null;
  const all = images.class_names.map((_, index) => index);
  const exact = all.filter((index) => className(index) === text);
  if (exact.length) return new Set(exact);
  const part = text.toLowerCase();
  return new Set(all.filter((index) =>
    className(index).toLowerCase().includes(part) || images.class_ids[index] === text));
}

function matcher() {
  const kind = KINDS[wanted.show] ?? ((i) => categoryOf(i) === wanted.show);
  const target = classesMeant(wanted.target), says = classesMeant(wanted.says);
  const said = { a: classesMeant(wanted.a), b: classesMeant(wanted.b) };
  const name = wanted.name.toLowerCase();
  return (i) =>
    kind(i)
    && (!target || target.has(images.target[i]))
    && (!says || says.has(first.a[i]) || says.has(first.b[i]))
    && SIDES.every((side) => !said[side] || said[side].has(first[side][i]))
    && SIDES.every((side) =>
      wanted[`${side}_rank`] === "" || ranks[side][i] === Number(wanted[`${side}_rank`]))
    && SIDES.every((side) => wanted[`${side}_tenth`] === ""
      || images[`${side}_tenth`][i] === Number(wanted[`${side}_tenth`]))
    && (name === "" || images.name[i].toLowerCase().includes(name));
}

function found() {
  const matches = matcher(), key = ORDERS[sortBy.value];
  const rows = [];
  for (let image = 0; image < COUNT; image++) {
    if (matches(image)) rows.push([key(image), image]);
  }
  rows.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  return rows.map((row) => row[1]);
}

/* Applies a link's query, `show=broken&target=12`; classes are given by index. */
function wish(query) {
  wanted = { ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(query)) };
  for (const key of ["target", "says", "a", "b"]) {
    if (wanted[key] !== "") wanted[key] = className(Number(wanted[key]));
  }
  for (const [key, value] of Object.entries(wanted)) {
    if (form.elements[key]) form.elements[key].value = value;
  }
  const more = document.getElementById("more-filters");
  const within = ["says", "a", "b", "a_rank", "b_rank", "a_tenth", "b_tenth"];
  more.open ||= within.some((key) => wanted[key] !== "");
}

function readForm() {
  for (const key of Object.keys(DEFAULTS)) {
    if (form.elements[key]) wanted[key] = form.elements[key].value.trim();
  }
}
