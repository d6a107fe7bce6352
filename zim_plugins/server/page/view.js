// The canvas: what is shown, zoom and pan, and what pointer and keys say of it. Knows no server.

const TAP_PX = 6, MAX_ZOOM = 24, CHECK_PX = 11;

export class View {
  constructor(canvas, on) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.on = on;                 // point, box, scribble, hover, zoomed
    this.tool = "click";
    this.negative = false;
    this.kind = "overlay";
    this.image = null;            // { base, width, height }: base at any size, width and height of the image itself
    this.shown = null;            // composed canvas, or null for the base
    this.before = null;           // bitmap for the comparison
    this.split = null;            // share of the stage, or null
    this.marks = null;            // the active object
    this.colour = "#fff";
    this.at = { scale: 1, x: 0, y: 0 };
    this.cross = null;
    this.draft = null;            // box or stroke being drawn
    this.pointers = new Map();
    this.spaceHeld = false;
    new ResizeObserver(() => this.#resized()).observe(canvas.parentElement);
    for (const [name, act] of Object.entries({ pointerdown: this.#down, pointermove: this.#move, pointerup: this.#up,
      pointercancel: this.#cancel, pointerleave: this.#leave, wheel: this.#wheel, keydown: this.#key })) {
      canvas.addEventListener(name, act.bind(this), name === "wheel" ? { passive: false } : undefined);
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  show(base, width, height) {
    const same = this.image && this.image.width === width && this.image.height === height;
    this.image = { base, width, height };
    this.cross = null;
    if (same) this.draw(); else this.fit();
  }

  fit() {
    if (!this.image) return;
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    const scale = Math.min(width / this.image.width, height / this.image.height) * 0.985;
    this.at = { scale, x: (width - this.image.width * scale) / 2, y: (height - this.image.height * scale) / 2 };
    this.fitted = true;
    this.draw();
  }

  zoom(by, x, y) {
    const box = this.canvas.getBoundingClientRect();
    x ??= box.width / 2; y ??= box.height / 2;
    const least = Math.min(box.width / this.image.width, box.height / this.image.height) * 0.5;
    const scale = Math.min(Math.max(this.at.scale * by, least), MAX_ZOOM);
    const ratio = scale / this.at.scale;
    this.at = { scale, x: x - (x - this.at.x) * ratio, y: y - (y - this.at.y) * ratio };
    this.fitted = false;
    this.draw();
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.#paint(); });
  }

  #resized() {
    const { width, height } = this.canvas.parentElement.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio || 1, 2.5);
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.fitted !== false) this.fit(); else this.draw();
  }

  #paint() {
    const { pen, canvas, image, at } = this;
    const ratio = canvas.width / Math.max(1, canvas.getBoundingClientRect().width);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!image) return;
    const [left, top, width, height] = [at.x * ratio, at.y * ratio, image.width * at.scale * ratio, image.height * at.scale * ratio];
    pen.imageSmoothingEnabled = at.scale < 4;
    pen.imageSmoothingQuality = "high";
    if (this.shown && (this.kind === "checker" || this.kind === "cutout")) this.#ground(left, top, width, height, ratio);
    pen.drawImage(this.shown || image.base, left, top, width, height);
    if (this.split !== null && this.before) {
      const edge = this.split * canvas.width;
      pen.save();
      pen.beginPath(); pen.rect(0, 0, edge, canvas.height); pen.clip();
      pen.drawImage(this.before, left, top, width, height);
      pen.restore();
    }
    this.#paintMarks(ratio);
  }

  #ground(left, top, width, height, ratio) {
    const style = getComputedStyle(document.documentElement), { pen } = this;
    pen.save();
    pen.beginPath(); pen.rect(left, top, width, height); pen.clip();
    pen.fillStyle = style.getPropertyValue("--check-a");
    pen.fillRect(left, top, width, height);
    if (this.kind === "checker") {
      pen.fillStyle = style.getPropertyValue("--check-b");
      const side = CHECK_PX * ratio;
      const [x0, y0] = [Math.max(0, left), Math.max(0, top)];
      const [x1, y1] = [Math.min(this.canvas.width, left + width), Math.min(this.canvas.height, top + height)];
      for (let row = Math.floor((y0 - top) / side); top + row * side < y1; row++) {
        for (let column = Math.floor((x0 - left) / side); left + column * side < x1; column++) {
          if ((row + column) & 1) pen.fillRect(left + column * side, top + row * side, side, side);
        }
      }
    }
    pen.restore();
  }

  #paintMarks(ratio) {
    const { pen, at, marks } = this;
    const place = ([x, y]) => [(at.x + x * at.scale) * ratio, (at.y + y * at.scale) * ratio];
    pen.lineJoin = pen.lineCap = "round";
    const line = (path, colour, closed) => {
      pen.beginPath();
      path.forEach((point, i) => (i ? pen.lineTo(...place(point)) : pen.moveTo(...place(point))));
      if (closed) pen.closePath();
      for (const [style, width] of [["#0009", 4.5], [colour, 2.5]]) { pen.strokeStyle = style; pen.lineWidth = width * ratio; pen.stroke(); }
    };
    const frame = ([x1, y1, x2, y2], colour) => line([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], colour, true);
    const sign = { 1: "#22a45d", 0: "#d8265f" };
    const overMarks = this.kind === "overlay" || this.kind === "image";
    if (marks && overMarks) {
      if (marks.box) frame(marks.box, this.colour);
      for (const stroke of marks.scribbles) line(stroke.path, sign[stroke.label]);
      for (const [x, y, mark] of marks.points) {
        const [px, py] = place([x, y]), radius = 7 * ratio;
        pen.beginPath(); pen.arc(px, py, radius, 0, 7);
        pen.fillStyle = sign[mark]; pen.fill();
        pen.lineWidth = 2 * ratio; pen.strokeStyle = "#fff"; pen.stroke();
        pen.beginPath(); pen.moveTo(px - radius * 0.45, py); pen.lineTo(px + radius * 0.45, py);
        if (mark) { pen.moveTo(px, py - radius * 0.45); pen.lineTo(px, py + radius * 0.45); }
        pen.stroke();
      }
    }
    if (this.draft?.box) frame(this.draft.box, this.colour);
    if (this.draft?.path) line(this.draft.path, sign[this.draft.label]);
    if (this.cross) {
      const [x, y] = place(this.cross), arm = 14 * ratio;
      for (const [style, width] of [["#000", 4], ["#fff", 2]]) {
        pen.strokeStyle = style; pen.lineWidth = width * ratio;
        pen.beginPath(); pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm); pen.stroke();
      }
    }
  }

  #where(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    return { x, y, image: [(x - this.at.x) / this.at.scale, (y - this.at.y) / this.at.scale] };
  }

  #inside([x, y]) { return x >= 0 && y >= 0 && x < this.image.width && y < this.image.height; }
  #clamped([x, y]) { return [Math.min(Math.max(x, 0), this.image.width), Math.min(Math.max(y, 0), this.image.height)]; }

  #down(event) {
    if (!this.image) return;
    this.cross = null;
    const where = this.#where(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, where);
    if (this.pointers.size === 2) { this.draft = null; this.gesture = { kind: "pinch" }; return; }
    if (this.pointers.size > 2) return;
    const pans = event.button === 1 || this.tool === "hand" || this.spaceHeld;
    const label = event.button === 2 || this.negative ? 0 : 1;
    this.gesture = { kind: pans ? "pan" : "tool", start: where, label, moved: false, touch: event.pointerType === "touch", button: event.button };
    if (!pans && this.tool === "scribble") this.draft = { path: [this.#clamped(where.image)], label };
    event.preventDefault();
    this.canvas.classList.add("pointed"); // no ring for who sees the pointer
    this.canvas.focus({ preventScroll: true });
  }

  #move(event) {
    if (!this.image) return;
    const where = this.#where(event), last = this.pointers.get(event.pointerId);
    if (!last) {
      if (event.pointerType === "mouse") this.on.hover(this.tool === "click" && !this.spaceHeld && this.#inside(where.image) ? where.image : null);
      return;
    }
    const { gesture } = this;
    if (gesture.kind === "pinch") {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const spread = (a) => Math.max(1, Math.hypot(a.x - other.x, a.y - other.y));
      this.at.x += (where.x - last.x) / 2; this.at.y += (where.y - last.y) / 2;
      this.pointers.set(event.pointerId, where);
      this.zoom(spread(where) / spread(last), (where.x + other.x) / 2, (where.y + other.y) / 2);
      return;
    }
    this.pointers.set(event.pointerId, where);
    if (Math.hypot(where.x - gesture.start.x, where.y - gesture.start.y) > TAP_PX) gesture.moved = true;
    if (gesture.kind === "pan" || (gesture.touch && this.tool === "click" && gesture.moved)) {
      this.at.x += where.x - last.x; this.at.y += where.y - last.y;
      this.fitted = false;
    } else if (this.tool === "scribble") {
      this.draft?.path.push(this.#clamped(where.image));
    } else if (gesture.moved && gesture.button === 0) { // also with the click tool: a drag can only mean a box
      const [a, b] = [this.#clamped(gesture.start.image), this.#clamped(where.image)];
      this.draft = { box: [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])] };
      this.on.hover(null);
    }
    this.draw();
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { gesture, draft } = this;
    if (gesture.kind === "pinch") { if (!this.pointers.size) this.gesture = null; return; }
    this.draft = null;
    if (gesture.kind === "tool") {
      if (draft?.path && (draft.path.length > 1)) this.on.scribble(thinned(draft.path), gesture.label);
      else if (draft?.box) { if (draft.box[2] - draft.box[0] >= 2 && draft.box[3] - draft.box[1] >= 2) this.on.box(draft.box.map(tenth)); }
      else if (!gesture.moved && this.#inside(gesture.start.image)) this.on.point(...gesture.start.image.map(tenth), gesture.label);
    }
    this.draw();
  }

  #cancel(event) { this.pointers.delete(event.pointerId); this.draft = null; this.draw(); }
  #leave() { if (!this.pointers.size) this.on.hover(null); }

  #wheel(event) {
    if (!this.image) return;
    event.preventDefault();
    const { x, y } = this.#where(event);
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), x, y);
  }

  #key(event) {
    this.canvas.classList.remove("pointed");
    if (!this.image || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const size = Math.max(1, Math.round(Math.max(this.image.width, this.image.height) / 200)) * (event.shiftKey ? 10 : 1);
    if (steps[event.key]) {
      this.cross ??= [this.image.width / 2, this.image.height / 2];
      const [x, y] = this.#clamped([this.cross[0] + steps[event.key][0] * size, this.cross[1] + steps[event.key][1] * size]);
      this.cross = [Math.min(x, this.image.width - 0.5), Math.min(y, this.image.height - 0.5)];
      this.on.cross(this.cross);
      if (this.draft?.corner) this.draft.box = around(this.draft.corner, this.cross);
      if (this.tool === "click") this.on.hover(this.cross);
    } else if (event.key === "Enter" && this.cross) {
      if (this.tool !== "box") this.on.point(...this.cross.map(tenth), this.negative ? 0 : 1);
      else if (this.draft?.box) { const { box } = this.draft; this.draft = null; this.on.box(box.map(tenth)); }
      else this.draft = { corner: [...this.cross] };
    } else if ((event.key === "Delete" || event.key === "Backspace") && this.cross) {
      this.on.point(...this.cross.map(tenth), 0);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }
}

const tenth = (value) => Math.round(value * 10) / 10;
const around = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

// No more positions than the API takes.
function thinned(path) {
  const step = Math.max(1, Math.ceil(path.length / 400));
  return path.filter((_, i) => i % step === 0 || i === path.length - 1).map((point) => point.map(tenth));
}
