// The side panel: objects, actions, saving; and folders that were dropped.

import * as api from "./api.js";
import { $, change, during, matteOf, refresh, runAction, toast, withImage } from "./app.js";
import { rgbOf } from "./compose.js";
import { hue, isPointedAt, label, prompt } from "./documents.js";

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made[key] = value; else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg"), use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  made.setAttribute("aria-hidden", "true");
  made.append(use);
  return made;
}

export function fillObjects(slot) {
  const list = $("objects"), focused = document.activeElement?.dataset?.key;
  $("objects-hint").hidden = slot.objects.length > 0;
  list.replaceChildren(...slot.objects.map((object, index) => {
    const found = matteOf(slot, object), name = label(object), isActive = index === slot.state.active;
    const dot = element("span", { class: "dot" });
    dot.style.background = `rgb(${rgbOf(hue(object.number))})`;
    const row = element("li", { class: isActive ? "active" : "" },
      element("button", { type: "button", class: "pick", "aria-pressed": isActive, "aria-label": `Work on ${name}`, "data-key": `pick${object.number}`,
        onclick: () => change((state) => { state.active = index; }) }, dot),
      element("input", { type: "text", value: name, maxlength: 200, "aria-label": `Name of object ${object.number}`, "data-key": `name${object.number}`, autocomplete: "off",
        onchange: (event) => change((state) => { state.objects[index].name = event.target.value.trim(); }),
        onkeydown: (event) => { if (event.key === "Enter") event.target.blur(); } }),
      element("span", { class: "score", title: "The model's own estimate of quality" }, found ? found.score.toFixed(2) : isPointedAt(object) ? "…" : "new"),
      element("button", { type: "button", class: `icon ${object.visible ? "" : "off"}`, "aria-pressed": object.visible, "aria-label": `Show ${name}`, title: "Show or hide; what is hidden is not saved", "data-key": `eye${object.number}`,
        onclick: () => change((state) => { state.objects[index].visible = !object.visible; }) }, icon("eye")),
      element("button", { type: "button", class: "icon", "aria-label": `Delete ${name}`, title: "Delete", "data-key": `bin${object.number}`,
        onclick: () => change((state) => { state.objects.splice(index, 1); state.active = Math.min(index, state.objects.length - 1); }) }, icon("bin")));
    return row;
  }));
  if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
}

export function fillStrip(slots, current, choose) {
  const strip = $("strip");
  strip.hidden = slots.length < 2;
  if (strip.hidden) return;
  strip.replaceChildren(...slots.map((slot, index) => element("button",
    { type: "button", role: "option", "aria-selected": index === current, "aria-label": slot.name, title: slot.name, class: slot.objects.some(isPointedAt) ? "done" : "", onclick: () => choose(index) },
    slot.thumb ? element("img", { src: slot.thumb, alt: "" }) : element("span", {}, slot.name))));
  strip.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export function buildActions(actions) {
  $("actions-section").hidden = !actions.length;
  $("actions").replaceChildren(...actions.map((action) => {
    const fields = action.fields.map((field) => {
      const common = { name: field.name, ...(field.required ? { required: "" } : {}) };
      let input;
      if (field.kind === "choice") {
        input = element("select", common, ...field.choices.map((choice) => element("option", { value: choice, ...(choice === field.default ? { selected: "" } : {}) }, choice)));
      } else {
        const kinds = { text: "text", colour: "color", file: "file" };
        input = element("input", { ...common, type: kinds[field.kind], ...(field.kind === "file" ? { accept: "image/*" } : { value: field.default }) });
      }
      return element("label", {}, field.label, input);
    });
    const form = element("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        const given = [...new FormData(form)].filter(([, value]) => (value instanceof File ? value.size : value !== ""));
        const files = given.filter(([, value]) => value instanceof File);
        // A file says more than the colour that a form always holds.
        await runAction(action, files.length ? given.filter(([name, value]) => value instanceof File || action.fields.find((f) => f.name === name)?.kind !== "colour") : given);
      },
    }, ...fields, element("button", { class: "primary", disabled: "" }, action.label));
    return element("details", { name: "action" }, element("summary", {}, action.label), element("p", { class: "hint" }, action.hint), form);
  }));
}

const SUFFIXES = { alpha: "png", cutout: "png", overlay: "png", coco: "json", labelme: "json", exr: "exr", file: "png" };

export async function save(slot, output, { deep, apart }) {
  if (!slot?.version) return;
  const stem = slot.name.replace(/\.[^.]+$/, "") + (slot.series ? `_${slot.slice + 1}` : "");
  if (output === "file") {
    const blob = await during("Writing the file", () => withImage(slot, api.file));
    if (blob) hand(blob, `${stem}_result.${blob.type === "image/tiff" ? "tif" : "png"}`);
    return;
  }
  if (output === "volume") {
    const done = await during("Following through the slices: this may take a while", () => api.follow(slot.series.follow, structures(slot)));
    if (!done) return;
    hand(done.blob, `${slot.name.replace(/\..*$/, "")}_seg.nii.gz`);
    toast(["Saved", ...done.warnings].join(". "), true);
    return;
  }
  const objects = slot.objects.filter((object) => object.visible && isPointedAt(object));
  if (!objects.length) { toast("Point at something first.", true); return; }
  const groups = apart && output !== "coco" && output !== "labelme" ? objects.map((object) => [object]) : [objects];
  await during("Computing at full size", async () => {
    for (const group of groups) {
      const body = { objects: group.map((object) => prompt(object)), output };
      if (output === "alpha" || output === "cutout") body.bits = deep ? 16 : 8;
      const { blob } = await withImage(slot, (id) => api.matte(id, body));
      const part = groups.length > 1 ? `_${label(group[0]).replace(/[^\p{L}\p{N}-]+/gu, "_")}_${group[0].number}` : "";
      hand(blob, output === "labelme" ? `${stem}.json` : `${stem}${part}_${output}.${SUFFIXES[output]}`); // labelme's lies beside its image
    }
    toast(groups.length > 1 ? `${groups.length} files saved` : "Saved", true);
  });
  refresh();
}

// What was pointed at on the slices of a volume, by name: one name is one structure.
function structures(slot) {
  const named = new Map();
  const slices = new Map([...slot.slices].map(([number, kept]) => [number, kept.state.objects]));
  slices.set(slot.slice, slot.objects);
  for (const [number, objects] of slices) {
    for (const object of objects.filter((one) => one.visible && isPointedAt(one))) {
      if (!named.has(label(object))) named.set(label(object), {});
      named.get(label(object))[number] = { ...prompt(object), name: "" };
    }
  }
  return [...named].map(([name, own]) => ({ name, slices: own }));
}

function hand(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Files of what was dropped, folders and all that is in them, in order of their paths.
export async function walk(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const visit = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file && !entry.name.startsWith(".")) found.push([entry.fullPath, file]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!batch.length) return;
      for (const inner of batch) await visit(inner);
    }
  };
  for (const entry of entries) await visit(entry);
  return found.sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true })).map(([, file]) => file);
}
