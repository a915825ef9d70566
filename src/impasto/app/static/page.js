// What belongs to the whole page: pictures that are pasted or dropped anywhere go into the uploader
// of that label; the session's token outlives a reload. Python gives {token, uploader, told}, and
// gets back `stored`: the token that this tab had before, "" if none.
const STORE = "impasto.session";
const UPLOADER = '[data-testid="stFileUploader"]';

const pages = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const note = parentElement.querySelector(".drop");
  if (!pages.has(note)) pages.set(note, listen(note));
  pages.get(note).uploader = data.uploader;
  remember(data, setStateValue);
  return () => pages.get(note).end();
}

function remember({ token, told }, setStateValue) {
  if (told) store(token);
  else setStateValue("stored", stored());
}

function stored() {
  try {
    return sessionStorage.getItem(STORE) ?? "";
  } catch {
    return ""; // a browser may forbid it
  }
}

function store(token) {
  try {
    sessionStorage.setItem(STORE, token);
  } catch {
    // Then a reload begins anew.
  }
}

function listen(note) {
  const ending = new AbortController();
  const page = { uploader: null, end: () => ending.abort() };
  let own = false; // a picture of this page is dragged
  const on = (name, action) => window.addEventListener(name, action, { signal: ending.signal });
  const brings = (event) => !own && page.uploader && event.dataTransfer?.types.includes("Files");
  const inUploader = (event) => event.composedPath().some((one) => one.matches?.(UPLOADER));

  on("dragstart", () => (own = true));
  on("dragend", () => (own = false));
  on("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    note.hidden = inUploader(event);
  });
  on("dragleave", (event) => {
    if (!event.relatedTarget) note.hidden = true;
  });
  on("drop", (event) => {
    note.hidden = true;
    if (!brings(event)) return;
    event.preventDefault();
    if (!inUploader(event)) give(page.uploader, event.dataTransfer.files);
  });
  on("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!page.uploader || ![...files].some((file) => file.type.startsWith("image/"))) return;
    event.preventDefault();
    give(page.uploader, files);
  });
  return page;
}

/** Gives files to Streamlit's uploader as if they had been chosen there, so that its limits apply. */
function give(label, files) {
  const input = [...document.querySelectorAll(`${UPLOADER} input[type=file]`)].find(
    (one) => one.closest(UPLOADER).querySelector("label")?.textContent.trim() === label,
  );
  if (!input) return;
  const transfer = new DataTransfer();
  for (const file of input.multiple ? files : [...files].slice(0, 1)) transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
