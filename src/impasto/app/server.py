"""The web server: Streamlit's, with guards before it and with pages, pictures and ends of its own.

- a page whose head says what it is: title, description, picture for links, icons
- pictures, which browsers fetch and keep: ``picture/TOKEN/NAME.webp``
- painted films, likewise: ``film/TOKEN/NAME``
- sessions, which end soon after their tab was closed
"""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import logging
import re
import signal
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from string import Template
from typing import Protocol
from urllib.parse import urlencode

import click
import psutil
import streamlit as st
import uvicorn
from anyio import CapacityLimiter, to_thread
from PIL import Image
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from streamlit import config, file_util, runtime
from streamlit.starlette import App

from impasto import gallery
from impasto.app.guards import Address, Guard, UploadLimits
from impasto.app.job_queue import Tile
from impasto.errors import ImpastoError

GRACE_S = 75.0
"""How long a session outlives its connection: a phone that was put away comes back to it."""
SWEEP_S = 5.0
"""How often sessions are looked through."""
CLOSING_S = 2
"""How long a server that ends waits for what it has begun to answer."""
PING_S = 20.0
"""How often the server looks whether a browser is still there, and how long it waits for it."""
_POLL_S = 0.05
"""How often the server looks whether a picture has been painted."""
SMALL_SIDE = 288
"""Longer side, in pixels, of the thumbnails that come with the package."""
_QUALITY, _FULL_QUALITY = 72, 90
"""WebP's quality of pictures as they fit a screen, and in all their pixels."""
LARGEST_MESSAGE_MB = 8
"""Of a page, with the masks of six styles."""
_LARGEST_WEBP = 16383
_FILES = {
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "link-preview.jpg": "image/jpeg",
    "manifest.json": "application/manifest+json",
    "index.css": "text/css",
    "index.js": "text/javascript",
}
"""Files of the page and their kinds."""
_FILM_KINDS = {
    ".gif": "image/gif",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".webp": "image/webp",
}
"""Kinds of painted films, by extension."""
_STATIC = Path(__file__).parent / "static"
_DATA = Path(__file__).parents[1] / "data"
_APP = Path(__file__).parent
_STATE = Path(runtime.__file__).parent / "state"
"""What of Streamlit reads the values of widgets."""
_PROGRAM = (
    r'<script type="module"[^>]*></script>|<link\s+rel="(?:modulepreload|preload|stylesheet)"[^>]*>'
)
"""What of Streamlit's page loads its program."""
BUNDLED = "bundled"
"""Token of the pictures that come with the package, in place of a session's."""


class Pictures(Protocol):
    """What the server knows of a visitor's session."""

    def picture(self, name: str) -> Image.Image | None:
        """Returns a picture of the session, None if there is none of that name."""

    def tile(self, name: str) -> Callable[[], Tile] | None:
        """Returns what asks for a picture that is painted on demand, None if there is none of that
        name.
        """

    def film(self, name: str) -> Path | None:
        """Returns the file of a painted film, None if there is none of that name."""


def create(
    address: Address, find: Callable[[str], Pictures | None], kept: Callable[[], int]
) -> App:
    """Returns the app, for any ASGI server.

    Args:
        address: where it will be.
        find: gives the session of a token, None if it has ended.
        kept: tells how many bytes all sessions take.
    """
    path = address.path
    page = partial(_page, html=_html(address))
    routes = [
        Route(f"{path}/picture/{{token}}/{{name}}.webp", _Gallery(find).answer),
        Route(f"{path}/film/{{token}}/{{name}}", partial(_film, find)),
        *(Route(f"{path}/{name}", partial(_file, name)) for name in _FILES),
        Route(f"{path}/", page),
        Route(f"{path}/{{name}}", page),
    ]
    if path:
        routes += [Route(path, page), Route("/", partial(_redirect, f"{path}/"))]
    return App(
        Path(__file__).parent / "pages" / "main.py",
        routes=routes,
        middleware=[
            Middleware(Guard, address=address),
            Middleware(UploadLimits, path=path, kept=kept),
        ],
        lifespan=_lifespan,
        on_script_error=_tell,
    )


def _tell(_: Exception) -> bool:
    """Shows a fault of ours in plain words; Streamlit has logged it."""
    st.error(
        "Something went wrong here, and it was not your fault. Try it once more; if it happens "
        "again, reload the page.",
        icon=":material/error:",
    )
    return True


# Pages


def _html(address: Address) -> str:
    """Returns the page: our head, and what loads Streamlit's program."""
    index = Path(file_util.get_static_dir(), "index.html").read_text(encoding="utf-8")
    program = "\n    ".join(re.findall(_PROGRAM, index)).replace('"./', f'"{address.path}/')
    template = Template((_STATIC / "index.html").read_text(encoding="utf-8"))
    return template.substitute(
        path=address.path, site=(address.base_url or "").rstrip("/"), program=program
    )


async def _page(request: Request, html: str) -> Response:
    if "." in request.path_params.get("name", ""):  # a file, and none of ours
        return _nothing()
    return HTMLResponse(html, headers={"Cache-Control": "no-cache"})


async def _file(name: str, _: Request) -> Response:
    headers = {"Cache-Control": "max-age=3600"}
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=headers)


async def _redirect(path: str, _: Request) -> Response:
    return RedirectResponse(path)


def _nothing() -> Response:
    return PlainTextResponse("There is nothing here.\n", 404)


# Pictures


def picture_url(token: str, name: str) -> str:
    """Returns where browsers find a picture of a session, or of `BUNDLED`.

    A name must never change its picture: browsers keep them.
    """
    return f"{config.get_option('server.baseUrlPath')}/picture/{token}/{name}.webp"


class _Gallery:
    """Serves the pictures of sessions, and those that come with the package."""

    def __init__(self, find: Callable[[str], Pictures | None]) -> None:
        self.find = find
        # Apart from the threads that serve files; and what takes longer apart from all the others.
        self.places, self.tile_places = CapacityLimiter(8), CapacityLimiter(4)

    async def answer(self, request: Request) -> Response:
        """Answers with a picture, or with 404."""
        token, name = request.path_params["token"], request.path_params["name"]
        bundled = token == BUNDLED
        try:
            data = await (self._bundled(name) if bundled else self._encoded(request, token, name))
        except ImpastoError as error:  # there are too many who want one
            return PlainTextResponse(f"{error}\n", 503, {"Retry-After": "10"})
        if data is None:
            return _nothing()
        file = re.sub(r"[^a-zA-Z0-9.-]+", "-", f"impasto-{name}.webp")
        caching = "public, max-age=86400" if bundled else "private, max-age=3600, immutable"
        headers = {"Cache-Control": caching, "Content-Disposition": f'inline; filename="{file}"'}
        return Response(data, media_type="image/webp", headers=headers)

    async def _bundled(self, name: str) -> bytes | None:
        return await self._work(partial(_bundled, name))

    async def _encoded(self, request: Request, token: str, name: str) -> bytes | None:
        session = self.find(token)
        if session is None:
            return None
        ask = session.tile(name)
        if ask is None:
            return await self._work(partial(_encoded, session, name))
        tile = await to_thread.run_sync(ask, limiter=self.tile_places, abandon_on_cancel=True)
        await _painted(tile, request)
        return await self._work(partial(_webp, tile.result))

    async def _work(self, work: Callable[[], bytes | None]) -> bytes | None:
        return await to_thread.run_sync(work, limiter=self.places, abandon_on_cancel=True)


async def _painted(tile: Tile, request: Request) -> None:
    """Waits for a tile as long as the browser does.

    Raises:
        ImpastoError: it is not painted.
    """
    while not tile.finished and not await request.is_disconnected():
        tile.seen()
        await asyncio.sleep(_POLL_S)
    if tile.result is None:
        raise ImpastoError(tile.error or "This picture is not painted any more.")


def _encoded(session: Pictures, name: str) -> bytes | None:
    picture = session.picture(name)
    quality = _FULL_QUALITY if name.endswith("-full") else _QUALITY
    return _webp(picture, quality) if picture else None


def _webp(picture: Image.Image, quality: int = _QUALITY) -> bytes:
    if max(picture.size) > _LARGEST_WEBP:
        picture = picture.copy()
        picture.thumbnail((_LARGEST_WEBP, _LARGEST_WEBP))
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", quality=quality, method=0)
    return file.getvalue()


@cache
def _bundled_files() -> dict[str, Path]:
    """Returns the pictures that come with the package: ``bordighera``, ``photo-chelsea``."""
    files = {
        known.name: known.picture or _DATA / "thumbnails" / f"{known.name}.jpg"
        for known in gallery.paintings().values()
    }
    return files | {f"photo-{file.stem}": file for file in (_DATA / "photos").glob("*.jpg")}


@cache
def _small(file: Path) -> bytes:
    with file.open("rb") as opened, Image.open(opened) as picture:
        picture.thumbnail((SMALL_SIDE, SMALL_SIDE), Image.Resampling.LANCZOS)
        return _webp(picture)


def _bundled(name: str) -> bytes | None:
    file = _bundled_files().get(name)
    return _small(file) if file else None


# Films


def film_url(token: str, name: str, download: str = "") -> str:
    """Returns where browsers find a painted film of a session.

    Args:
        token: the session's.
        name: of the film; it must never change what it is of: browsers keep films.
        download: what the file is to be called on the visitor's disk; empty to show it.
    """
    url = f"{config.get_option('server.baseUrlPath')}/film/{token}/{name}"
    return f"{url}?{urlencode({'download': download})}" if download else url


async def _film(find: Callable[[str], Pictures | None], request: Request) -> Response:
    """Answers with a film, or what a player asks for of it, or with 404."""
    session = find(request.path_params["token"])
    path = session.film(request.path_params["name"]) if session else None
    if path is None or not path.is_file():
        return _nothing()
    download = request.query_params.get("download")
    headers = {"Cache-Control": "private, max-age=3600, immutable"}
    kind = "attachment" if download else "inline"
    return FileResponse(
        path,
        headers=headers,
        media_type=_FILM_KINDS[path.suffix],
        filename=download or path.name,
        content_disposition_type=kind,
    )


# Ends


@asynccontextmanager
async def _lifespan(_: App) -> AsyncIterator[None]:
    sweeping = asyncio.create_task(_sweep())
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep() -> None:
    """Ends sessions whose connection was lost so long ago that nobody will come back to them.

    Streamlit only forgets them when the next visitor comes.
    """
    lost: dict[str, float] = {}
    while True:
        await asyncio.sleep(SWEEP_S)
        streamlit, now = runtime.get_instance(), time.monotonic()
        ids = [known.session.id for known in streamlit._session_mgr.list_sessions()]
        lost = {one: lost.get(one, now) for one in ids if not streamlit.is_active_session(one)}
        ended = [one for one, since in lost.items() if now - since > GRACE_S]
        for one in ended:
            streamlit.close_session(one)
        if ended:
            await to_thread.run_sync(_collect)


def _collect() -> None:
    """Forgets sessions that have ended, which are circles of objects, even frozen ones."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


# Running


class _Server(uvicorn.Server):
    """Tells people where the app is as soon as it is there."""

    def __init__(self, config: uvicorn.Config, address: Address) -> None:
        super().__init__(config)
        self.address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        click.echo(f"Impasto paints at {self.address.url} - stop it with Ctrl-C.")
        for url in _elsewhere(self.address):
            click.echo(f"Others in your network find it at {url}")
        if not config.get_option("server.headless"):
            click.launch(self.address.url)


def _elsewhere(address: Address) -> list[str]:
    """Returns where other computers in the network find an app that is open to them."""
    if address.base_url or not address.is_open:
        return []
    known = itertools.chain.from_iterable(psutil.net_if_addrs().values())
    ips = [one.address for one in known if one.family == socket.AF_INET]
    return [f"http://{ip}:{address.port}" for ip in ips if not ip.startswith("127.")]


def run(app: App, address: Address, listening: socket.socket) -> None:
    """Serves the app until Ctrl-C or a signal to end."""
    _open_more_files()
    logging.getLogger("streamlit.error_util").addFilter(_brief)
    # Both then take the same way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE_MB * 10**6,
        ws_per_message_deflate=False,  # a few bytes could be unpacked to many megabytes
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        timeout_graceful_shutdown=CLOSING_S,
    )
    with suppress(KeyboardInterrupt):
        _Server(settings, address).run([listening])


def _open_more_files() -> None:
    """Lets the server have as many connections as the system allows."""
    with suppress(ImportError, OSError, ValueError):  # not all systems have such a limit
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _brief(record: logging.LogRecord) -> bool:
    """Makes one line of an error that Streamlit found in what a browser sent; a log filter."""
    error = record.exc_info and record.exc_info[1]
    if error:
        files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        ours = max((n for n, file in enumerate(files) if _APP in file.parents), default=-1)
        if any(_STATE in file.parents for file in files[ours + 1 :]):
            record.msg, record.args = f"{record.msg}: {error!r:.200}", ()
            record.exc_info = None
    return True
