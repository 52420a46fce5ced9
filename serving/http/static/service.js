// The routes of the service that the page uses, and what its refusals say.

const MOST_BYTES = Number(document.documentElement.dataset.mostBytes);
const NOT_NOW = [0, 401, 403, 408, 429, 502, 503, 504];

let key = null; // in memory alone

export function useKey(text) {
  key = text;
}

export const hasKey = () => key !== null;

/** Why there is no answer: the service's own message wherever it gave one. */
export class Refusal extends Error {
  constructor({ status = 0, code = "", message }) {
    super(message);
    Object.assign(this, { status, code });
  }

  /** The version is to blame, and not the picture or the service. */
  get isOfVersion() {
    return ["unknown_version", "not_ready", "version_failed"].includes(this.code);
  }

  /** The next picture would fare no better. */
  get isOfService() {
    return NOT_NOW.includes(this.status);
  }
}

/** The models, and the versions; each has a name as one types it. */
export async function readVersions() {
  const { model, versions } = await call("versions");
  for (const entry of versions) {
    entry.name = `${entry.model ? `${entry.model}/` : ""}v${entry.version}`;
  }
  const models = versions.map((entry) => entry.model ?? model);
  return { models: models.length ? [...new Set(models)] : [model], versions };
}

export const readLabels = async (name) =>
  (await call(`versions/${encodeURIComponent(name)}`)).labels;

/** The comparisons that the store has, the newest first. */
export const readComparisons = async () => (await call("comparisons")).comparisons;

/** Pictures on which the versions of a comparison differ: {a, b, pictures}. */
export const readPictures = (run) => call(`comparisons/${run}/pictures`);

/** A page of a comparison, which a link cannot fetch where a key is asked for. */
export async function readReport(path) {
  const response = await send(path);
  if (!response.ok) throw await refusalOf(response);
  return response.blob();
}

/** Has the picture kept, with the answers of the versions; `truth` is a class's id. */
export async function keep(file, names, truth) {
  const query = new URLSearchParams(names.map((name) => ["version", name]));
  if (truth) query.append("truth", truth);
  return call(`flagged?${query}`, await posted(file));
}
/** How often the shadow version disagrees; its version is null without one. */
export const readShadow = () => call("shadow");

/** Has a version served to everybody. */
export const serve = (name) =>
  call(`versions/${encodeURIComponent(name)}`, { method: "POST" });

/** The results, one of each version in this order, and how long they took. */
export async function predict(file, names) {
  const options = await posted(file);
  const started = performance.now();
  const { results } = await call(predictPath(names), options);
  return { results, milliseconds: performance.now() - started };
}

export const predictPath = (names) =>
  `predict?${new URLSearchParams(names.map((name) => ["version", name]))}`;

async function posted(file) {
  if (file.size > MOST_BYTES) {
    const [size, most] = [file.size, MOST_BYTES].map((n) => n.toLocaleString("en"));
    const message = `it has ${size} bytes; the service takes ${most} at most`;
    throw new Refusal({ status: 413, message });
  }
  const body = await file.arrayBuffer().catch(() => {
    throw new Refusal({ status: 400, message: "it cannot be read; is it a folder?" });
  });
  // Whatever the file is called, the service shall look at its bytes.
  const headers = { "Content-Type": "application/octet-stream" };
  return { method: "POST", headers, body };
}

async function call(path, options) {
  const response = await send(path, options);
  const answer = await response.clone().json().catch(() => null);
  if (response.ok && answer) return answer;
  throw await refusalOf(response);
}

function send(path, options = {}) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  const headers = { ...options.headers, ...authorization };
  return fetch(path, { ...options, headers }).catch(() => {
    throw new Refusal({ message: "no answer came; is the service running?" });
  });
}

async function refusalOf(response) {
  const answer = await response.json().catch(() => null);
  const message = `the service answered with status ${response.status}`;
  return new Refusal({ message, ...answer?.error, status: response.status });
}
