// Tells visitors in plain words what Streamlit tells programmers: that the connection is lost, that
// an upload was refused. Asks before painted pictures are lost.
(() => {
  // Streamlit then need not guess where its server is.
  window.__streamlit = { BACKEND_BASE_URL: new URL(".", document.currentScript.src).href };

  const GONE_MS = 8000; // what is lost for longer has probably nothing at its other end
  const ENDING = 1012; // how a server that was told to end closes its connections
  const home = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const LOST = "Connection lost. Trying again…";
  const GONE = home
    ? "The server that paints has stopped. Start it again with “impasto app”; this page then " +
      "begins anew. Pictures that you see here can still be saved with a right click."
    : "The server that paints does not answer. Trying again… If it was restarted, this page " +
      "begins anew. Pictures that you see here can still be saved: press long, or click right.";
  const NO_ROOM = "There is no room for more files. Remove some, or reload the page.";
  const NOT_SENT = "A file did not arrive. Remove it, and try again.";
  let connected = true;
  let gone = false;
  let leaving = false;
  let refused = "";
  let timer;

  function tell() {
    const offline = !navigator.onLine;
    const lost = connected && !offline ? "" : gone && !offline ? GONE : LOST;
    const notice = document.getElementById("notice");
    if (!notice || notice.textContent === (lost || refused)) return;
    notice.textContent = lost || refused;
  }

  function opened() {
    clearTimeout(timer);
    timer = undefined;
    connected = true;
    gone = false;
    tell();
  }

  function closed(event) {
    if (leaving) return;
    connected = false;
    gone ||= event.code === ENDING;
    timer ??= setTimeout(() => {
      gone = true;
      tell();
    }, GONE_MS);
    tell();
  }

  function read() {
    for (const dialog of document.querySelectorAll("[data-testid=stDialog]")) {
      if (dialog.querySelector("h2")?.textContent !== "Connection error") continue;
      dialog.style.display = "none";
      dialog.querySelector("button")?.click(); // or the page behind it could not be used
    }
    const alerts = document.querySelectorAll("[data-testid=stFileUploader] [role=alert]");
    const errors = [...alerts].map((alert) => alert.textContent);
    const failed = errors.filter((error) => error.includes("AxiosError"));
    refused = !failed.length ? "" : failed.some((one) => one.includes("413")) ? NO_ROOM : NOT_SENT;
    tell();
  }

  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("open", opened);
      this.addEventListener("close", closed);
    }
  };
  new MutationObserver(read).observe(document, { childList: true, subtree: true });
  window.addEventListener("online", tell);
  window.addEventListener("offline", tell);
  window.addEventListener("pagehide", () => (leaving = true));
  window.addEventListener("pageshow", () => (leaving = false));
  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector("[data-impasto-unsaved]")) event.preventDefault();
  });
})();
