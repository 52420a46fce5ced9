/* The data of each image; an index is a place in the columns. */
const images = JSON.parse(document.getElementById("images").textContent);
const COUNT = images.name.length;
const SIDES = ["a", "b"];
const VERSION = { a: document.body.dataset.a, b: document.body.dataset.b };
const FIVE = 5;

const CATEGORY = {
  broken: { sign: "▼", words: "broken" },
  fixed: { sign: "▲", words: "fixed" },
  both_wrong_different: { sign: "◆", words: "both wrong, differently" },
  both_wrong_same: { sign: "■", words: "both wrong, same answer" },
  both_right: { sign: "●", words: "both right" },
  differ: { sign: "◆", words: "answers differ" },
  alike: { sign: "●", words: "same answer" },
};

const twice = new Set();
{
  const seen = new Set();
  for (const name of images.class_names) (seen.has(name) ? twice : seen).add(name);
}
/* If two classes have one name, their ids are shown too. */
const className = (index) => {
  const name = images.class_names[index];
  return twice.has(name) ? `${name} (${images.class_ids[index]})` : name;
};

function answers(side, image) {
  const list = [];
  for (let place = FIVE * image; place < FIVE * image + FIVE; place++) {
    const index = images[`${side}_index`][place];
    if (index < 0) break;
    list.push({ index, probability: images[`${side}_parts`][place] / images.parts });
  }
  return list;
}

const truth = (image) => (images.labelled ? images.target[image] : null);

/* Columns that filters and sorting need, computed once: where the truth stands (1..5,
   0 for not among the five), its probability (0 where it is not listed). */
const ranks = {}, truthProbability = {}, confidence = {}, first = {};
for (const side of SIDES) {
  const indices = images[`${side}_index`], parts = images[`${side}_parts`];
  ranks[side] = new Uint8Array(COUNT);
  truthProbability[side] = new Float32Array(COUNT);
  confidence[side] = new Float32Array(COUNT);
  first[side] = new Int32Array(COUNT);
  for (let image = 0; image < COUNT; image++) {
    const start = FIVE * image;
    first[side][image] = indices[start];
    confidence[side][image] = parts[start] / images.parts;
    if (!images.labelled) continue;
    for (let place = 0; place < FIVE; place++) {
      if (indices[start + place] !== images.target[image]) continue;
      ranks[side][image] = place + 1;
      truthProbability[side][image] = parts[start + place] / images.parts;
    }
  }
}

const disagree = (image) => first.a[image] !== first.b[image];

function categoryOf(image) {
  if (!images.labelled) return disagree(image) ? "differ" : "alike";
  return images.categories[images.category[image]];
}

function shared(image) {
  const ofA = new Set(answers("a", image).map((answer) => answer.index));
  return answers("b", image).filter((answer) => ofA.has(answer.index)).length;
}

/* A listed class never has a probability of 0. */
const percent = (fraction, digits = 0) =>
  (100 * fraction < 0.5 * 10 ** -digits ? `<\u00a0${10 ** -digits}\u00a0%`
    : `${(100 * fraction).toFixed(digits)}\u00a0%`);
const width = (fraction) => `${(100 * fraction).toFixed(1)}%`;
const place = (rank) => (rank ? ["1st", "2nd", "3rd", "4th", "5th"][rank - 1] : "none");

function describe(image) {
  const said = SIDES.map((side) => {
    const [best] = answers(side, image);
    return `${VERSION[side]} answers ${className(best.index)} ${percent(best.probability)}`;
  });
  const target = truth(image);
  const is = target === null ? [] : [`truth ${className(target)}`];
  return [`image ${images.name[image]}`, ...is, ...said].join(", ");
}

/* An element with attributes; its text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
