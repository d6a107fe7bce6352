// Mattes and an image to what is shown, all at the size of the preview.

export async function alphaOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const alpha = new Uint8Array(bitmap.width * bitmap.height);
  for (let i = 0; i < alpha.length; i++) alpha[i] = pixels[4 * i];
  bitmap.close();
  return alpha;
}

export function rgbOf(hueDegrees) {
  const channel = (n) => {
    const k = (n + hueDegrees / 30) % 12;
    return Math.round(255 * (0.56 - 0.36 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

function union(mattes, length) {
  if (mattes.length === 1) return mattes[0].alpha;
  const all = new Uint8Array(length);
  for (const { alpha } of mattes) {
    for (let i = 0; i < length; i++) if (alpha[i]) all[i] = all[i] + alpha[i] - (all[i] * alpha[i]) / 255;
  }
  return all;
}

// mattes: [{ alpha, rgb }]. Returns a canvas, or null where the bare image is meant.
export function compose(view, image, mattes, target) {
  if (view === "image" || !mattes.length) {
    if (view !== "alpha" && view !== "cutout" && view !== "checker") return null;
  }
  const { width, height, data } = image;
  if (target.width !== width || target.height !== height) { target.width = width; target.height = height; }
  const pen = target.getContext("2d");
  const out = pen.createImageData(width, height);
  const to = out.data, length = width * height;
  if (view === "overlay") {
    to.set(data);
    const all = union(mattes, length);
    for (let i = 0, j = 0; i < length; i++, j += 4) {
      const keep = 0.72 + 0.28 * (all[i] / 255);
      to[j] *= keep; to[j + 1] *= keep; to[j + 2] *= keep;
    }
    for (const { alpha, rgb: [r, g, b], strength = 0.5 } of mattes) {
      for (let i = 0, j = 0; i < length; i++, j += 4) {
        if (!alpha[i]) continue;
        const mix = strength * (alpha[i] / 255);
        to[j] += (r - to[j]) * mix; to[j + 1] += (g - to[j + 1]) * mix; to[j + 2] += (b - to[j + 2]) * mix;
        // A bright line where the matte ends.
        if (alpha[i] > 110 && alpha[i] < 146) { to[j] += (255 - to[j]) * 0.4; to[j + 1] += (255 - to[j + 1]) * 0.4; to[j + 2] += (255 - to[j + 2]) * 0.4; }
      }
    }
  } else {
    const all = mattes.length ? union(mattes, length) : new Uint8Array(length);
    if (view === "alpha") {
      for (let i = 0, j = 0; i < length; i++, j += 4) { to[j] = to[j + 1] = to[j + 2] = all[i]; to[j + 3] = 255; }
    } else {
      to.set(data);
      for (let i = 0, j = 3; i < length; i++, j += 4) to[j] = all[i];
    }
  }
  pen.putImageData(out, 0, 0);
  return target;
}

export function share(alpha) {
  let sum = 0;
  for (let i = 0; i < alpha.length; i++) sum += alpha[i];
  return sum / (255 * alpha.length);
}
