// Pictures to click on. Python gives {items: [{id, title, about, picture, group, removable,
// renamable, pinned}], chosen: [id], applied, most, label, strip, search}, and gets back `events`:
// those since the last one that it applied, as [number, kind, id, value]. A list, since an event
// that comes while the page is being drawn anew would otherwise take the place of the one before.
const lists = new WeakMap();
const AGAIN_MS = 10_000;
const MOST_TRIES = 3; // after the first one
const phone = matchMedia("(max-width: 640px)");

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".choose");
  if (!lists.has(root)) lists.set(root, makeList(root));
  const list = lists.get(root);
  list.update(data, setStateValue);
  return () => list.end();
}

function make(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function makeButton(className, label, path) {
  const button = make("button", className);
  button.type = "button";
  button.title = button.ariaLabel = label;
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}" /></svg>`;
  return button;
}

/** Letters without their accents, so that "cezanne" finds Cézanne. */
function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

function makeList(root) {
  const search = root.querySelector(".search");
  const told = root.querySelector(".told");
  const list = root.querySelector(".tiles");
  const tiles = new Map();
  let data = null;
  let send = null;
  let events = []; // that Python has not applied yet
  let last = 0;
  let seen = ""; // what was chosen when it was last brought into sight

  function update(given, setStateValue) {
    data = given;
    send = () => setStateValue("events", events);
    events = events.filter(([number]) => number > data.applied);
    list.setAttribute("aria-label", data.label);
    layOut();
    search.hidden = !data.search;
    search.placeholder = search.ariaLabel = `Search ${data.label.toLowerCase()}`;
    show();
  }

  /** On a phone always in one row, so that the picture stays near. */
  function layOut() {
    list.classList.toggle("strip", data.strip || phone.matches);
  }
  phone.addEventListener("change", layOut);

  function report(kind, id, value = null) {
    // Larger than any before, even of an earlier list in the same place.
    last = Math.max(Date.now(), last + 1, data.applied + 1);
    events.push([last, kind, id, value]);
    send();
    show();
  }

  // What is shown: what Python said, and what was done since ------------------------------------------

  function present() {
    const items = new Map(data.items.map((item) => [item.id, { ...item }]));
    let chosen = [...data.chosen];
    for (const [, kind, id, value] of events) {
      const item = items.get(id);
      if (!item) continue;
      if (kind === "choose") chosen = data.most > 1 ? [...chosen.filter((one) => one !== id), id] : [id];
      if (kind === "leave") chosen = chosen.filter((one) => one !== id);
      if (kind === "pin") item.pinned = value;
      if (kind === "rename") item.title = value;
      if (kind === "remove") items.delete(id);
    }
    return { items: [...items.values()], chosen: chosen.filter((id) => items.has(id)) };
  }

  function show() {
    const { items, chosen } = present();
    const ids = items.map(({ id }) => id);
    for (const [id, tile] of tiles) if (!ids.includes(id)) remove(id, tile);
    const shown = [];
    let group = "";
    for (const item of items) {
      if (item.group && item.group !== group) shown.push(heading(item.group));
      group = item.group;
      if (!tiles.has(item.id)) tiles.set(item.id, makeTile(item.id));
      fill(tiles.get(item.id), item, chosen.includes(item.id));
      shown.push(tiles.get(item.id));
    }
    arrange(shown);
    filter();
    rove();
    bringIntoSight(chosen);
    loadPreviews();
  }

  /** One after the other, as each takes time to make: other pictures are not kept waiting. */
  let loading = false;
  async function loadPreviews() {
    if (loading) return;
    loading = true;
    const next = () => [...tiles.values()].find(({ item, preview }) => item.preview !== (preview ?? ""));
    for (let tile = next(); tile; tile = next()) {
      tile.preview = tile.item.preview;
      if (!(await setPicture(tile, tile.preview || tile.item.picture))) tryAgain(tile);
    }
    loading = false;
  }

  /** Later, a few times: the server may have had too much to do. */
  function tryAgain(tile) {
    const { preview } = tile;
    if (tile.failed?.preview !== preview) tile.failed = { preview, times: 0 };
    if (!preview || (tile.failed.times += 1) > MOST_TRIES) return;
    setTimeout(() => {
      if (tiles.get(tile.item.id) !== tile || tile.preview !== preview) return;
      tile.preview = tile.picture = undefined;
      loadPreviews();
    }, AGAIN_MS);
  }

  /** Moves only what is not in its place, so that focus and scroll position stay. */
  function arrange(shown) {
    for (const old of [...list.children]) if (!shown.includes(old)) old.remove();
    shown.forEach((child, n) => {
      if (list.children[n] !== child) list.insertBefore(child, list.children[n] ?? null);
    });
  }

  function heading(group) {
    const old = [...list.querySelectorAll(".group")].find((one) => one.textContent === group);
    return old ?? make("h3", "group", group);
  }

  function makeTile(id) {
    const tile = make("div", "tile");
    tile.dataset.id = id;
    const pick = make("button", "pick");
    pick.type = "button";
    pick.append(make("span", "frame"), make("span", "title"));
    pick.onclick = () => click(tile);
    tile.append(pick);
    return tile;
  }

  function fill(tile, item, chosen) {
    const pick = tile.querySelector(".pick");
    pick.setAttribute("aria-pressed", chosen);
    pick.title = [item.title, item.about].filter(Boolean).join(", ");
    tile.querySelector(".title").textContent = item.title;
    tile.item = item;
    setPicture(tile, tile.preview === item.preview ? item.preview || item.picture : item.picture);
    setExtras(tile, item);
  }

  /** The old picture stays until the new one can be seen. False if it does not come. */
  async function setPicture(tile, url) {
    if (tile.picture === url) return true;
    tile.picture = url;
    if (!url) return true;
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = url;
    const frame = tile.querySelector(".frame");
    const old = frame.querySelector("img");
    if (!old) return !frame.prepend(image);
    await image.decode().catch(() => {});
    if (tile.picture === url && image.naturalWidth) frame.querySelector("img").replaceWith(image);
    return image.naturalWidth > 0;
  }

  function setExtras(tile, item) {
    const wanted = JSON.stringify([item.title, item.removable, item.renamable, item.pinned]);
    if (tile.extras === wanted) return;
    tile.extras = wanted;
    const focused = root.getRootNode().activeElement?.className;
    const within = tile.contains(root.getRootNode().activeElement);
    for (const old of tile.querySelectorAll(".extra")) old.remove();
    if (item.pinned !== null) {
      const word = item.pinned ? "Unpin" : "Pin";
      const pin = makeButton("extra pin", `${word} ${item.title}`, "M9 3h6l-1 7 4 4H6l4-4zM12 14v7");
      pin.setAttribute("aria-pressed", item.pinned);
      pin.onclick = () => report("pin", item.id, !tile.item.pinned);
      tile.append(pin);
    }
    if (item.renamable) {
      const pencil = makeButton("extra rename", `Rename ${item.title}`, "M4 20l1-5L16 4l4 4L9 19z");
      pencil.onclick = () => rename(tile);
      tile.append(pencil);
      tile.querySelector(".title").ondblclick = () => rename(tile);
    }
    if (item.removable) {
      const cross = makeButton("extra remove", `Remove ${item.title}`, "M6 6l12 12M18 6L6 18");
      cross.onclick = () => report("remove", item.id);
      tile.append(cross);
    }
    if (within && focused) tile.querySelector(`.${focused.replaceAll(" ", ".")}`)?.focus();
  }

  function remove(id, tile) {
    const focused = tile.contains(root.getRootNode().activeElement);
    const all = [...list.querySelectorAll(".tile:not([hidden])")];
    const next = all[all.indexOf(tile) + 1] ?? all[all.indexOf(tile) - 1];
    tiles.delete(id);
    tile.remove();
    if (focused) next?.querySelector(".pick").focus();
  }

  // What visitors do ------------------------------------------------------------------------------------

  function click(tile) {
    const { chosen } = present();
    const { id } = tile.item;
    if (data.most > 1 && chosen.includes(id)) return report("leave", id);
    if (data.most > 1 && chosen.length >= data.most)
      return tell(`You can choose ${data.most} at a time: let go of one first.`);
    tell("");
    report("choose", id);
  }

  function tell(sentence) {
    told.textContent = sentence;
  }

  function rename(tile) {
    if (tile.querySelector("input")) return;
    const input = make("input", "name");
    input.value = tile.item.title;
    input.ariaLabel = `New name of ${tile.item.title}`;
    input.maxLength = 60;
    const end = (keep) => {
      input.onblur = null;
      const name = input.value.trim();
      const focused = root.getRootNode().activeElement === input;
      input.remove();
      if (focused) tile.querySelector(".pick").focus();
      if (keep && name && name !== tile.item.title) report("rename", tile.item.id, name);
    };
    input.onblur = () => end(true);
    input.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
    };
    tile.append(input);
    input.select();
    input.focus();
  }

  function filter() {
    const words = data.search ? plain(search.value).split(/\s+/).filter(Boolean) : [];
    for (const tile of tiles.values()) {
      const text = plain([tile.item.title, tile.item.about, tile.item.group].join(" "));
      tile.hidden = !words.every((word) => text.includes(word));
    }
    let section = null;
    for (const child of list.children) {
      if (child.matches(".group")) (section = child).hidden = true;
      else if (section && !child.hidden) section.hidden = false;
    }
    const found = [...tiles.values()].some((tile) => !tile.hidden);
    if (words.length && !found) tell("Nothing found.");
    else if (told.textContent === "Nothing found.") tell("");
  }

  search.oninput = () => {
    filter();
    rove();
  };

  // Keys: one tile can be reached by Tab, the arrows lead to the others -------------------------------

  let current = null;
  function rove() {
    const shown = [...list.querySelectorAll(".tile:not([hidden])")];
    if (!shown.includes(current))
      current = shown.find((tile) => tile.querySelector("[aria-pressed=true]")) ?? shown[0];
    for (const tile of shown)
      for (const button of tile.querySelectorAll("button")) button.tabIndex = tile === current ? 0 : -1;
  }

  list.addEventListener("focusin", (event) => {
    current = event.target.closest(".tile");
    rove();
  });
  list.onkeydown = (event) => {
    const tile = event.target.closest(".tile");
    const shown = [...list.querySelectorAll(".tile:not([hidden])")];
    const n = shown.indexOf(tile);
    const keys = {
      ArrowLeft: () => shown[n - 1],
      ArrowRight: () => shown[n + 1],
      ArrowUp: () => nextRow(tile, shown.slice(0, n).reverse()),
      ArrowDown: () => nextRow(tile, shown.slice(n + 1)),
      Home: () => shown[0],
      End: () => shown.at(-1),
    };
    if (event.key in keys) keys[event.key]()?.querySelector(".pick").focus();
    else if (event.key === "Delete" && tile.item.removable) report("remove", tile.item.id);
    else if (event.key === "F2" && tile.item.renamable) rename(tile);
    else return;
    event.preventDefault();
  };

  /** The first of the others that lies in another row, as near as can be to the same column. */
  function nextRow(tile, others) {
    const row = others.find((other) => other.offsetTop !== tile.offsetTop)?.offsetTop;
    return others
      .filter((other) => other.offsetTop === row)
      .sort((a, b) => Math.abs(a.offsetLeft - tile.offsetLeft) - Math.abs(b.offsetLeft - tile.offsetLeft))[0];
  }

  /** In a row that scrolls: the one that was chosen last. */
  function bringIntoSight(chosen) {
    const tile = tiles.get(chosen.at(-1));
    if (seen === JSON.stringify(chosen) || !tile || !list.clientWidth) return;
    seen = JSON.stringify(chosen);
    const left = tile.offsetLeft - list.offsetLeft;
    if (left < list.scrollLeft || left + tile.offsetWidth > list.scrollLeft + list.clientWidth)
      list.scrollLeft = left - (list.clientWidth - tile.offsetWidth) / 2;
  }

  return { update, end: () => phone.removeEventListener("change", layOut) };
}
