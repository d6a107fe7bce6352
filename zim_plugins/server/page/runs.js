// Finished runs in the server's folders: their views to look at, their files to take.

import * as api from "./api.js";
import { $, during } from "./app.js";
import { element } from "./panel.js";

const LAYERS = { overlay: "Overlay", alpha: "Alpha", matte: "Matte", rgba: "Cut-out" };
let path = "", runs = [];

const run = () => runs[$("run-choice").selectedIndex];
const place = (rest) => `${path}/${encodeURIComponent(run().id)}/${rest}`;
const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export function buildGalleries(galleries = []) {
  if (!galleries.length) return;
  const [gallery] = galleries;
  ({ path } = gallery);
  $("runs-open").textContent = $("runs-title").textContent = gallery.label;
  $("runs-open").hidden = false;
  $("runs-open").onclick = () => during("Looking for runs", async () => {
    runs = await api.getJson(path);
    $("run-choice").replaceChildren(...runs.map((one) => element("option", {}, one.name)));
    $("runs-none").hidden = runs.length > 0;
    $("runs-body").hidden = !runs.length;
    if (runs.length) showRun();
    if (!$("runs").open) $("runs").showModal();
  });
  $("run-choice").onchange = showRun;
  $("run-view").oninput = showView;
  $("run-layers").onchange = showView;
  $("run-image").onload = () => missing("");
  $("run-image").onerror = () => missing(`${$("run-view-text").textContent}: this layer has no such view. Held-out views have no matte and no cut-out.`);
}

function showRun() {
  const { about, layers, views, files } = run();
  $("run-about").textContent = about;
  $("run-layers").replaceChildren($("run-layers").firstElementChild, ...layers.map((layer, index) => element("label", {},
    element("input", { type: "radio", name: "layer", value: layer, ...(index ? {} : { checked: "" }) }), element("span", {}, LAYERS[layer] || layer))));
  $("run-view").max = Math.max(0, views.length - 1);
  $("run-view").value = 0;
  $("run-files").replaceChildren(...files.map(({ name, bytes }) => element("li", {},
    element("a", { href: place(`files/${encodeURIComponent(name)}`), download: "" }, name), ` ${size(bytes)}`)));
  showView();
}

function missing(text) {
  $("run-missing").textContent = text;
  $("run-missing").hidden = !text;
  $("run-image").hidden = !!text;
}

function showView() {
  const number = Number($("run-view").value), name = run().views[number] ?? "";
  const layer = document.querySelector("[name=layer]:checked")?.value;
  $("run-view-text").textContent = `${name} (${number + 1} of ${run().views.length})`;
  $("run-image").alt = `${LAYERS[layer] || layer} of ${name}`;
  $("run-image").classList.toggle("checkered", layer === "rgba");
  if (layer) $("run-image").src = place(`views/${number}/${layer}`);
}
