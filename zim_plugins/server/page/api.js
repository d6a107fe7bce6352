// The REST API, as the page uses it.

export class Problem extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer. Is zim serve still running?");
  }
  if (answer.ok) return answer;
  let detail = answer.statusText;
  try { detail = (await answer.json()).detail || detail; } catch { /* not JSON */ }
  throw new Problem(answer.status, detail);
}

export const info = async () => (await ask("/api/info")).json();

export async function upload(file, path = "/api/images") {
  const form = new FormData();
  for (const one of Array.isArray(file) ? file : [file]) form.append("image", one, one.name || "image");
  return (await ask(path, { method: "POST", body: form })).json();
}

export const getJson = async (path) => (await ask(path)).json();

export async function preview(id) {
  return createImageBitmap(await (await ask(`/api/images/${id}/preview`)).blob());
}

export async function matte(id, body, signal) {
  const answer = await ask(`/api/images/${id}/matte`, {
    method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  return { blob: await answer.blob(), scores: (answer.headers.get("x-zim-scores") || "").split(",").map(Number) };
}

export async function act(path, id, objects, fields) {
  const form = new FormData();
  form.append("objects", JSON.stringify(objects));
  form.append("keep", "true");
  for (const [name, value] of fields) form.append(name, value);
  const answer = await ask(path.replace("{image_id}", id), { method: "POST", body: form });
  return { info: await answer.json(), warnings: JSON.parse(answer.headers.get("x-zim-warnings") || "[]") };
}

export const file = async (id) => (await ask(`/api/images/${id}/file`)).blob();

export async function follow(path, structures) {
  const answer = await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ structures }) });
  return { blob: await answer.blob(), warnings: JSON.parse(answer.headers.get("x-zim-warnings") || "[]") };
}
