"""What every request and message must pass before Streamlit sees it.

Whoever can reach the server can send it anything, and web pages of strangers can make a visitor's
browser do so. Streamlit keeps visitors apart; this adds an end to what one may bring, and leaves
out the parts of Streamlit that the app does not use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from impasto.app import LARGEST_UPLOAD_MB
from impasto.errors import SetupError

MOST_FILES, MOST_BYTES = 40, 200_000_000
"""How many uploads a visitor may have on the server at a time, and how large all of them may be."""
MOST_BYTES_OF_ALL = 2_000_000_000
"""How large the files and pictures of all visitors together may be, so that more are taken."""
MOST_CONNECTED = 200
"""How many pages may be open at a time."""
IDLE_S = 15.0
"""An upload of which nothing has arrived for this long is given up."""
_OVERHEAD = 1_000_000
"""Bytes that a request may have beyond the file that it uploads."""
_FOLDERS = {"_stcore", "film", "media", "picture", "static"}
"""What the app's addresses may begin with if they have several parts."""
_CLOSED = ("_stcore/metrics", "_stcore/agent", "_stcore/script-health-check")
"""Parts of these that the app does not need."""
_MESSAGES = {"rerun_script", "stop_script", "file_urls_request", "app_heartbeat"}
"""Messages of the page that the app needs. One of the others empties the caches of all visitors."""
_CLOSE = {"Connection": "close"}
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
        scheme, _, site = origin.partition("://")
        return scheme in ("http", "https") and site in (host, urlsplit(self.url).netloc)


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
        self.connected = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request or a connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if scope["type"] == "http":
            return await (refusal or self.app)(scope, receive, send_with_headers)
        if refusal:
            return await WebSocketClose(1008)(scope, receive, send)
        self.connected += 1
        try:
            await self.app(scope, _without_unknown(receive), send)
        finally:
            self.connected -= 1

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
        page = scope["type"] == "http" and not slash and "." not in inner
        if self.connected >= MOST_CONNECTED and (page or scope["type"] == "websocket"):
            told = "Too many visitors are here right now: try again in a few minutes.\n"
            return PlainTextResponse(told, 503, {"Retry-After": "60"})
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
            try:
                known = _is_known(BackMsg.FromString(message["bytes"]))
            except Exception:  # whatever it is, no page of ours sent it
                return {"type": "websocket.disconnect", "code": 1002}
            if known:
                return message

    return receive_known


def _is_known(message: BackMsg) -> bool:
    kind = message.WhichOneof("type")
    if kind == "backend_operation_request":  # the others are for programmers
        return bool(message.backend_operation_request.WhichOneof("payload") == "deferred_file")
    return kind in _MESSAGES


@dataclass(eq=False)
class _Upload:
    """A file that is on its way."""

    session: str
    size: int
    """What was announced."""
    arrived: int = 0


class UploadLimits:
    """Middleware: puts an end to what a visitor, and all visitors together, may upload.

    Streamlit limits each file, but not how many there are.
    """

    def __init__(self, app: ASGIApp, path: str, kept: Callable[[], int]) -> None:
        self.app = app
        self.prefix = f"{path}/_stcore/upload_file/"
        self.kept = kept
        """Tells how many bytes the sessions of all visitors take."""
        self.arriving: list[_Upload] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "PUT" or not path.startswith(self.prefix):
            return await self.app(scope, receive, send)
        session = path.removeprefix(self.prefix).partition("/")[0]
        if not runtime.get_instance().is_active_session(session):
            return await self.app(scope, receive, send)  # which refuses it
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if not length.isdecimal() or "transfer-encoding" in headers:
            refusal = PlainTextResponse("An upload must tell its length.\n", 411, _CLOSE)
            return await refusal(scope, receive, send)
        upload = _Upload(session, int(length))
        problem = self._problem(upload)
        self.arriving.append(upload)
        try:
            await self._take(upload, problem, scope, receive, send)
        except ClientDisconnect:  # or it sends no more, and is still there
            refusal = PlainTextResponse("This file did not arrive.\n", 408, _CLOSE)
            await refusal(scope, receive, send)
        finally:
            self.arriving.remove(upload)

    async def _take(
        self, upload: _Upload, problem: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Hands a file on, or refuses it."""
        kept = self.kept()

        async def receive_in_time() -> Message:
            try:
                message = await asyncio.wait_for(receive(), IDLE_S)
            except TimeoutError:
                return {"type": "http.disconnect"}
            if problem:
                return message
            upload.arrived += len(message.get("body", b""))
            wanted = runtime.get_instance().is_active_session(upload.session)
            there = wanted and kept + self._uploaded() <= MOST_BYTES_OF_ALL
            return message if there else {"type": "http.disconnect"}

        if problem is None:
            return await self.app(scope, receive_in_time, send)
        if upload.size <= LARGEST_UPLOAD_MB * 1024**2 + _OVERHEAD:
            # It is read and forgotten: a browser looks at the answer only after it has sent all.
            async for _ in Request(scope, receive_in_time).stream():
                pass
        await PlainTextResponse(f"{problem}\n", 413)(scope, receive, send)

    def _problem(self, upload: _Upload) -> str | None:
        """Returns why there is no room for a file."""
        mine = _stored().get(upload.session, [])
        mine += [one.size for one in self.arriving if one.session == upload.session]
        if upload.size > LARGEST_UPLOAD_MB * 1024**2 + _OVERHEAD:
            return f"A file may have {LARGEST_UPLOAD_MB} MB at most."
        if len(mine) >= MOST_FILES or sum(mine) + upload.size > MOST_BYTES:
            return "You have uploaded as much as there is room for: remove a file first."
        if self.kept() + self._uploaded() + upload.size > MOST_BYTES_OF_ALL:
            return "Other visitors' files take all the room: try again in a few minutes."
        return None

    def _uploaded(self) -> int:
        """Bytes that have arrived, and that no session has taken over yet."""
        stored = sum(map(sum, _stored().values()))
        return stored + sum(one.arrived for one in self.arriving)


def _stored() -> dict[str, list[int]]:
    """Sizes of the files that Streamlit keeps, by session."""
    manager = runtime.get_instance().uploaded_file_mgr
    assert isinstance(manager, MemoryUploadedFileManager)
    return {
        owner: [len(file.data) for file in list(files.values())]
        for owner, files in list(manager.file_storage.items())
    }
