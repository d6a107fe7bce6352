// The page: files in, prompts to mattes, mattes to files. Everything is asked of the REST API.

import * as api from "./api.js";
import { alphaOf, compose, rgbOf, share } from "./compose.js";
import { Slot, hue, isPointedAt, label, prompt, promptKey } from "./documents.js";
import { buildActions, fillObjects, fillStrip, save, walk } from "./panel.js";
import { buildGalleries } from "./runs.js";
import { View } from "./view.js";

export const $ = (id) => document.getElementById(id);
const KEPT_MATTES = 48, KEPT_BITMAPS = 12;
const IMAGE_NAME = /\.(avif|bmp|gif|jpe?g|jp2|png|ppm|tiff?|webp|exr|heic|heif)$/i;

const app = { info: null, slots: [], current: -1, mattes: new Map(), bitmaps: new Map(), hover: null, draft: null, clean: null };
const composed = document.createElement("canvas");
const view = new View($("canvas"), { point, box, scribble, hover, cross: ([x, y]) => say(`${Math.round(x)}, ${Math.round(y)}`) });
const slot = () => app.slots[app.current];

// ---- messages ----

let toastTimer = 0;
export function toast(text, calm = false) {
  $("toast").textContent = text;
  $("toast").className = calm ? "toast calm" : "toast";
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 4000 + 50 * text.length);
}
export const say = (text) => ($("live").textContent = text);

const jobs = new Map();
export async function during(text, work) {
  const key = Symbol(text);
  jobs.set(key, text);
  showJobs();
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    toast(error.message || String(error));
    return undefined;
  } finally {
    jobs.delete(key);
    showJobs();
  }
}
function showJobs() {
  $("busy").hidden = !jobs.size;
  $("busy-text").textContent = [...jobs.values()].at(-1) || "";
}

// ---- files in ----

export async function open(files) {
  const fresh = [];
  const openers = app.info?.openers || [];
  const rest = [];
  for (const file of files) {
    const opener = openers.find((one) => one.suffixes.some((suffix) => file.name.toLowerCase().endsWith(suffix)));
    if (opener) rest.push([opener, file]);
    else if (file.type.startsWith("image/") || IMAGE_NAME.test(file.name)) fresh.push(new Slot(file, file.name));
  }
  for (const opener of openers) { // slices of one volume belong together
    const own = rest.filter(([one]) => one === opener).map(([, file]) => file);
    const series = own.length && (await during(`Reading ${own[0].name}`, () => api.upload(own, opener.path)));
    if (!series) continue;
    const volume = new Slot(null, own[0].name);
    volume.series = { ...series, path: opener.path };
    volume.slices = new Map();
    volume.slice = Math.floor(series.count / 2);
    fresh.push(volume);
  }
  if (!fresh.length) { if (!rest.length) toast("No image among these files."); return; }
  app.slots.push(...fresh);
  await choose(app.slots.length - fresh.length);
  if (fresh.length > 1) toast(`${fresh.length} opened`, true);
}

async function send(one) {
  one.busy ??= (async () => {
    const info = one.series ? await api.getJson(`${one.series.path}/${one.series.id}/${one.slice}`) : await api.upload(one.file);
    forget(info.evicted);
    one.versions[0] = info;
    return info;
  })();
  try { return await one.busy; } finally { one.busy = null; }
}

function forget(ids = []) { for (const id of ids) for (const one of app.slots) one.versions = one.versions.map((v) => (v?.id === id ? { ...v, gone: true } : v)); }

// Ask about the current version of a slot; when the server let it go, send it again and ask once more.
export async function withImage(one, ask) {
  const version = one.state.version;
  if (!one.versions[version] || (one.versions[version].gone && version === 0)) await send(one);
  try {
    return await ask(one.versions[version].id);
  } catch (error) {
    if (error.status !== 410 && error.status !== 404) throw error;
    if (version !== 0) throw new api.Problem(410, "The server let this result go to save memory: undo, and do it again.");
    await send(one);
    return ask(one.versions[0].id);
  }
}

async function bitmapOf(one) {
  const { key } = one;
  if (app.bitmaps.has(key)) return app.bitmaps.get(key);
  const bitmap = await withImage(one, api.preview);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const found = { bitmap, pixels: pen.getImageData(0, 0, bitmap.width, bitmap.height) };
  keep(app.bitmaps, key, found, KEPT_BITMAPS);
  return found;
}

function keep(map, key, value, most) {
  map.set(key, value);
  while (map.size > most) map.delete(map.keys().next().value);
}

async function choose(index) {
  if (index !== app.current) setCompare(false);
  app.current = index;
  app.hover = null;
  const one = slot();
  $("welcome").hidden = true;
  for (const id of ["tools", "under", "panel", "canvas"]) $(id).hidden = false;
  refresh();
  const shown = await during(`Opening ${one.name}`, () => bitmapOf(one));
  if (one !== slot()) return;
  if (!shown) {
    if (!one.versions[0]) { app.slots.splice(index, 1); if (app.slots.length) await choose(Math.min(index, app.slots.length - 1)); else leave(); }
    return;
  }
  one.thumb ??= thumbnail(shown.bitmap);
  const { width, height, notes } = one.version;
  view.show(shown.bitmap, width, height);
  $("canvas").setAttribute("aria-label", `${one.name}, ${width} by ${height} pixels, to point at`);
  say(`${one.name} is open. ${(notes || []).join(". ")}`);
  refresh();
  await complete();
}

function leave() {
  app.current = -1;
  for (const id of ["tools", "under", "panel", "canvas", "strip", "slices"]) $(id).hidden = true;
  $("welcome").hidden = false;
  $("file-name").textContent = "";
}

function thumbnail(bitmap) {
  const canvas = document.createElement("canvas");
  const by = Math.max(168 / bitmap.width, 124 / bitmap.height);
  [canvas.width, canvas.height] = [Math.round(bitmap.width * by), Math.round(bitmap.height * by)];
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

// ---- prompts ----

export function change(step) {
  const one = slot();
  if (!one?.version) return;
  one.change(step);
  app.hover = null;
  refresh();
  complete();
}
function point(x, y, mark) {
  if (!mark && !isPointedAt(slot().active)) return toast("Say first what the object is: click on it, or draw a box.", true);
  const seen = app.hover?.alpha;
  change((state) => slot().ensure(state).points.push([x, y, mark]));
  if (!seen || matteOf(slot(), slot().active)) return;
  app.draft = { key: promptKey(slot(), slot().active), alpha: seen }; // what was seen stays until it is refined
  render();
}
function box(corners) {
  change((state) => { slot().ensure(state).box = corners; });
}
function scribble(path, mark) {
  if (!mark && !isPointedAt(slot().active)) return toast("Say first what the object is: click on it, or draw a box.", true);
  change((state) => slot().ensure(state).scribbles.push({ path, label: mark }));
}

export const matteOf = (one, object) => app.mattes.get(promptKey(one, object));

// Fetch the mattes that are wanted and not yet here.
async function complete() {
  const one = slot();
  const missing = one.objects.filter((object) => isPointedAt(object) && !matteOf(one, object));
  if (missing.length) {
    await during("Matting", async () => {
      for (const object of missing) {
        const key = promptKey(one, object);
        const { blob, scores } = await withImage(one, (id) => api.matte(id, { objects: [prompt(object)], quality: "preview" }));
        keep(app.mattes, key, { alpha: await alphaOf(blob), score: scores[0] }, KEPT_MATTES);
        if (one !== slot()) return;
        refresh();
      }
      const last = missing.at(-1), found = matteOf(one, last);
      if (found) say(`${label(last)}: the matte covers ${(100 * share(found.alpha)).toFixed(1)} percent of the image, score ${found.score.toFixed(2)}`);
    });
  }
  await cleanCutout(one);
}

// The colours of a cut-out's edge are the server's to find: asked for when they are looked at.
async function cleanCutout(one) {
  if (view.kind !== "cutout" && view.kind !== "checker") return;
  const objects = one.objects.filter((object) => object.visible && isPointedAt(object));
  const key = one.key + JSON.stringify(objects);
  if (!objects.length || app.clean?.key === key) return;
  const found = await during("Cleaning the edge", () => withImage(one, (id) => api.matte(id, { objects: objects.map((o) => prompt(o)), output: "cutout", quality: "preview" })));
  if (!found) return;
  app.clean = { key, bitmap: await createImageBitmap(found.blob) };
  if (one === slot()) refresh();
}

// ---- hovering: one request at a time, the newest position next ----

let wanted = null, asking = false;
function hover(at) {
  wanted = at;
  if (!at) {
    if (app.hover) { app.hover = null; render(); }
    return;
  }
  if (!asking) follow();
}
async function follow() {
  asking = true;
  try {
    while (wanted) {
      const one = slot(), at = wanted;
      wanted = null;
      if (!one?.version || one.busy) break;
      const active = one.active, known = active && matteOf(one, active);
      if (isPointedAt(active) && (!known || inMatte(known.alpha, one, at))) { app.hover = null; render(); continue; }
      const extra = { points: [[at[0], at[1], view.negative ? 0 : 1]] };
      if (view.negative && !isPointedAt(active)) continue;
      const base = active || { points: [], scribbles: [], box: null, number: 0, name: "" };
      const { blob } = await api.matte(one.version.id, { objects: [prompt(base, extra)], quality: "draft" });
      const alpha = await alphaOf(blob);
      if (one !== slot() || active !== one.active) continue;
      app.hover = { alpha };
      render();
      if (!wanted && !pointerIsOver()) { app.hover = null; render(); }
    }
  } catch { /* a preview that fails says nothing; the click will */ } finally { asking = false; }
}
const pointerIsOver = () => $("canvas").matches(":hover") || document.activeElement === $("canvas");
function inMatte(alpha, one, [x, y]) {
  const { width, height, preview_width: w, preview_height: h } = one.version;
  return alpha[Math.min(h - 1, Math.floor((y * h) / height)) * w + Math.min(w - 1, Math.floor((x * w) / width))] > 127;
}

// ---- what is seen ----

function render() {
  const one = slot(), shown = one && app.bitmaps.get(one.key);
  if (!shown) return;
  const mattes = one.objects.filter((object) => object.visible).map((object) => ({ object, found: matteOf(one, object) || (app.draft?.key === promptKey(one, object) ? app.draft : null) }))
    .filter(({ object, found }) => found && !(app.hover && object === one.active))
    .map(({ object, found }) => ({ alpha: found.alpha, rgb: rgbOf(hue(object.number)) }));
  if (app.hover) mattes.push({ alpha: app.hover.alpha, rgb: rgbOf(hue(one.active?.number ?? one.state.made + 1)), strength: 0.36 });
  const key = one.key + JSON.stringify(one.objects.filter((object) => object.visible && isPointedAt(object)));
  const isClean = !app.hover && app.clean?.key === key && (view.kind === "cutout" || view.kind === "checker");
  view.shown = isClean ? app.clean.bitmap : compose(view.kind, shown.pixels, mattes, composed);
  view.marks = one.active;
  view.colour = `rgb(${rgbOf(hue(one.active?.number ?? one.state.made + 1))})`;
  const first = app.bitmaps.get(`${one.uid}/${one.slice}/0`);
  view.before = one.state.version > 0 && first ? first.bitmap : shown.bitmap;
  view.draw();
}

export function refresh() {
  const one = slot();
  if (!one) return;
  $("file-name").textContent = one.version ? `${one.name}  ${one.version.width} × ${one.version.height}` : one.name;
  $("undo").disabled = !one.done.length;
  $("redo").disabled = !one.undone.length;
  $("slices").hidden = !one.series;
  if (one.series) {
    $("slice").max = one.series.count;
    $("slice").value = one.slice + 1;
    $("slice-text").textContent = `${one.slice + 1} of ${one.series.count}`;
  }
  $("save-file").hidden = one.state.version === 0;
  $("save-volume").hidden = !one.series?.follow;
  const shown = one.version && app.bitmaps.get(one.key);
  if (shown && view.image?.base !== shown.bitmap) view.show(shown.bitmap, one.version.width, one.version.height);
  fillObjects(one);
  fillStrip(app.slots, app.current, choose);
  const ready = one.objects.some((object) => object.visible && isPointedAt(object));
  for (const button of document.querySelectorAll("[data-save]")) if (button.dataset.save !== "file") button.disabled = !ready;
  for (const button of document.querySelectorAll("#actions button")) button.disabled = !ready;
  render();
}

function setTool(tool) {
  view.tool = tool;
  view.draft = null;
  app.hover = null;
  $("canvas").classList.toggle("hand", tool === "hand");
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  render();
}
function setNegative(on) {
  view.negative = on;
  $("background").setAttribute("aria-pressed", on);
  say(on ? "Clicks mark background" : "Clicks mark the object");
}
function setKind(kind) {
  view.kind = kind;
  document.querySelector(`[name=view][value=${kind}]`).checked = true;
  render();
  if (slot()?.version) cleanCutout(slot());
}
function setCompare(on) {
  $("compare").checked = on;
  $("compare-at").hidden = $("split").hidden = !on;
  view.split = on ? $("compare-at").value / 100 : null;
  $("split-line").style.left = `${$("compare-at").value}%`;
  view.draw();
}
async function travel(step) {
  const one = slot();
  if (!one || !(step === "undo" ? one.undo() : one.redo())) return;
  app.hover = null;
  say(step === "undo" ? "Undone" : "Done again");
  await during("Opening", () => bitmapOf(one));
  refresh();
  await complete();
}

// A volume keeps what was pointed at in each of its slices.
async function toSlice(number) {
  const one = slot();
  if (!one?.series || number < 0 || number >= one.series.count || number === one.slice) return;
  one.slices.set(one.slice, { versions: one.versions, state: one.state, done: one.done, undone: one.undone });
  one.slice = number;
  Object.assign(one, one.slices.get(number) || { versions: [], state: { version: 0, objects: [], active: -1, made: 0 }, done: [], undone: [] });
  app.hover = null;
  $("slice-text").textContent = `${number + 1} of ${one.series.count}`;
  await choose(app.current);
}

export function newObject() {
  const one = slot();
  if (!one) return;
  const empty = one.objects.findIndex((object) => !isPointedAt(object));
  change((state) => {
    if (empty >= 0) { state.active = empty; return; }
    state.active = -1;
    one.ensure(state);
  });
  say("New object: point at it");
}

export async function runAction(action, fields) {
  const one = slot();
  const objects = one.objects.filter((object) => object.visible && isPointedAt(object)).map((object) => prompt(object));
  const done = await during(`${action.label}: this may take a while`, () => withImage(one, (id) => api.act(action.path, id, objects, fields)));
  if (!done) return;
  forget(done.info.evicted);
  one.change((state) => {
    one.versions.length = one.versions.length || 1;
    one.versions.push(done.info);
    state.version = one.versions.length - 1;
    state.objects = [];
    state.active = -1;
  });
  if (done.warnings.length) toast(done.warnings.join(". "), true);
  await during("Opening", () => bitmapOf(one));
  refresh();
  setCompare(true);
  $("stage").scrollIntoView({ block: "nearest" }); // on a phone the button stands far below the image
  say(`${action.label}: done. Undo goes back.`);
}

// ---- wiring ----

const pick = (id) => { $(id).value = ""; $(id).click(); };
$("open-files").onclick = $("choose").onclick = () => pick("files");
$("choose-folder").onclick = () => pick("folder");
$("files").onchange = $("folder").onchange = (event) => open([...event.target.files].sort((a, b) => (a.webkitRelativePath || a.name).localeCompare(b.webkitRelativePath || b.name, undefined, { numeric: true })));
$("sample").onclick = () => during("Fetching the sample", async () => open([new File([await (await fetch("sample.jpg")).blob()], "dogs.jpg", { type: "image/jpeg" })]));
$("undo").onclick = () => travel("undo");
$("redo").onclick = () => travel("redo");
$("fit").onclick = () => view.fit();
$("background").onclick = () => setNegative(!view.negative);
$("new-object").onclick = newObject;
$("help-open").onclick = () => $("help").showModal();
$("compare").onchange = (event) => setCompare(event.target.checked);
$("compare-at").oninput = () => setCompare(true);
$("slice").oninput = (event) => toSlice(event.target.value - 1);
$("views").onchange = (event) => setKind(event.target.value);
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => setTool(button.dataset.tool);
for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => save(slot(), button.dataset.save, { deep: $("deep").checked, apart: $("apart").checked });

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=radio],[type=checkbox],[type=range]), select, textarea") || $("help").open || $("runs").open;
  if ((event.ctrlKey || event.metaKey) && !typing) {
    const key = event.key.toLowerCase();
    if (key === "z" || key === "y") { event.preventDefault(); travel(key === "y" || event.shiftKey ? "redo" : "undo"); }
    return;
  }
  if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "?") return $("help").showModal();
  if (!slot()) return;
  const views = ["overlay", "alpha", "cutout", "checker", "image"], tools = { c: "click", b: "box", s: "scribble", h: "hand" };
  const key = event.key.toLowerCase(), onField = event.target.matches("input");
  if (tools[key]) setTool(tools[key]);
  else if (key >= "1" && key <= "5") setKind(views[key - 1]);
  else if (key === "x") setNegative(!view.negative);
  else if (key === "f") view.fit();
  else if (key === "n") newObject();
  else if (key === "d") save(slot(), "alpha", { deep: $("deep").checked, apart: false });
  else if (key === "+" || key === "=") view.zoom(1.25);
  else if (key === "-") view.zoom(0.8);
  else if (key === "/") setCompare(!$("compare").checked);
  else if (key === "[" || key === "]") { const count = slot().objects.length; if (count) change((state) => { state.active = (state.active + (key === "]" ? 1 : count - 1) + count) % count; }); }
  else if ((key === "pageup" || key === "pagedown") && !onField) {
    const step = key === "pagedown" ? 1 : -1;
    if (slot().series) toSlice(slot().slice + step); else if (app.slots[app.current + step]) choose(app.current + step);
  } else if (key === " " && event.target === $("canvas")) { view.spaceHeld = true; $("canvas").classList.add("hand"); }
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => { if (event.key === " ") { view.spaceHeld = false; $("canvas").classList.toggle("hand", view.tool === "hand"); } });

let inside = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { inside++; $("drop").hidden = false; } });
document.addEventListener("dragleave", () => { inside = Math.max(0, inside - 1); if (!inside) $("drop").hidden = true; });
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
document.addEventListener("drop", async (event) => {
  inside = 0;
  $("drop").hidden = true;
  if (!hasFiles(event)) return;
  event.preventDefault();
  await open(await walk(event.dataTransfer));
});
document.addEventListener("paste", (event) => { const files = [...(event.clipboardData?.files || [])]; if (files.length) open(files); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);

during("Starting", async () => {
  app.info = await api.info();
  document.querySelector("[data-save=exr]").hidden = !app.info.outputs.includes("exr");
  buildActions(app.info.actions);
  buildGalleries(app.info.galleries);
  $("foot").textContent = `${app.info.model} on zim-plugins ${app.info.version}. What you see is computed at up to 1536 pixels; what you save, at the image's own size.`;
  for (const line of app.info.unavailable) toast(`Left out: ${line}`, true);
});
