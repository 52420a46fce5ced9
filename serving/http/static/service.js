// The routes of the service that the page uses, and what its refusals say.

const MOST_BYTES = Number(document.documentElement.dataset.mostBytes);
const NOT_NOW = [0, 401, 403, 408, 429, 502, 503, 504];

let key = null; // in memory alone

export function useKey(text) {
  key = text;
}

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

/** Has a version served to everybody. */
export const serve = (name) =>
  call(`versions/${encodeURIComponent(name)}`, { method: "POST" });

/** The results, one of each version in this order, and how long they took. */
export async function predict(file, names) {
  const body = await read(file);
  const query = new URLSearchParams(names.map((name) => ["version", name]));
  // Whatever the file is called, the service shall look at its bytes.
  const headers = { "Content-Type": "application/octet-stream" };
  const started = performance.now();
  const { results } = await call(`predict?${query}`, { method: "POST", headers, body });
  return { results, milliseconds: performance.now() - started };
}

async function read(file) {
  if (file.size > MOST_BYTES) {
    const [size, most] = [file.size, MOST_BYTES].map((n) => n.toLocaleString("en"));
    const message = `it has ${size} bytes; the service takes ${most} at most`;
    throw new Refusal({ status: 413, message });
  }
  return file.arrayBuffer().catch(() => {
    throw new Refusal({ status: 400, message: "it cannot be read; is it a folder?" });
  });
}

async function call(path, options = {}) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  const headers = { ...options.headers, ...authorization };
  const response = await fetch(path, { ...options, headers }).catch(() => {
    throw new Refusal({ message: "no answer came; is the service running?" });
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const message = `the service answered with status ${response.status}`;
  throw new Refusal({ message, ...answer?.error, status: response.status });
}
