// What was pointed at in one image, and how it came about: plain data with undo and redo.

export const MAX_STEPS = 200;
const GOLDEN = 137.508;

// Neighbours in the list differ most in hue.
export const hue = (number) => (212 + (number - 1) * GOLDEN) % 360;

let made = 0;

export class Slot {
  constructor(file, name) {
    this.uid = ++made;
    this.file = file;          // what to send again when the server let it go
    this.name = name;
    this.series = null;        // { id, count, path } of a volume
    this.slice = 0;
    this.versions = [];        // image infos: as it came, and after each action
    this.thumb = null;
    this.busy = null;          // promise of the upload
    this.state = { version: 0, objects: [], active: -1, made: 0 };
    this.undone = [];
    this.done = [];
  }

  get version() { return this.versions[this.state.version]; }
  // Names the pixels, whatever the server calls them after they had to be sent again.
  get key() { return `${this.uid}/${this.slice}/${this.state.version}`; }
  get objects() { return this.state.objects; }
  get active() { return this.state.objects[this.state.active]; }

  // Change the state by a function; what was before can be had again.
  change(step) {
    const before = structuredClone(this.state);
    step(this.state);
    this.done.push(before);
    if (this.done.length > MAX_STEPS) this.done.shift();
    this.undone.length = 0;
  }

  undo() { return this.#move(this.done, this.undone); }
  redo() { return this.#move(this.undone, this.done); }

  #move(from, to) {
    if (!from.length) return false;
    to.push(this.state);
    this.state = from.pop();
    return true;
  }

  // The object that a prompt goes to; a new one where none is there.
  ensure(state) {
    if (!state.objects[state.active]) {
      state.made += 1;
      state.objects.push({ number: state.made, name: "", points: [], scribbles: [], box: null, visible: true });
      state.active = state.objects.length - 1;
    }
    return state.objects[state.active];
  }
}

export const label = (object) => object.name || `object ${object.number}`;

export const isPointedAt = (object) =>
  !!object && (!!object.box || object.points.some((p) => p[2] === 1) || object.scribbles.some((s) => s.label === 1));

// As the API wants it.
export function prompt(object, extra = {}) {
  const body = { name: label(object) };
  const points = [...object.points, ...(extra.points || [])];
  if (points.length) body.points = points;
  if (object.scribbles.length) body.scribbles = object.scribbles;
  if (object.box) body.box = object.box;
  return body;
}

export const promptKey = (slot, object) => `${slot.key} ${JSON.stringify([object.points, object.scribbles, object.box])}`;
