"""What every request and message must pass before Streamlit sees it.

Whoever can reach the server can send it anything, and web pages of strangers can make a visitor's
browser do so. Streamlit keeps visitors apart; this adds an end to what one may bring, and leaves
out the parts of Streamlit that the app does not use.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from impasto.app import UPLOAD_MB
from impasto.errors import SetupError

MOST_FILES, MOST_BYTES = 40, 200_000_000
"""How many uploads a visitor may have on the server at a time, and how large all of them may be."""
MOST_BYTES_OF_ALL = 1_000_000_000
"""How large the uploads of all visitors together may be."""
_OVERHEAD = 1_000_000
"""Bytes that a request may have beyond the file that it uploads."""
_FOLDERS = {"_stcore", "media", "picture", "static"}
"""What the app's addresses may begin with if they have several parts."""
_CLOSED = ("_stcore/metrics", "_stcore/agent", "_stcore/script-health-check")
"""Parts of these that the app does not need."""
_MESSAGES = {"rerun_script", "stop_script", "file_urls_request", "app_heartbeat"}
"""Messages of the page that the app needs. One of the others empties the caches of all visitors."""
_HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)
_URL = re.compile(rf"https?://{_HOST.pattern}(/[\w.~-]+)*/?", re.ASCII)
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' blob:",  # our pieces of page come as blobs
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' blob: data:",
            "font-src 'self' data:",
            "connect-src 'self' data:",  # a photo that the camera took
            "media-src 'self' blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Address:
    """Where the app is.

    Args:
        host: address that the server listens on.
        port: TCP port.
        base_url: what visitors type, if it is another: the address of a proxy.

    Raises:
        SetupError: the base URL is not one.
    """

    host: str
    port: int
    base_url: str | None = None

    def __post_init__(self) -> None:
        if self.base_url is not None and not _URL.fullmatch(self.base_url):
            raise SetupError(
                f"--base-url {self.base_url} is no address like https://pictures.example/impasto"
            )

    @property
    def url(self) -> str:
        """What visitors type, without a slash at its end."""
        if self.base_url is not None:
            return self.base_url.rstrip("/")
        host = "localhost" if self.is_open else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def name(self) -> str:
        """The name of the machine in that."""
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        """What the paths of all pages begin with: empty, or a slash and a name."""
        return urlsplit(self.url).path

    @property
    def is_open(self) -> bool:
        """Whether the server listens on all addresses of this machine."""
        return self.host in ("", "0.0.0.0", "::")

    def answers_to(self, host: str) -> bool:
        """Whether a ``Host`` header names this server.

        A page of a stranger can let its own name point to this machine, and would then count as
        the same site. It cannot do so with a bare address.
        """
        given = _HOST.fullmatch(host)
        if not given:
            return False
        name = given[1].strip("[]").rstrip(".").lower()
        names = {"localhost", "127.0.0.1", "::1", self.host.lower(), self.name}
        if self.is_open:
            own = socket.gethostname().lower()
            return name in {*names, own, f"{own}.local"} or _is_address(name)
        return name in names

    def is_origin(self, origin: str, host: str) -> bool:
        """Whether an ``Origin`` header names this server, whose ``Host`` header is the other."""
        return origin.partition("://")[2] in (host, urlsplit(self.url).netloc)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Middleware: refuses what does not come from the app's own page, and adds the headers that
    tell browsers to do the same.
    """

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self.app, self.address = app, address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request or a connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            app = WebSocketClose(1008) if refusal else self.app
            return await app(scope, _without_unknown(receive), send)
        return await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.address.answers_to(host):
            told = "This server does not know itself by that name. If the name is right, start it "
            return PlainTextResponse(f"{told}with --base-url and this address.\n", 421)
        if origin is not None and not self.address.is_origin(origin, host):
            return PlainTextResponse("This request comes from another site.\n", 403)
        inner = scope["path"].removeprefix(self.address.path).strip("/")
        folder, slash, _ = inner.partition("/")
        if (slash and folder not in _FOLDERS) or inner.startswith(_CLOSED):
            return PlainTextResponse("There is nothing here.\n", 404)
        return None


def _without_unknown(receive: Receive) -> Receive:
    """Lets through those messages of a page that the app needs."""

    async def receive_known() -> Message:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            if message.get("bytes") is None:  # text, which Streamlit never sends
                return {"type": "websocket.disconnect", "code": 1003}
            if _is_known(message["bytes"]):
                return message

    return receive_known


def _is_known(data: bytes) -> bool:
    try:
        message = BackMsg.FromString(data)
    except Exception:  # whatever it is, Streamlit closes the connection
        return True
    kind = message.WhichOneof("type")
    if kind == "backend_operation_request":  # the others are for programmers
        return bool(message.backend_operation_request.WhichOneof("payload") == "deferred_file")
    return kind in _MESSAGES


class UploadLimits:
    """Middleware: puts an end to what a visitor, and all visitors together, may upload.

    Streamlit limits each file, but not how many there are.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        self.prefix = f"{path}/_stcore/upload_file/"
        self.arriving: list[tuple[str, int]] = []
        """Session and size of each file that is on its way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "PUT" or not path.startswith(self.prefix):
            return await self.app(scope, receive, send)
        session = path.removeprefix(self.prefix).partition("/")[0]
        if not runtime.get_instance().is_active_session(session):
            return await self.app(scope, receive, send)  # which refuses it
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            refusal = PlainTextResponse("An upload must tell its length.\n", 411)
            return await refusal(scope, receive, send)
        upload = session, int(length)
        if problem := self._problem(*upload):
            await _discard(scope, receive, int(length))
            return await PlainTextResponse(f"{problem}\n", 413)(scope, receive, send)
        self.arriving.append(upload)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.arriving.remove(upload)

    def _problem(self, session: str, size: int) -> str | None:
        """Returns why there is no room for a file."""
        manager = runtime.get_instance().uploaded_file_mgr
        assert isinstance(manager, MemoryUploadedFileManager)
        there = [
            (owner, len(file.data))
            for owner, files in list(manager.file_storage.items())
            for file in list(files.values())
        ]
        there += self.arriving
        mine = [one for owner, one in there if owner == session]
        if size > UPLOAD_MB * 1024**2 + _OVERHEAD:
            return f"A file may have {UPLOAD_MB} MB at most."
        if len(mine) >= MOST_FILES or sum(mine) + size > MOST_BYTES:
            return "You have uploaded as much as there is room for: remove a file first."
        if sum(one for _, one in there) + size > MOST_BYTES_OF_ALL:
            return "Other visitors' files take all the room: try again in a few minutes."
        return None


async def _discard(scope: Scope, receive: Receive, length: int) -> None:
    """Reads a file and forgets it: a browser looks at the answer only after it has sent all."""
    if length <= UPLOAD_MB * 1024**2 + _OVERHEAD:
        async for _ in Request(scope, receive).stream():
            pass
