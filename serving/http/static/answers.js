// What versions answered about one picture: compared, and drawn as one table.
// A column is {entry, answer}: a version of GET /versions, and its result of POST
// /predict, or a Refusal, or undefined while it is asked.

export function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** "v1, v2 and v3" */
export const inWords = (words) =>
  [words.slice(0, -1).join(", "), ...words.slice(-1)].filter(Boolean).join(" and ");

export const percent = (share, digits) => `${(100 * share).toFixed(digits)}\u00a0%`;
export const day = (date) =>
  new Date(date)
    .toLocaleDateString("en-GB", { dateStyle: "medium" })
    .replaceAll(" ", "\u00a0");
const label = ({ entry }) => entry.name;
const first = ({ answer }) => answer.top[0];
const withAnswers = (columns) => columns.filter(({ answer }) => answer?.top);

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
  const camps = [...Map.groupBy(given, (column) => first(column).sameAs).values()];
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

/** The table of all answers, and what each version without an answer says; `onServe`
 * takes the name of a version that is not served, `truth` is the true class's id. */
export function answersOf(columns, { truth, onServe }) {
  const shown = columns.filter(({ answer }) => !answer || answer.top);
  const refused = columns.filter((column) => !shown.includes(column));
  return [
    ...(shown.length ? [el("div", { className: "wide" }, table(shown, truth))] : []),
    ...refused.map((column) => refusalOf(column, onServe)),
  ];
}

function refusalOf({ entry, answer }, onServe) {
  const words = el("p", {}, el("b", {}, entry.name), " ", answer.message);
  const section = el("div", { className: "refusal" }, words);
  if (answer.code === "unknown_version") {
    const button = el("button", {}, `Serve ${entry.name} to everybody`);
    button.addEventListener("click", () => onServe(entry.name));
    section.append(button);
  }
  return section;
}

export const aliases = (entry) =>
  entry.aliases.map((alias) => el("span", { className: "alias" }, alias));

/** "epoch 16 · validation 34.53 % · 24 Nov 2026" */
export function facts({ epoch, val_top1_accuracy: accuracy, registered }) {
  const trained = epoch === null ? "" : `epoch ${epoch}`;
  const measured = accuracy === null ? "" : `validation ${percent(accuracy, 2)}`;
  const since = registered ? day(registered) : "";
  return [trained, measured, since].filter(Boolean).join(" · ");
}

/** A row for each class that a version names, a column for each version. */
function table(columns, truth) {
  const given = withAnswers(columns);
  const [nameOf, rows] = [namer(given), classesOf(given)];
  const isAgreed = judge(columns)?.kind !== "disagree";
  const head = columns.map(({ entry }) => {
    const known = el("small", {}, facts(entry));
    return el("th", { scope: "col" }, el("b", {}, entry.name), ...aliases(entry), known);
  });
  const lines = rows.map((one) => {
    const name = el("span", { className: "name", title: one.id }, nameOf(one));
    const isTrue = truth !== undefined && [one.id, one.sameAs].includes(truth);
    const mark = el("span", { className: "true" }, "true class");
    const title = el("th", { scope: "row" }, name, ...(isTrue ? [mark] : []));
    const cells = columns.map((column) => cell(column, one, { given, isAgreed }));
    return el("tr", {}, title, ...cells);
  });
  const caption = el("caption", { className: "hidden" }, "The likeliest classes");
  const titles = el("tr", {}, el("th", { scope: "col" }, "Class"), ...head);
  return el(
    "table", {}, caption, el("thead", {}, titles), el("tbody", {}, ...lines),
  );
}

/** First answers in the versions' order, then the others by probability. */
function classesOf(given) {
  const firsts = given.map(first);
  const others = given.flatMap(({ answer }) => answer.top.slice(1));
  others.sort((one, other) => other.probability - one.probability);
  const known = new Map();
  for (const one of [...firsts, ...others]) {
    if (!known.has(one.sameAs)) known.set(one.sameAs, one);
  }
  return [...known.values()];
}

function cell({ entry, answer }, { sameAs }, { given, isAgreed }) {
  if (!answer) return el("td", { className: "absent" }, "…");
  const placeIn = ({ top }) => top.findIndex((one) => one.sameAs === sameAs);
  const place = placeIn(answer);
  if (place < 0) {
    const ofModel = given.filter((column) => column.entry.model === entry.model);
    return absent(entry, answer, ofModel.some((one) => placeIn(one.answer) >= 0));
  }
  const { probability } = answer.top[place];
  const share = el("data", { value: probability }, inPercent(probability));
  const fill = el("span");
  fill.style.width = `${100 * probability}%`;
  const bar = el("span", { className: "bar", ariaHidden: "true" }, fill);
  const kind = isAgreed ? "first" : "first differs";
  const said = place ? `answer ${place + 1}` : "first answer";
  const words = el("span", { className: "hidden" }, `, ${said} of ${entry.name}`);
  return el("td", { className: place ? "" : kind }, share, words, bar);
}

/** A class that is not listed is at most as likely as the last one that is; another
 * model may not even have it. */
function absent(entry, { top }, isOfModel) {
  const title = `not among the ${top.length} likeliest of ${entry.name}`;
  const last = inPercent(top.at(-1).probability);
  const most = last.startsWith("<") ? last : `≤ ${last}`;
  return el("td", { className: "absent", title }, isOfModel ? most : "–");
}

/** Of what is nearly 0 or 1 no more than is known to one digit. */
function inPercent(probability) {
  if (probability < 0.001) return `< ${percent(0.001, 1)}`;
  return (probability > 0.999 ? "> " : "") + percent(Math.min(probability, 0.999), 1);
}

/** Names classes; two of the same name by their ids as well. */
function namer(given) {
  const every = given.flatMap(({ answer }) => answer.top);
  const ids = Map.groupBy(every, ({ name }) => name);
  const isShared = ({ name, sameAs }) =>
    ids.get(name).some((other) => other.sameAs !== sameAs);
  return (answer) => answer.name + (isShared(answer) ? ` (${answer.id})` : "");
}
