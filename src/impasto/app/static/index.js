// Tells visitors about a lost connection, and asks before pictures are lost.
(() => {
  const base = new URL(".", document.currentScript.src).href;
  // Streamlit then need not guess where its server is.
  window.__streamlit = { BACKEND_BASE_URL: base };

  const GONE_MS = 8000; // a connection that is lost for longer has probably nothing at its other end
  const RESTARTING = 1012; // how a server that was told to end closes its connections
  const home = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const LOST = "Connection lost. Trying again…";
  const GONE = home
    ? "The server that paints has stopped. Start it again with “impasto app”; this page then " +
      "begins anew. Pictures that you see here can still be saved with a right click."
    : "The server that paints does not answer. Trying again… If it was restarted, this page " +
      "begins anew. Pictures that you see here can still be saved: press long, or click right.";
  let connected = true;
  let gone = false;
  let leaving = false;
  let timer;

  function tell() {
    const line = document.getElementById("connection");
    const offline = !navigator.onLine;
    line.textContent = connected && !offline ? "" : gone && !offline ? GONE : LOST;
    line.hidden = !line.textContent;
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
    gone ||= event.code === RESTARTING;
    timer ??= setTimeout(() => {
      gone = true;
      tell();
    }, GONE_MS);
    tell();
  }

  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("open", opened);
      this.addEventListener("close", closed);
    }
  };
  window.addEventListener("online", tell);
  window.addEventListener("offline", tell);
  window.addEventListener("pagehide", () => (leaving = true));
  window.addEventListener("pageshow", () => (leaving = false));
  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector("[data-impasto-unsaved]")) event.preventDefault();
  });
})();
