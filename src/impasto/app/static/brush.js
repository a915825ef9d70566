// Masks, one for each style, painted over the picture in the viewer. Python gives brush:
// {styles: [{id, title}], masks: {id: PNG}, revision}, and gets back `masks`: {revision, masks},
// PNGs whose alpha is where the style goes.
const INKS = [[228, 87, 46], [46, 134, 171], [243, 195, 35], [106, 76, 147], [59, 178, 115], [255, 126, 182]];
const SIDE = 512; // longer side of a mask, in pixels
const KEPT = 40; // strokes that can be undone
const [ERASER, HAND] = ["eraser", "hand"];

/** What is drawn: for each style a layer, whose alpha is where the style goes. */
class Drawing {
  constructor(ids, width, height) {
    this.scale = SIDE / Math.max(width, height);
    this.width = Math.round(width * this.scale);
    this.height = Math.round(height * this.scale);
    this.pens = new Map(ids.map((id) => [id, this.pen()]));
    this.past = [];
    this.future = [];
  }

  pen() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.lineCap = pen.lineJoin = "round";
    return pen;
  }

  alphas() {
    return [...this.pens.values()].map((pen) => {
      const { data } = pen.getImageData(0, 0, this.width, this.height);
      return Uint8ClampedArray.from({ length: data.length / 4 }, (_, n) => data[4 * n + 3]);
    });
  }

  set(alphas) {
    [...this.pens.values()].forEach((pen, n) => {
      const image = pen.createImageData(this.width, this.height);
      alphas[n].forEach((alpha, place) => (image.data[4 * place + 3] = alpha));
      pen.putImageData(image, 0, 0);
    });
  }

  /** To be called before each change. */
  remember() {
    this.past.push(this.alphas());
    this.past.splice(0, this.past.length - KEPT);
    this.future = [];
  }

  undo(from = this.past, to = this.future) {
    if (!from.length) return;
    to.push(this.alphas());
    this.set(from.pop());
  }

  redo() {
    this.undo(this.future, this.past);
  }

  /** A line of this style (or of none), as wide as this share of the longer side. */
  line(id, from, to, share) {
    for (const [other, pen] of this.pens) {
      // Where one style is painted, the others are wiped away.
      pen.globalCompositeOperation = other === id ? "source-over" : "destination-out";
      pen.lineWidth = share * SIDE;
      pen.beginPath();
      pen.moveTo(from[0] * this.width, from[1] * this.height);
      // A line without length leaves no ink.
      pen.lineTo(to[0] * this.width + 0.01, to[1] * this.height);
      pen.stroke();
    }
  }

  clear() {
    for (const pen of this.pens.values()) pen.clearRect(0, 0, this.width, this.height);
  }

  /** This style where it was not, and nowhere else; the others give way. */
  invert(id) {
    const ids = [...this.pens.keys()];
    const alphas = this.alphas();
    const inverted = alphas[ids.indexOf(id)].map((alpha) => 255 - alpha);
    this.set(
      alphas.map((alpha, n) =>
        ids[n] === id ? inverted : alpha.map((value, place) => (value * (255 - inverted[place])) / 255),
      ),
    );
  }

  /** The alphas with edges that fade within this radius on both sides. */
  softened(radius) {
    return this.alphas().map((alpha) => soft(alpha, this.width, this.height, radius));
  }

  /** PNGs of the styles that are drawn anywhere. */
  async masks(radius) {
    const masks = {};
    const alphas = this.softened(radius);
    for (const [n, id] of [...this.pens.keys()].entries())
      if (alphas[n].some(Boolean)) masks[id] = await this.png(alphas[n], INKS[n % INKS.length]);
    return masks;
  }

  async png(alpha, ink) {
    const pen = this.pen();
    const image = pen.createImageData(this.width, this.height);
    alpha.forEach((value, n) => image.data.set([...ink, value], 4 * n));
    pen.putImageData(image, 0, 0);
    const blob = await pen.canvas.convertToBlob({ type: "image/png" });
    return new Promise((done) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.readAsDataURL(blob);
    });
  }
}

/** Three box blurs, which together reach as far as the radius; the picture's edge goes on. */
function soft(alpha, width, height, radius) {
  const reach = Math.round(radius / 3);
  if (!reach) return alpha;
  let values = Float32Array.from(alpha);
  for (let pass = 0; pass < 3; pass++) {
    values = boxed(values, height, width, width, 1, reach);
    values = boxed(values, width, height, 1, width, reach);
  }
  return Uint8ClampedArray.from(values); // which rounds
}

/** The means over 2 * reach + 1 neighbours along lines of so many values, a step apart. */
function boxed(values, lines, length, stride, step, reach) {
  const means = new Float32Array(values.length);
  const last = length - 1;
  for (let line = 0; line < lines; line++) {
    const value = (n) => values[line * stride + Math.min(Math.max(n, 0), last) * step];
    let sum = 0;
    for (let n = -reach; n <= reach; n++) sum += value(n);
    for (let n = 0; n < length; n++) {
      means[line * stride + n * step] = sum / (2 * reach + 1);
      sum += value(n + reach + 1) - value(n - reach);
    }
  }
  return means;
}

/** The brush's tools in the viewer. `place` tells where the picture lies in its pane. */
function makeBrush(root, { tell, redraw, place }) {
  const find = (name) => root.querySelector(`.${name}`);
  const canvas = find("ink");
  let drawing = null;
  let key = null;
  let send = () => {};
  let tool = null; // a style's id, ERASER or HAND
  let style = null; // the last one that was chosen
  let last = null; // of the stroke
  let pointer = null; // where the brush is, from 0 to 1
  let frame = 0;

  function update({ brush, width, height }, setStateValue) {
    find("tools").hidden = canvas.hidden = !brush;
    if (!brush) return void (drawing = key = pointer = null);
    send = (masks) => setStateValue("masks", { revision: brush.revision, masks });
    const wanted = JSON.stringify([width, height, brush.styles, brush.revision]);
    // Called again after each stroke: what is drawn here is newer than what Python knows.
    if (key === wanted) return;
    key = wanted;
    drawing = new Drawing(brush.styles.map(({ id }) => id), width, height);
    Object.assign(canvas, { width: drawing.width, height: drawing.height });
    find("soft").value = 0; // a mask that comes from Python is as soft as it was
    choices(brush.styles);
    load(drawing, brush.masks);
  }

  async function load(into, masks) {
    for (const [id, url] of Object.entries(masks)) {
      const image = await decoded(url, "");
      if (image) into.pens.get(id)?.drawImage(image, 0, 0, into.width, into.height);
    }
    show();
  }

  function choices(styles) {
    const tools = [...styles, { id: ERASER, title: "Eraser" }, { id: HAND, title: "Move picture" }];
    const buttons = tools.map(({ id, title }, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.onclick = () => choose(id);
      button.dataset.tool = id;
      if (n < styles.length) button.style.setProperty("--ink", `rgb(${INKS[n % INKS.length]})`);
      return button;
    });
    find("brushes").replaceChildren(...buttons);
    choose(styles.some(({ id }) => id === style) ? style : styles[0].id);
  }

  function choose(id) {
    tool = id;
    if (drawing.pens.has(id)) style = id;
    for (const button of find("brushes").children)
      button.setAttribute("aria-pressed", button.dataset.tool === id);
    redraw();
  }

  const width = () => find("size").value / 100;
  const radius = () => (find("soft").value / 100) * SIDE;

  // What is shown and sent ------------------------------------------------------------------------

  function show() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => drawing && paint(drawing.softened(radius())));
    find("undo").disabled = !drawing?.past.length;
    find("redo").disabled = !drawing?.future.length;
  }

  function paint(alphas) {
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(canvas.width, canvas.height);
    for (let n = 0; n < alphas[0].length; n++) {
      const sum = alphas.reduce((all, alpha) => all + alpha[n], 0);
      if (!sum) continue;
      for (let channel = 0; channel < 3; channel++)
        image.data[4 * n + channel] =
          alphas.reduce((all, alpha, m) => all + alpha[n] * INKS[m % INKS.length][channel], 0) / sum;
      image.data[4 * n + 3] = sum;
    }
    pen.putImageData(image, 0, 0);
  }

  let sent = 0;
  async function changed() {
    show();
    const mine = ++sent;
    const masks = await drawing.masks(radius());
    if (mine === sent) send(masks); // else there is newer news
  }

  // Strokes -----------------------------------------------------------------------------------------

  const draws = () => Boolean(drawing) && tool !== HAND;
  const painted = () => (drawing.pens.has(tool) ? tool : null);

  function begin(point) {
    canvas.focus({ preventScroll: true });
    drawing.remember();
    last = point;
    draw(point);
  }

  function draw(point) {
    drawing.line(painted(), last, point, width());
    last = point;
    show();
  }

  function cancel() {
    drawing.undo();
    drawing.future = [];
    show();
  }

  // The brush's outline -------------------------------------------------------------------------------

  function hover(point) {
    pointer = draws() ? point : null;
    outline();
  }

  function outline() {
    const ring = find("outline");
    const at = place();
    ring.hidden = !(draws() && pointer && at);
    if (ring.hidden) return;
    const across = width() * Math.max(at.width, at.height);
    ring.style.width = ring.style.height = `${across}px`;
    ring.style.left = `${at.left + pointer[0] * at.width - across / 2}px`;
    ring.style.top = `${at.top + pointer[1] * at.height - across / 2}px`;
  }

  // Keys and buttons ----------------------------------------------------------------------------------

  canvas.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const step = event.shiftKey ? 0.1 : 0.02;
      const at = pointer ?? [0.5, 0.5];
      pointer = at.map((one, n) => Math.min(Math.max(one + step * moves[event.key][n], 0), 1));
      outline();
    } else if (event.key === " " || event.key === "Enter") {
      pointer ??= [0.5, 0.5];
      begin(pointer);
      changed();
      outline();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  canvas.onfocus = () => {
    if (canvas.matches(":focus-visible")) hover(pointer ?? [0.5, 0.5]);
  };

  function edit(change) {
    drawing.remember();
    change();
    changed();
  }

  const edits = {
    undo: () => void (drawing.undo(), changed()),
    redo: () => void (drawing.redo(), changed()),
    clear: () => edit(() => drawing.clear()),
    invert: () => edit(() => drawing.invert(style)),
    inked: () => {
      const button = find("inked");
      button.setAttribute("aria-pressed", button.ariaPressed !== "true");
    },
  };
  for (const [name, action] of Object.entries(edits)) find(name).onclick = action;
  find("size").oninput = outline;
  find("soft").oninput = show;
  find("soft").onchange = () => changed();

  function shortcut(event) {
    const step = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
    if (!drawing || !step) return;
    event.preventDefault();
    edits[step]();
    tell(step === "undo" ? "Undone." : "Done again.");
  }

  return { update, draws, begin, draw, finish: changed, cancel, hover, outline, shortcut };
}
