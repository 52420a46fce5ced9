// What versions answered about one picture: compared, and drawn side by side.
// A column is {entry, answer}: a version of GET /versions, and its result of POST
// /predict, or a Refusal, or undefined while it is asked.

const COLOURS = 6; // of page.css

export function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** "v1, v2 and v3" */
export const inWords = (words) =>
  [words.slice(0, -1).join(", "), ...words.slice(-1)].filter(Boolean).join(" and ");

const percent = (share, digits) => `${(100 * share).toFixed(digits)}\u00a0%`;
const label = ({ entry }) => entry.name;
const first = ({ answer }) => answer.top[0];
const withAnswers = (columns) => columns.filter(({ answer }) => answer?.top);

function grouped(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  }
  return groups;
}

/** The columns, with a `sameAs` in each answer: its class's id, or the id of another
 * model's class of the same name. */
export function withClasses(columns) {
  const known = new Map(); // by id: the model that had the class first, and its name
  for (const { entry, answer } of withAnswers(columns)) {
    const taken = new Set(answer.top.map(({ id }) => id));
    for (const one of answer.top) {
      const name = one.name.toLowerCase();
      const isSame = ([id, other]) =>
        other.model !== entry.model && other.name === name && !taken.has(id);
      const [twin] = [...known].find(isSame) ?? [one.id];
      one.sameAs = known.has(one.id) ? one.id : twin;
      taken.add(one.sameAs);
      if (!known.has(one.sameAs)) known.set(one.id, { model: entry.model, name });
    }
  }
  return columns;
}

/** Whether the first answers are the same, in words; null before there are any. */
export function judge(columns) {
  const given = withAnswers(columns);
  if (!given.length) return null;
  const nameOf = namer(given);
  const camps = [...grouped(given, (column) => first(column).sameAs).values()];
  const names = camps.map(([column]) => nameOf(first(column)));
  const [who, said] = [inWords(given.map(label)), names.join(", ")];
  const verdict = (kind, sentence) => ({ kind, said, sentence });
  if (given.length === 1) return verdict("alone", `${who} says ${said}`);
  if (camps.length === 1) return verdict("agree", `${who} agree: ${said}`);
  if (given.length === 2) return verdict("disagree", `${who} disagree: ${said}`);
  const sides = camps.map(
    (camp, at) => `${names[at]}\u00a0(${camp.map(label).join(", ")})`,
  );
  return verdict("disagree", `The versions disagree: ${sides.join(", ")}`);
}

/** How many of the classes stand in all lists; "" where there is but one list. */
export function overlap(columns) {
  const idsOf = ({ answer }) => answer.top.map(({ sameAs }) => sameAs);
  const lists = withAnswers(columns).map(idsOf);
  if (lists.length < 2) return "";
  const common = lists[0].filter((id) => lists.every((ids) => ids.includes(id)));
  const isSame = lists.every((ids) => String(ids) === String(lists[0]));
  const where = lists.length === 2 ? "both lists" : `all ${lists.length} lists`;
  const order = isSame ? ", in the same order" : "";
  return `In ${where}: ${common.length} of ${lists[0].length} classes${order}.`;
}

/** One card a column; `onServe` takes the name of a version that is not served. */
export function cards(columns, onServe) {
  const given = withAnswers(columns);
  const look = { given, marks: marksOf(given), nameOf: namer(given) };
  return columns.map((column) => {
    const { entry, answer } = column;
    if (!answer) return card(column, el("p", { className: "facts" }, "asking …"));
    if (answer.top) return card(column, table(column, look));
    const refusal = el("p", { className: "refusal" }, answer.message);
    if (answer.code !== "unknown_version") return card(column, refusal);
    const button = el("button", {}, `Serve ${label(column)} to everybody`);
    button.addEventListener("click", () => onServe(entry.name));
    return card(column, refusal, button);
  });
}

function card(column, ...content) {
  const id = `card-${encodeURIComponent(label(column))}`;
  const title = el("h3", { id }, label(column), ...aliases(column.entry));
  const known = el("p", { className: "facts" }, facts(column.entry));
  const section = el("section", { className: "card" }, title, known, ...content);
  section.setAttribute("aria-labelledby", id);
  return section;
}

export const aliases = (entry) =>
  entry.aliases.map((alias) => el("span", { className: "alias" }, alias));

export function facts({ epoch, val_top1_accuracy: accuracy }) {
  const trained = epoch === null ? "" : `epoch ${epoch}`;
  const measured = accuracy === null ? "" : `validation ${percent(accuracy, 2)}`;
  return [trained, measured].filter(Boolean).join(" · ");
}

function table(column, look) {
  const other = counterpart(column, look.given);
  const titles = ["Class", "Probability", ...(other ? [`vs ${label(other)}`] : [])];
  const head = titles.map((title) => el("th", { scope: "col" }, title));
  const caption = `The likeliest classes of ${label(column)}`;
  return el(
    "table",
    {},
    el("caption", { className: "hidden" }, caption),
    el("thead", {}, el("tr", {}, ...head)),
    el("tbody", {}, ...column.answer.top.map((_, at) => row(column, at, other, look))),
  );
}

/** Whose places those of a column are told against: the first's, or the other's. */
function counterpart(column, given) {
  if (column !== given[0]) return given[0];
  return given.length === 2 ? given[1] : null;
}

function row(column, at, other, { given, marks, nameOf }) {
  const answer = column.answer.top[at];
  const { id, sameAs, probability } = answer;
  const mark = marks.get(sameAs);
  const isShared = mark !== undefined;
  const unshared = given.length > 1 ? "mark-none" : "mark-alone";
  const colour = isShared ? `mark-${mark % COLOURS}` : unshared;
  const letter = isShared ? String.fromCharCode(65 + (mark % 26)) : "";
  const fill = el("span", { className: colour });
  fill.style.width = `${100 * probability}%`;
  const differing = at > 0 ? [] : given.filter((one) => first(one).sameAs !== sameAs);
  const title = el(
    "span",
    { className: "class" },
    el("span", { className: `mark ${colour}`, ariaHidden: "true" }, letter),
    el("span", { className: "name", title: id }, nameOf(answer)),
    ...(differing.length ? [difference(differing)] : []),
  );
  const bar = el("span", { className: "bar", ariaHidden: "true" }, fill);
  const share = el("data", { value: probability }, inPercent(probability));
  const head = el("th", { scope: "row" }, title, bar);
  const line = el("tr", {}, head, el("td", {}, share));
  if (other) line.append(el("td", {}, change(at, answer, other)));
  line.dataset.id = sameAs;
  line.classList.toggle("differs", differing.length > 0);
  return line;
}

/** Of what is nearly 0 or 1 no more than is known to one digit. */
function inPercent(probability) {
  if (probability < 0.001) return `< ${percent(0.001, 1)}`;
  return (probability > 0.999 ? "> " : "") + percent(Math.min(probability, 0.999), 1);
}

function difference(differing) {
  const many = differing.length > 3;
  const who = many ? `${differing.length} others` : differing.map(label).join(", ");
  return spoken(`≠ ${who}`, `differs from ${who}`, "difference");
}

/** Places up or down from another version's list. */
function change(at, { sameAs }, other) {
  const there = other.answer.top.findIndex((answer) => answer.sameAs === sameAs);
  const absent = `not in ${label(other)}`;
  if (there < 0 && other.entry.model) return spoken("not there", absent, "absent");
  if (there < 0) return el("span", { className: "absent" }, absent);
  const places = Math.abs(there - at);
  if (!places) return spoken("=", `the same place as in ${label(other)}`);
  const [arrow, word] = there > at ? ["▲", "higher"] : ["▼", "lower"];
  return spoken(`${arrow} ${places}`, `${places} ${word} than in ${label(other)}`);
}

/** A sign for the eye, and the words for who hears the page. */
function spoken(sign, words, className = "") {
  const seen = el("span", { ariaHidden: "true" }, sign);
  return el("span", { className }, seen, el("span", { className: "hidden" }, words));
}

const everyAnswer = (given) => given.flatMap(({ answer }) => answer.top);

/** A number for each class that stands in two lists or more, in order of appearance. */
function marksOf(given) {
  const places = [...grouped(everyAnswer(given), ({ sameAs }) => sameAs)];
  const shared = places.filter(([, answers]) => answers.length > 1);
  return new Map(shared.map(([id], mark) => [id, mark]));
}

/** Names classes; two of the same name by their ids as well. */
function namer(given) {
  const ids = grouped(everyAnswer(given), ({ name }) => name);
  const isShared = ({ name, sameAs }) =>
    ids.get(name).some((other) => other.sameAs !== sameAs);
  return (answer) => answer.name + (isShared(answer) ? ` (${answer.id})` : "");
}
