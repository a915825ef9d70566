// The picture, large. Python gives {before, after, full, other, otherFull, width, height, titles,
// busy: {text, progress, preview} | null, brush: {styles, masks, revision} | null}, pictures as
// URLs, and gets back `masks` (see brush.js, which is put before this file).
const CLOSEST = 8; // screen pixels for each pixel of the picture
const STEP = 1.5; // of the zoom buttons
const KNOB = 44; // how far the knob stays from the edges, where a swipe means "Back"

const viewers = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".viewer");
  if (!viewers.has(root)) viewers.set(root, makeViewer(root));
  const viewer = viewers.get(root);
  viewer.update(data, setStateValue);
  return () => viewer.end();
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** A decoded picture, so that it is never put on the page before it can be seen; null if lost. */
async function decoded(url, alt) {
  const image = new Image();
  image.src = url;
  image.alt = alt;
  image.draggable = false;
  return image.decode().then(() => image, () => null);
}

function makeViewer(root) {
  const find = (name) => root.querySelector(`.${name}`);
  const stage = find("stage");
  const panes = [...root.querySelectorAll(".pane")];
  const layers = [...root.querySelectorAll(".layer")];
  const knob = find("knob");
  const view = { fit: true, scale: 1, x: 0.5, y: 0.5 }; // x, y of the picture: middle of the pane
  const pictures = {}; // what is shown, by role: before, after, other, preview
  const sharp = {}; // which URLs were asked for at full size
  let data = null;
  let at = 0; // how much of the photo is seen, from 0 to 1
  let turn = 0;
  let box = null; // where the picture lies in a pane, in CSS pixels

  const brush = makeBrush(root, { tell, redraw: layout, place: () => box });

  // Pictures ------------------------------------------------------------------------------------

  async function update(given, setStateValue) {
    const mine = ++turn;
    const ratio = given.width / given.height;
    if (!data) root.style.setProperty("--ratio", ratio); // room for what comes
    showBusy(given.busy);
    const { before, after, other, titles } = given;
    const wanted = {
      before: [before, titles[0]],
      after: [after, titles[other ? 0 : 1]],
      other: [other, titles[1]],
      preview: [given.busy?.preview, "The next picture, unfinished"],
    };
    const ready = await Promise.all(
      Object.entries(wanted).map(async ([role, one]) => [role, await picture(role, ...one)]),
    );
    if (mine !== turn) return; // there are newer ones
    const news = data && after && after !== data.after;
    // Not before, so that what is seen and what is told of it are always of the same picture.
    data = given;
    for (const [role, image] of ready) {
      if (pictures[role] !== image) delete sharp[role];
      pictures[role] = image;
    }
    root.style.setProperty("--ratio", ratio);
    root.classList.toggle("two", Boolean(other));
    brush.update(data, setStateValue);
    place();
    layout();
    if (news) {
      tell("Your picture is ready.", "unseen");
      comeIntoSight();
    }
  }

  /** The picture of that URL: the one that is shown already, or a new one. */
  async function picture(role, url, alt) {
    const shown = pictures[role];
    if (!url) return null;
    if (shown?.dataset.url === url) return Object.assign(shown, { alt });
    const image = await decoded(url, alt);
    if (!image) return shown ?? null;
    image.dataset.url = url;
    image.className = role;
    return image;
  }

  /** Puts the pictures on the page, and takes away those that went. Of a finished picture and the
   * preview of the next one, one is large, the other on a button that swaps them. */
  function place() {
    const { before, after, other, preview } = pictures;
    const swapped = preview && (!after || find("peek").ariaPressed === "true");
    fill(layers[0], swapped ? [preview] : [before, after]);
    fill(layers[1], [other]);
    find("peek").hidden = !(preview && after);
    fill(find("peek"), [swapped ? after : preview]);
    panes[1].hidden = !other;
    root.classList.toggle("compared", Boolean(before && after && !other && !swapped && !data.brush));
  }

  function fill(parent, images) {
    const wanted = images.filter(Boolean);
    for (const old of parent.querySelectorAll("img")) if (!wanted.includes(old)) old.remove();
    wanted.forEach((image, n) => {
      if (parent.children[n] !== image) parent.insertBefore(image, parent.children[n] ?? null);
    });
  }

  function showBusy(busy) {
    const progress = find("progress");
    find("busy").hidden = progress.hidden = !busy;
    if (!busy) return find("peek").setAttribute("aria-pressed", false);
    find("sentence").textContent = busy.text;
    progress.setAttribute("aria-label", busy.text);
    progress.classList.toggle("unknown", busy.progress === null);
    if (busy.progress === null) return progress.removeAttribute("aria-valuenow");
    progress.setAttribute("aria-valuenow", Math.round(100 * busy.progress));
    progress.style.setProperty("--done", busy.progress);
  }

  /** Loads the picture at full size, once, where more of it is seen than was loaded. */
  async function sharpen(role, url) {
    const shown = pictures[role];
    const needed = box.width * devicePixelRatio;
    if (!url || !shown || needed <= shown.naturalWidth * 1.01 || sharp[role] === url) return;
    sharp[role] = url;
    const image = await decoded(url, shown.alt);
    if (!image || pictures[role] !== shown) return; // another one came meanwhile
    image.dataset.url = shown.dataset.url;
    image.className = role;
    shown.replaceWith(image);
    pictures[role] = image;
    layout();
  }

  // Zoom ----------------------------------------------------------------------------------------

  /** The smallest and the largest scale, the one that fits, and that of the picture's pixels. */
  function scales() {
    const { clientWidth, clientHeight } = panes[0];
    const fit = Math.min(clientWidth / data.width, clientHeight / data.height);
    const own = 1 / devicePixelRatio;
    return { fit, own, least: Math.min(fit, own), most: Math.max(CLOSEST * own, 4 * fit) };
  }

  function layout() {
    const { clientWidth, clientHeight } = panes[0];
    if (!data || !clientWidth) return;
    const { fit, own, least, most } = scales();
    view.scale = view.fit ? fit : clamp(view.scale, least, most);
    const width = data.width * view.scale;
    const height = data.height * view.scale;
    const left = side(clientWidth, width, view.x);
    const top = side(clientHeight, height, view.y);
    view.x = (clientWidth / 2 - left) / width;
    view.y = (clientHeight / 2 - top) / height;
    box = { left: onScreen(left), top: onScreen(top), width, height };
    for (const layer of layers) {
      const lengths = Object.entries(box).map(([name, value]) => [name, `${value}px`]);
      Object.assign(layer.style, Object.fromEntries(lengths));
    }
    const larger = width > clientWidth + 1 || height > clientHeight + 1;
    stage.classList.toggle("larger", larger);
    stage.classList.toggle("drawn-on", brush.draws());
    find("zoom").textContent = `${Math.round((100 * view.scale) / own)} %`;
    find("fit").setAttribute("aria-pressed", view.fit);
    find("own").setAttribute("aria-pressed", !view.fit && Math.abs(view.scale / own - 1) < 1e-6);
    divide();
    brush.outline();
    sharpen("after", data.full);
    sharpen("other", data.otherFull);
  }

  /** Where a picture begins that shows this point of it in the middle, and no more than it must
   * of what is beside it. */
  function side(room, length, middle) {
    if (length <= room) return (room - length) / 2;
    return clamp(room / 2 - middle * length, room - length, 0);
  }

  /** The nearest place that is a whole pixel of the screen. */
  function onScreen(place) {
    return Math.round(place * devicePixelRatio) / devicePixelRatio;
  }

  /** Zooms; what is at this place of the pane, by default its middle, stays there. */
  function zoom(scale, place = [panes[0].clientWidth / 2, panes[0].clientHeight / 2]) {
    const { fit, least, most } = scales();
    const wanted = clamp(scale, least, most);
    const [x, y] = [(place[0] - box.left) / box.width, (place[1] - box.top) / box.height];
    const { clientWidth, clientHeight } = panes[0];
    view.scale = wanted;
    view.x = x + (clientWidth / 2 - place[0]) / (wanted * data.width);
    view.y = y + (clientHeight / 2 - place[1]) / (wanted * data.height);
    view.fit = Math.abs(wanted / fit - 1) < 1e-3;
    layout();
  }

  function move(right, down) {
    view.x -= right / box.width;
    view.y -= down / box.height;
    layout();
  }

  function showWhole() {
    view.fit = true;
    layout();
  }

  // Before and after ----------------------------------------------------------------------------

  function divide() {
    const compared = root.classList.contains("compared");
    const from = Math.max(0, box.left);
    const to = Math.min(panes[0].clientWidth, box.left + box.width);
    const line = from + at * (to - from);
    const [photo, painting] = [Math.round(100 * at), 100 - Math.round(100 * at)];
    const { titles } = data;
    root.style.setProperty("--line", `${line}px`);
    root.style.setProperty("--knob", `${clamp(line, from + KNOB, Math.max(from, to - KNOB))}px`);
    root.style.setProperty("--cut", compared ? `${line - box.left}px` : "0px");
    root.classList.toggle("divided", compared && at > 0 && at < 1);
    knob.setAttribute("aria-label", `Divider between ${titles[0]} and ${titles[1]}`.toLowerCase());
    knob.setAttribute("aria-valuenow", photo);
    const told = `${titles[0]} ${photo} %, ${titles[1]} ${painting} %`.toLowerCase();
    knob.setAttribute("aria-valuetext", told);
    find("first").textContent = titles[0];
    (data.other ? panes[1].querySelector(".chip") : find("second")).textContent = titles[1];
    root.classList.toggle("chip-left", at > 0.15);
    root.classList.toggle("chip-right", at < 0.85);
  }

  function divideAt(x) {
    const from = Math.max(0, box.left);
    const to = Math.min(panes[0].clientWidth, box.left + box.width);
    at = clamp((x - from) / (to - from), 0, 1);
    divide();
  }

  knob.onpointerdown = (event) => {
    if (event.button) return;
    event.stopPropagation();
    knob.setPointerCapture(event.pointerId);
    knob.onpointermove = (moved) => divideAt(placeOf(moved)[0]);
  };
  knob.onpointerup = knob.onpointercancel = () => (knob.onpointermove = null);
  knob.onkeydown = (event) => {
    const steps = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02 };
    Object.assign(steps, { PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 });
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    at = clamp(at + steps[event.key], 0, 1);
    divide();
  };

  // Pointers ------------------------------------------------------------------------------------

  const pointers = new Map(); // where they were last, in the window
  let drag = null; // what the pointers do: "draw", "move", "divide", "pinch"

  const placeOf = (event) => inPane([event.clientX, event.clientY]);

  /** A place of the window in the pane that is there. */
  function inPane([x, y]) {
    const edges = panes.filter((pane) => !pane.hidden).map((pane) => pane.getBoundingClientRect());
    const edge = edges.findLast(({ left, top }) => x >= left && y >= top) ?? edges[0];
    return [x - edge.left, y - edge.top];
  }

  function onPicture([x, y]) {
    return [(x - box.left) / box.width, (y - box.top) / box.height];
  }

  stage.onpointerdown = (event) => {
    if (event.target.closest("button") || event.button > 1 || !box) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.button) event.preventDefault(); // the wheel would scroll
    if (pointers.size === 2) {
      if (drag === "draw") brush.cancel();
      drag = "pinch";
    } else if (event.button || (stage.classList.contains("larger") && !brush.draws())) drag = "move";
    else if (brush.draws()) {
      drag = "draw";
      stage.setPointerCapture(event.pointerId);
      brush.begin(onPicture(placeOf(event)));
    } else drag = root.classList.contains("compared") ? "divide" : null;
  };
  stage.onpointermove = (event) => {
    brush.hover(event.pointerType === "touch" ? null : onPicture(placeOf(event)));
    const last = pointers.get(event.pointerId);
    if (!last || !drag) return;
    const now = [event.clientX, event.clientY];
    if (drag === "pinch") return pinch(event.pointerId, now);
    const [right, down] = [now[0] - last[0], now[1] - last[1]];
    // A click that trembles is none.
    if (!stage.hasPointerCapture(event.pointerId)) {
      if (Math.hypot(right, down) < 4) return;
      stage.setPointerCapture(event.pointerId);
    }
    pointers.set(event.pointerId, now);
    if (drag === "draw") for (const one of coalesced(event)) brush.draw(onPicture(placeOf(one)));
    else if (drag === "move") move(right, down);
    else if (drag === "divide") divideAt(placeOf(event)[0]);
  };
  stage.onpointerup = stage.onpointercancel = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (drag === "draw") brush.finish();
    // The finger that is left after a pinch does nothing until it is lifted.
    drag = null;
  };
  stage.onpointerleave = () => brush.hover(null);

  function coalesced(event) {
    const all = event.getCoalescedEvents?.() ?? [];
    return all.length ? all : [event];
  }

  function pinch(id, now) {
    const before = spread();
    pointers.set(id, now);
    const after = spread();
    zoom((view.scale * after.wide) / before.wide, inPane(before.middle));
    move(after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]);
  }

  function spread() {
    const [[x, y], [u, v]] = pointers.values();
    return { wide: Math.hypot(x - u, y - v), middle: [(x + u) / 2, (y + v) / 2] };
  }

  // Drags end where a menu opens, for "Save image"; a finger that rests while drawing opens none.
  stage.oncontextmenu = (event) => {
    if (drag === "draw") return event.preventDefault();
    pointers.clear();
    drag = null;
  };
  stage.ondblclick = (event) => {
    if (event.target.closest("button, .knob") || brush.draws()) return;
    const { fit, own } = scales();
    if (view.fit) zoom(own > fit * 1.05 ? own : 2 * fit, placeOf(event));
    else showWhole();
  };
  // A page that scrolls goes on scrolling over a picture, unless one has turned to it.
  stage.addEventListener(
    "wheel",
    (event) => {
      const turnedTo = event.ctrlKey || !view.fit || stage.matches(":focus-within");
      const { least, most } = scales();
      const end = event.deltaY > 0 ? Math.min(least, scales().fit) : most;
      if (!turnedTo || view.scale === end || (view.fit && event.deltaY > 0)) return;
      event.preventDefault();
      zoom(view.scale * Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), placeOf(event));
    },
    { passive: false },
  );

  // Keys and buttons ----------------------------------------------------------------------------

  const actions = {
    in: () => zoom(view.scale * STEP),
    out: () => zoom(view.scale / STEP),
    fit: showWhole,
    own: () => zoom(scales().own),
    full: toggleFullScreen,
    copy: () => copyPicture(shownUrl()).then(() => tell("Copied."), () => tell("Not copied.")),
    share: () => sharePicture(shownUrl()).catch(() => {}), // one may change one's mind
    peek: togglePeek,
  };
  for (const [name, action] of Object.entries(actions)) find(name).onclick = action;
  root.onkeydown = (event) => {
    if (event.target.matches("input") || event.altKey) return;
    if (event.ctrlKey || event.metaKey) return brush.shortcut(event);
    const keys = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "own", f: "full" };
    const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key in keys) actions[keys[event.key]]();
    else if (event.key in moves && event.target === stage && !view.fit)
      move(...moves[event.key].map((one) => 60 * one));
    else return;
    event.preventDefault();
  };

  function togglePeek() {
    const button = find("peek");
    button.setAttribute("aria-pressed", button.ariaPressed !== "true");
    place();
    layout();
  }

  function toggleFullScreen() {
    if (root.getRootNode().fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen();
  }

  function shownUrl() {
    return data.full ?? data.after ?? data.before;
  }

  find("full").hidden = !document.fullscreenEnabled;
  find("copy").hidden = !(navigator.clipboard?.write && window.ClipboardItem);
  find("share").hidden = !canShare();
  root.onfullscreenchange = () =>
    find("full").setAttribute("aria-pressed", Boolean(root.getRootNode().fullscreenElement));

  // What is told --------------------------------------------------------------------------------

  let silence = 0;
  /** Tells it for a while; "unseen" only to those who do not see the picture. */
  function tell(sentence, how = "") {
    const told = find("told");
    clearTimeout(silence);
    told.textContent = sentence;
    told.classList.toggle("unseen", how === "unseen");
    silence = setTimeout(() => (told.textContent = ""), 4000);
  }

  /** On a phone, whoever taps a style below the picture does not see that it changed. */
  function comeIntoSight() {
    const { top, bottom } = stage.getBoundingClientRect();
    const seen = Math.min(bottom, innerHeight) - Math.max(top, 0);
    if (seen > (bottom - top) / 3) return;
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    root.scrollIntoView({ behavior, block: "start" });
  }

  const resized = new ResizeObserver(layout);
  resized.observe(stage);
  return { update, end: () => resized.disconnect() };
}

// The picture elsewhere ---------------------------------------------------------------------------

function canShare() {
  const file = new File(["x"], "picture.png", { type: "image/png" });
  return Boolean(navigator.canShare?.({ files: [file] }));
}

async function sharePicture(url) {
  const blob = await (await fetch(url)).blob();
  const name = `impasto.${blob.type.split("/")[1]}`;
  await navigator.share({ files: [new File([blob], name, { type: blob.type })] });
}

function copyPicture(url) {
  // A promise, for Safari allows no waiting between the click and the copy.
  return navigator.clipboard.write([new ClipboardItem({ "image/png": asPng(url) })]);
}

async function asPng(url) {
  const bitmap = await createImageBitmap(await (await fetch(url)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
