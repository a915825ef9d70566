// Masks painted over the photo, one for each style. Python gives {photo, width, height, styles:
// [{id, title}], masks: {id: PNG}, revision}, and gets back `masks`, PNGs whose alpha is where the
// style goes.
const INKS = ["#e4572e", "#2e86ab", "#f3c623", "#6a4c93", "#3bb273", "#ff7eb6"];
const SIDE = 512;
const RUBBER = "rubber";

export default function ({ data, parentElement, setStateValue }) {
  const easel = parentElement.querySelector(".easel");
  const view = parentElement.querySelector("canvas");
  const size = parentElement.querySelector("input");
  const key = JSON.stringify([data.width, data.height, data.styles, data.revision]);
  parentElement.querySelector("img").src = data.photo;
  easel.style.setProperty("--ratio", data.width / data.height);
  // Called again after each stroke: what is on the canvases is newer than what Python knows.
  if (easel.dataset.key === key) return;
  easel.dataset.key = key;
  easel.scrollIntoView({ behavior: "smooth", block: "nearest" });

  const scale = SIDE / Math.max(data.width, data.height);
  view.width = Math.round(data.width * scale);
  view.height = Math.round(data.height * scale);
  const layers = new Map(
    data.styles.map(({ id }, n) => {
      const canvas = new OffscreenCanvas(view.width, view.height);
      const pen = canvas.getContext("2d");
      pen.strokeStyle = INKS[n % INKS.length];
      pen.lineCap = pen.lineJoin = "round";
      return [id, pen];
    }),
  );
  let brush = data.styles[0].id;
  let last = null;

  const show = () => {
    const pen = view.getContext("2d");
    pen.clearRect(0, 0, view.width, view.height);
    for (const layer of layers.values()) pen.drawImage(layer.canvas, 0, 0);
  };
  const at = (event) => {
    const box = view.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * view.width,
      ((event.clientY - box.top) / box.height) * view.height,
    ];
  };
  const draw = (point) => {
    for (const [id, pen] of layers) {
      // Where one style is painted, the others are wiped away.
      pen.globalCompositeOperation = id === brush ? "source-over" : "destination-out";
      pen.lineWidth = (size.value / 100) * SIDE;
      pen.beginPath();
      pen.moveTo(...(last ?? point));
      pen.lineTo(...point);
      pen.stroke();
    }
    last = point;
    show();
  };
  const empty = (pen) =>
    !pen.getImageData(0, 0, view.width, view.height).data.some((value, n) => n % 4 === 3 && value);
  const asUrl = async (pen) => {
    const blob = await pen.canvas.convertToBlob({ type: "image/png" });
    return new Promise((done) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.readAsDataURL(blob);
    });
  };
  let sent = 0;
  const send = async () => {
    const mine = ++sent;
    const masks = {};
    for (const [id, pen] of layers) if (!empty(pen)) masks[id] = await asUrl(pen);
    if (mine === sent) setStateValue("masks", masks); // else there is newer news
  };

  view.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    view.setPointerCapture(event.pointerId);
    last = null;
    draw(at(event));
    view.onpointermove = (move) => move.isPrimary && draw(at(move));
  };
  view.onpointerup = view.onpointercancel = () => {
    if (view.onpointermove) send();
    view.onpointermove = null;
  };
  parentElement.querySelector(".clear").onclick = () => {
    for (const pen of layers.values()) pen.clearRect(0, 0, view.width, view.height);
    show();
    send();
  };

  const brushes = parentElement.querySelector(".brushes");
  const choices = [...data.styles, { id: RUBBER, title: "Eraser" }];
  brushes.replaceChildren(
    ...choices.map(({ id, title }, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.setAttribute("aria-pressed", id === brush);
      if (id !== RUBBER) button.style.setProperty("--ink", INKS[n % INKS.length]);
      button.onclick = () => {
        brush = id;
        for (const other of brushes.children) other.setAttribute("aria-pressed", other === button);
      };
      return button;
    }),
  );
  for (const [id, url] of Object.entries(data.masks)) {
    const image = new Image();
    image.onload = () => {
      layers.get(id)?.drawImage(image, 0, 0);
      show();
    };
    image.src = url;
  }
}
