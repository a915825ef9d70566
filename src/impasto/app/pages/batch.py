"""Several photos in one style, as a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from PIL import Image

from impasto.app import job_view, widgets
from impasto.app.components import Event, Item, choose
from impasto.app.job_queue import Job
from impasto.app.request import Request, Upload, paint, sized, stylizer
from impasto.app.session import Session, current, sentence
from impasto.app.styles import pick_styles, upload_pictures
from impasto.controls import Controls
from impasto.errors import ControlError, Stop, reason_with
from impasto.naming import distinct
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer

PAGE = "batch"
UPLOADER = "Your photos"
MOST_PHOTOS, MOST_BYTES = 20, 200_000_000
"""How many photos a visitor can bring, and how large their files, or those painted, may be."""
FORMATS = {"PNG": ".png", "JPEG": ".jpg"}
"""Extensions by the name of the format."""


@dataclass
class Batch:
    """The results of painting several photos."""

    archive: bytes
    """A zip of the files that were painted."""
    pictures: dict[str, Image.Image]
    """Small pictures of those that were painted, by the file's name."""
    failures: tuple[str, ...]
    """A sentence for each photo that could not be painted."""
    stopped: str
    """A sentence, if it ended before all photos were painted."""
    command: str
    """The command line that paints a folder of photos like that."""
    id: str = ""
    """Name among the pictures of its session."""


def page() -> None:
    """The page."""
    session = current()
    left, right = st.columns([8, 5], gap="large")
    with right.container(key="panel"):
        first = next(iter(session.photos.values()), None)
        styles = tuple(pick_styles(PAGE, photo=first))
        widgets.pick_preset(PAGE)
        options = widgets.knobs(Controls, PAGE, only=widgets.FIRST)
        with st.expander("For experts", icon=":material/tune:"):
            trained = any(style.trained for style in styles)
            later = ("size", "seed") if trained else ("size", "style_size", "seed")
            options |= widgets.knobs(Controls, PAGE, only=later, limits=widgets.STYLE_SIDES)
    with left.container(key="head"):
        st.title("Paint many photos in one style", anchor=False)
        _take_photos(session)
    with left.container(key="below"):
        _begin_button(session, Request(None, styles, options))
        job_view.failure(PAGE)
        job_view.live(lambda: _progress(session), session.running(PAGE))
        if session.batch:
            _show(session, session.batch)


def _take_photos(session: Session) -> None:
    """The photos that are to be painted; each can be taken out again."""
    given = upload_pictures(UPLOADER, "batch_files", several=True)
    for upload in given:
        used = sum(len(photo.data) for photo in session.photos.values())
        if len(session.photos) >= MOST_PHOTOS or used + len(upload.data) > MOST_BYTES:
            room = f"{MOST_PHOTOS} photos and {MOST_BYTES / 1e6:g} MB"
            session.fail(PAGE, f"There is room for {room}.")
            break
        session.photos[upload.id] = upload
    if given:
        st.rerun()
    items = [
        Item(name, photo.name, session.url(f"upload-{name}-small"), removable=True)
        for name, photo in session.photos.items()
    ]

    def remove(event: Event) -> None:
        session.photos.pop(event.id, None)

    if items:
        choose(items, "batch_photos", "Photos to paint", strip=True, edited=remove)


def _begin_button(session: Session, request: Request) -> None:
    """The button that paints all photos, and in which format."""
    photos = list(session.photos.values())
    kind = st.segmented_control("Write as", list(FORMATS), default="PNG", required=True)
    label = f"Paint {len(photos)} photo{'s' * (len(photos) > 1)}" if photos else "Paint"
    ready = bool(request.styles and photos) and session.running(PAGE) is None
    first = session.batch is None
    if job_view.button(label, "brush", primary=first, disabled=not ready):

        def work(job: Job) -> Batch:
            return paint_all(photos, request, stylizer("auto"), job, FORMATS[str(kind)])

        job = Job(work, quick=False, watched=session.is_connected)
        session.begin(job, PAGE, session.keep_batch)
        st.rerun()
    if not request.styles:
        st.caption("Choose a style first.")


def _progress(session: Session) -> None:
    job = session.running(PAGE)
    if job:
        st.progress(job.fraction, job_view.progress(job, "Photo"))
        job_view.stop_button(session, PAGE)


def _show(session: Session, batch: Batch) -> None:
    if batch.stopped:
        st.info(batch.stopped, icon=":material/stop_circle:")
    for failure in batch.failures:
        st.error(sentence(failure), icon=":material/error:")
    count = len(batch.pictures)
    label = f"Download {count} picture{'s' * (count != 1)}"
    job_view.download(label, lambda: batch.archive, "painted.zip", primary=True)
    items = [
        Item(name, name, session.url(f"{batch.id}-{number}"))
        for number, name in enumerate(batch.pictures)
    ]
    choose(items, "batch_results", "Painted photos")
    with st.popover("As code", icon=":material/code:"):
        st.code(batch.command, None, wrap_lines=True)


def paint_all(
    photos: Sequence[Upload], request: Request, painter: Stylizer, job: Job, extension: str = ".png"
) -> Batch:
    """Paints each photo; one that fails does not keep the others from being painted.

    Args:
        photos: the photos.
        request: the styles, and how they are painted.
        painter: made for the method.
        job: told of the progress.
        extension: of the pictures' files, one of `FORMATS`.

    Raises:
        ControlError: none could be painted.
    """
    file, failures, small = io.BytesIO(), list[str](), dict[str, Image.Image]()
    stopped = ""
    encoded = painter.encode([style.style() for style in request.styles])
    with zipfile.ZipFile(file, "w") as archive:  # pictures are compressed already
        names = distinct(f"{Path(photo.name).stem}{extension}" for photo in photos)
        for number, (photo, name) in enumerate(zip(photos, names, strict=True)):
            job.advance(number, len(photos), number / len(photos))
            try:
                job.check()
                one = replace(request, photo=photo)
                result = paint(one, painter, lambda _: job.check(), encoded)
                job.check()  # it may be half painted
            except Stop:
                stopped = f"Stopped after {job.step} of {job.steps} photos."
                break
            except Exception as error:  # whatever it is, the other photos are painted
                failures.append(reason_with(photo.name, error))
                continue
            archive.writestr(name, result.encode(extension))
            job.show(result.image)
            small[name] = sized(result.image, "small")
            if file.tell() > MOST_BYTES:
                stopped = f"The archive is full after {job.step + 1} photos."
                break
    if not small:
        raise ControlError(" ".join([*failures, stopped]).strip())
    command = Recipe.of(request.options).command("photos", request.recipe_styles, "painted")
    return Batch(file.getvalue(), small, tuple(failures), stopped, command)
