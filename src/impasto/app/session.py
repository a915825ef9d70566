"""A visitor's session: everything that one visitor brought, chose and got, in one object.

A session lives as long as Streamlit keeps the visitor's connection, and for some time after that,
so that a page that was reloaded finds its pictures again by the session's key.
"""

from __future__ import annotations

import re
import secrets
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from PIL import Image
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from impasto import gallery
from impasto.app import job_queue
from impasto.app.job_queue import Job, Tile, Tiles
from impasto.app.request import Request, Result, Upload, paint_small, sized
from impasto.app.server import picture_url
from impasto.errors import ImpastoError

MOST_KEPT, MOST_BYTES = 24, 300e6
"""How many pictures a session has, and how much memory they may take."""
MOST_OWN, MOST_OWN_BYTES = 12, 120e6
"""How many paintings a visitor can bring, and how much memory they may take."""
_MOST_IN_STYLE = 64
"""How many small pictures of photos in styles a session has; browsers keep those they have seen."""
if TYPE_CHECKING:
    from impasto.app.films import BroughtFilm
    from impasto.app.pages.batch import Batch


_live: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()


@dataclass(eq=False)
class Session:
    """All of one visitor."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Unguessable name, which the addresses of the visitor's pictures begin with."""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Unguessable name by which a page that was reloaded finds the session again. It is not in the
    addresses of pictures: who is shown one must not get the session."""
    photo: Upload | None = None
    """The photo that is being painted."""
    own: dict[str, Upload] = field(default_factory=dict)
    """Paintings that the visitor brought, by id."""
    drawn: dict[str, str] = field(default_factory=dict)
    """Masks as the brush drew them: PNGs as data URLs, by the style's id."""
    drawing: int = 0
    """Number of the drawing, which grows when it is replaced by another than the brush's."""
    results: dict[str, Result] = field(default_factory=dict)
    """The history: painted pictures by id, the newest last."""
    deleted: Result | None = None
    """The picture that was taken out of the history last, to be put back."""
    shown: str | None = None
    """Id of the picture that is looked at."""
    compared: str | None = None
    """Id of the picture beside it."""
    photos: dict[str, Upload] = field(default_factory=dict)
    """Photos that are to be painted in one style, by id."""
    texture: Result | None = None
    """The last texture."""
    batch: Batch | None = None
    """The last result of painting many photos."""
    brought_film: BroughtFilm | None = None
    """The film that is to be painted, with what was painted of it."""
    wanted: Request | None = None
    """What was painted last without being asked for by a button."""
    job: Job | None = None
    """What is being painted."""
    job_page: str = ""
    """Page that the job was begun on."""
    on_result: Callable[[Any], None] = lambda _: None
    """Takes the job's result."""
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong last on a page, as a sentence in Markdown."""
    count: int = 0
    """How many pictures there have been."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What the widgets of settings have where the visitor chose nothing, by the widget's key."""
    connections: set[str] = field(default_factory=set)
    """Ids of the browser's connections that look at this session."""
    _ending: list[tuple[Job, Callable[[Any], None]]] = field(default_factory=list)
    """Long jobs that were stopped for others, and what takes their results."""
    _tiles: Tiles = field(default_factory=lambda: Tiles(_MOST_IN_STYLE))

    def __post_init__(self) -> None:
        _live[self.token] = _live[self.key] = self

    def is_connected(self) -> bool:
        """Whether a browser is looking at this session right now."""
        return any(runtime.get_instance().is_active_session(one) for one in self.connections)

    def begin(self, job: Job, page: str, on_result: Callable[[Any], None]) -> None:
        """Starts a job of a page in place of the last one; if there is no place, the page says so.

        Args:
            job: what is to be painted.
            page: the page that shows it.
            on_result: takes the job's result.
        """
        self.end()
        self.failures.pop(page, None)
        try:
            job_queue.queue().submit(job)
            self.job, self.job_page, self.on_result = job, page, on_result
        except ImpastoError as error:
            self.fail(page, error)

    def settle(self) -> None:
        """Takes the job's result, if it is finished."""
        self._settle_ending()
        job = self.job
        if job is None or not job.finished:
            return
        self.job = None
        if job.error:
            self.fail(self.job_page, job.error)
        if job.result is not None:
            self.on_result(job.result)

    def _settle_ending(self) -> None:
        ended = [one for one in self._ending if one[0].finished]
        self._ending = [one for one in self._ending if one not in ended]
        for job, on_result in ended:
            if job.result is not None:
                on_result(job.result)

    def end(self) -> None:
        """Stops the job. What a long one has painted by then is taken when it is finished."""
        if self.job:
            self.job.stop()
            if not self.job.quick:
                self._ending.append((self.job, self.on_result))
        self.job = None

    def running(self, page: str) -> Job | None:
        """Returns the job, if it was begun on that page."""
        return self.job if self.job_page == page else None

    def fail(self, page: str, error: object) -> None:
        """Records what went wrong on a page."""
        self.failures[page] = sentence(error)

    def bring(self, painting: Upload) -> None:
        """Takes a painting of the visitor's own.

        Raises:
            ImpastoError: it cannot be read, or there is no room.
        """
        if len(self.own) >= MOST_OWN:
            raise ImpastoError(f"there is room for {MOST_OWN} paintings: remove one first")
        painting.open()
        if sum(one.memory for one in self.own.values()) + painting.memory > MOST_OWN_BYTES:
            raise ImpastoError("there is no room for more paintings: remove one first")
        self.own[painting.id] = painting

    def set_masks(self, drawn: Mapping[str, str]) -> None:
        """Replaces what was drawn."""
        self.drawn, self.drawing = dict(drawn), self.drawing + 1

    def add(self, result: Result) -> None:
        """Puts a picture into the history, and makes room for it; if it is of the photo that is
        being painted, it is looked at.

        Only pictures that came by themselves go, the oldest first: nothing that took long, and
        nothing that the visitor keeps.
        """
        self._number(result)
        if self.photo in (None, result.request.photo):  # and not one that was left meanwhile
            self.shown = result.id
        self.results[result.id] = result
        automatic = [name for name, one in self.results.items() if not one.kept]
        for name in automatic:
            if self.full and name != self.shown:
                self.delete(name)
                self.deleted = None

    def keep_texture(self, result: Result) -> None:
        """Puts a texture in place of the last one."""
        self._number(result)
        self.texture = result

    def keep_batch(self, batch: Batch) -> None:
        """Puts the results of many photos in place of the last ones."""
        self._number(batch)
        self.batch = batch

    def _number(self, made: Result | Batch) -> None:
        self.count += 1
        made.id = f"{self.count}"

    def delete(self, name: str) -> None:
        """Takes a picture out of the history."""
        self.deleted = self.results.pop(name)
        if self.compared == name:
            self.compared = None
        if self.shown == name:
            self.shown = next(reversed(self.results), None)

    def put_back(self) -> None:
        """Puts the picture that was deleted last back into the history."""
        if self.deleted:
            self.shown = self.deleted.id
            self.results[self.shown], self.deleted = self.deleted, None

    @property
    def memory(self) -> int:
        """Bytes that everything of the visitor takes."""
        made = [*list(self.results.values()), self.texture, self.deleted]
        brought = {self.photo, *list(self.own.values()), *list(self.photos.values())}
        batch, film = self.batch, self.brought_film
        return (
            _memory([one for one in made if one], [one for one in brought if one])
            + sum(map(len, list(self.drawn.values())))
            + (len(batch.archive) if batch else 0)
            + (film.bytes if film else 0)
        )

    @property
    def full(self) -> bool:
        """Whether the history has more than it may."""
        return len(self.results) > MOST_KEPT or _memory(self.results.values()) > MOST_BYTES

    @property
    def has_room(self) -> bool:
        """Whether there is room for a picture that is to be kept."""
        kept = [one for one in self.results.values() if one.kept]
        return len(kept) < MOST_KEPT and _memory(kept) < 0.8 * MOST_BYTES

    @property
    def result(self) -> Result | None:
        """The picture that is looked at."""
        return self.results.get(self.shown) if self.shown else None

    @property
    def other(self) -> Result | None:
        """The picture beside the one that is looked at."""
        return self.results.get(self.compared or "") if self.compared != self.shown else None

    def url(self, name: str) -> str:
        """Returns the address of one of this session's pictures."""
        return picture_url(self.token, name)

    def picture(self, name: str) -> Image.Image | None:
        """Returns a picture that the page shows, None if there is none of that name.

        Args:
            name: ``7`` for a picture of the history as it is shown, ``7-full`` in all its pixels,
                ``7-small`` as a thumbnail, ``7-step-50`` for a snapshot; ``upload-ID`` for an
                upload; ``job-3-10`` for what job 3 has painted by step 10.

        Raises:
            ImpastoError: an upload cannot be read.
        """
        kind, _, rest = name.partition("-")
        if kind == "job":
            job = self.job  # which the page may take away meanwhile
            return job.preview if job and rest.partition("-")[0] == str(job.id) else None
        if kind == "upload":
            name, _, form = rest.partition("-")
            upload = self._upload(name)
            return sized(upload.shown, form) if upload else None
        if self.batch and self.batch.id == kind:
            numbered = {str(n): image for n, image in enumerate(self.batch.pictures.values())}
            return numbered.get(rest)
        result = self.texture if self.texture and self.texture.id == kind else None
        result = result or self.results.get(kind)
        return result.picture(rest) if result else None

    def film(self, name: str) -> Path | None:
        """Returns the file of a painted film that the page shows, None if there is none of that
        name.
        """
        brought = self.brought_film
        painted = [one for one in (brought.preview, brought.painted) if one] if brought else []
        return next((one.path for one in painted if one.name == name), None)

    def _upload(self, name: str) -> Upload | None:
        """Returns a photo or a painting that the visitor brought, or a frame of a film."""
        if name in self.photos:  # many, so that none of them is kept unpacked
            return replace(self.photos[name])
        still = self.brought_film and self.brought_film.still
        photos = [self.photo, still, *(one.request.photo for one in list(self.results.values()))]
        uploads = [one for one in (*photos, *self.own.values()) if one and one.id == name]
        return uploads[0] if uploads else None

    def tile(self, name: str) -> Callable[[], Tile] | None:
        """Returns what asks for a photo, small, in a style, which is painted on demand; None if
        there is none of that name.

        Args:
            name: ``sheet-ID-STYLE``.
        """
        kind, _, rest = name.partition("-")
        photo, _, style = rest.partition("-")
        upload, source = self._upload(photo), self.own.get(style, style)
        known = isinstance(source, Upload) or source in gallery.paintings()
        if kind != "sheet" or upload is None or not known:
            return None

        def ask() -> Tile:
            small = sized(upload.shown, "small")
            return self._tiles.get((photo, style), lambda: paint_small(small, source))

        return ask


def _memory(results: Collection[Result], brought: Collection[Upload] = ()) -> int:
    """Bytes that pictures take, with what they were painted of, and what else a visitor brought."""
    uploads = {upload for one in results for upload in one.request.uploads}.union(brought)
    return sum(one.memory for one in results) + sum(one.memory for one in uploads)


def current() -> Session:
    """Returns the session of the visitor whose page is being drawn."""
    state = st.session_state
    if "session" not in state:
        state["session"] = Session()
    session: Session = state["session"]
    context = get_script_run_ctx()
    if context:
        session.connections.add(context.session_id)
    return session


def adopt(key: str) -> bool:
    """Gives the visitor another session than the page's, so that a reloaded page goes on where it
    was; returns whether there is one.

    Args:
        key: of that session.
    """
    session = find(key)
    if session is None or session.key != key or session is st.session_state.get("session"):
        return False
    st.session_state["session"] = session
    return True


def find(token: str) -> Session | None:
    """Returns the session of that token, None if it has ended."""
    return _live.get(token)


def memory_of_all() -> int:
    """Bytes that all visitors' sessions take."""
    return sum(one.memory for one in set(_live.values()))


def sentence(error: object) -> str:
    """Returns what went wrong, for people without a command line, in Markdown."""
    text = re.sub(r"(?<!\S)--(?=[a-z])", "", str(error))
    if re.match("[a-z]+ ", text):  # and no file's name
        text = text[0].upper() + text[1:]
    return re.sub(r"([\\`*_{}\[\]<>$#:~|])", r"\\\1", text)
