"""A film: its beginning is painted at once, all of it when its visitor wants that."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from impasto.app import FILM_MB, job_view, widgets
from impasto.app.components import viewer
from impasto.app.films import (
    MOST_SECONDS,
    PREVIEW_SECONDS,
    BroughtFilm,
    PaintedFilm,
    paint_preview,
    paint_whole,
)
from impasto.app.job_queue import Job
from impasto.app.request import Request
from impasto.app.server import film_url
from impasto.app.session import Session, current, sentence
from impasto.app.styles import pick_styles
from impasto.controls import Controls
from impasto.errors import ImpastoError
from impasto.video.animation import ANIMATIONS
from impasto.video.painting import FilmControls

PAGE = "film"
UPLOADER = "Your film"
SIZES = {"Small": 640, "Usual": 1280, "Own size": None}
"""Longer side in pixels of what is painted, at most, by its name."""
_KINDS = ("mp4", "mov", "m4v", "mkv", "webm", "avi", "mpg", "mpeg", "ogv", "wmv", "gif", "webp")
"""Extensions of films; what they are is found out from what is in them."""


def page() -> None:
    """The page."""
    session = current()
    left, right = st.columns([8, 5], gap="large")
    with left.container(key="head"):
        st.title("Paint a film", anchor=False)
        if session.brought_film is None:
            st.write(
                "Choose a film and a painting: the first seconds are painted at once, to show what "
                f"it will look like. Films may take {MOST_SECONDS // 60} minutes."
            )
            _take(session)
            job_view.failure(PAGE)
    with right.container(key="panel"):
        request = _ask(session.brought_film)
    if session.brought_film:
        _work(session, session.brought_film, request, left)


def _take(session: Session) -> None:
    """A film of the visitor's."""
    told = f"Up to {FILM_MB} MB and {MOST_SECONDS // 60} minutes."
    for given in widgets.take_files(UPLOADER, f"{PAGE}_file", _KINDS, FILM_MB, told):
        try:
            brought = BroughtFilm(given.name, given.getvalue())
        except ImpastoError as error:
            session.fail(PAGE, error)
        else:
            if session.running(PAGE):
                session.end()
            session.failures.pop(PAGE, None)
            session.brought_film = brought
        st.rerun()


def _ask(brought: BroughtFilm | None) -> Request:
    """Styles and controls."""
    styles = tuple(pick_styles(PAGE, photo=brought.still if brought else None))
    widgets.pick_preset(PAGE)
    options = widgets.knobs(Controls, PAGE, only=widgets.FIRST)
    options |= widgets.knobs(FilmControls, PAGE)
    st.session_state.setdefault(f"{PAGE}.side", "Usual")
    size = st.segmented_control(
        "Size",
        list(SIZES),
        required=True,
        key=f"{PAGE}.side",
        help=f"Small: at most {SIZES['Small']} pixels on the longer side. Usual: at most "
        f"{SIZES['Usual']}. The fewer pixels, the sooner it is painted.",
        persist_state="session",
    )
    side = SIZES[str(size)]
    if brought and side and side < max(brought.size):
        options["size"] = side
    with st.expander("For experts", icon=":material/tune:"):
        trained = any(style.trained for style in styles)
        later = ("seed",) if trained else ("style_size", "seed")
        options |= widgets.knobs(Controls, PAGE, only=later, limits=widgets.STYLE_SIDES)
    return Request(None, styles, options)


def _work(session: Session, brought: BroughtFilm, request: Request, place: DeltaGenerator) -> None:
    """What is painted, and what can be done with it."""
    if request.styles:
        _begin_preview_if_wanted(session, brought, request)
    with place.container(key="sight"):
        job_view.failure(PAGE)
        job_view.live(partial(_draw, session, brought, request), session.running(PAGE))
    with place.container(key="below"):
        _actions(session, brought, request)
        with st.container(key="another"):
            _take(session)


# Painting


def _begin_preview_if_wanted(session: Session, brought: BroughtFilm, request: Request) -> None:
    """Paints the beginning for a new request, unless something that takes long is being painted."""
    job = session.job
    busy = job is not None and not job.quick and job is not brought.preview_job
    if busy or request == brought.wanted:
        return
    brought.wanted = request
    work = partial(paint_preview, brought, request)
    brought.preview_job = Job(work, quick=False, watched=session.is_connected)
    session.begin(brought.preview_job, PAGE, brought.keep_preview)
    if session.job is None:  # there was no place: the next time that the page is drawn
        brought.wanted = None


def _begin(session: Session, brought: BroughtFilm, request: Request) -> None:
    """Paints the whole film, or the rest of it."""
    work = partial(paint_whole, brought, request)
    job = Job(work, quick=False, watched=session.is_connected)
    session.begin(job, PAGE, brought.keep)


# What is shown


def _draw(session: Session, brought: BroughtFilm, request: Request) -> None:
    """The painted film, or its beginning; while something is painted, how far that is."""
    job, shown = session.running(PAGE), brought.painted_by(request)
    if shown and not job:
        st.html(_player(session, brought, shown))
    else:
        busy = job_view.busy(session, PAGE, partial(_progress, brought))
        still = session.url(f"upload-{brought.still.id}")
        viewer(still, None, brought.size, "film_viewer", busy=busy)
        job_view.stop_button(session, PAGE)
    if not request.styles:
        told = "Choose a style, and the film's first seconds are painted in it."
    elif shown and shown is not brought.painted and not job:
        told = f"The first {PREVIEW_SECONDS} seconds, in a small size."
    else:
        width, height = brought.size
        told = f"{brought.name} · {width} × {height} pixels · {brought.seconds:.0f} seconds"
    st.caption(sentence(told))


def _player(session: Session, brought: BroughtFilm, painted: PaintedFilm) -> str:
    """A painted film in HTML; the page is not left without a question if it is a whole one."""
    width, height = brought.size
    known = f'class="film" src="{film_url(session.token, painted.name)}"'
    known += f' style="aspect-ratio: {width} / {height}"'
    known += " data-impasto-unsaved" * (painted is brought.painted)
    if painted.path.suffix in ANIMATIONS:
        return f'<img {known} alt="The painted film">'
    return f"<video {known} controls playsinline></video>"


def _progress(brought: BroughtFilm, job: Job) -> str:
    told = job_view.progress(job, "Frame")
    if job is brought.preview_job:
        return f"The first {PREVIEW_SECONDS} seconds: {told[0].lower()}{told[1:]}"
    pace = job.steps_a_second
    return told if pace is None or job.stopped else f"{told}, {pace:.1f} frames a second"


def _actions(session: Session, brought: BroughtFilm, request: Request) -> None:
    """What can be done with the film, or to get it."""
    painted, job = brought.painted, session.running(PAGE)
    idle = job is None or job is brought.preview_job
    fits = painted is not None and painted is brought.painted_by(request)
    whole = painted is not None and fits and not painted.stopped
    with st.container(horizontal=True, key="actions"):
        if idle and not whole:
            label = "Paint the rest" if fits else "Paint the whole film"
            if job_view.button(label, "brush", primary=not fits, disabled=not request.styles):
                _begin(session, brought, request)
                st.rerun()
        if painted:
            st.link_button(
                "Download film",
                film_url(session.token, painted.name, painted.path.name),
                icon=":material/download:",
                type="primary" if fits else "secondary",
            )
            with st.popover("As code", icon=":material/code:"):
                st.code(painted.command(brought.name), None, wrap_lines=True)
    if painted is None or not idle:
        return
    if painted.stopped:
        st.info(sentence(painted.stopped), icon=":material/stop_circle:")
    for note in painted.notes:
        st.caption(sentence(note))
    if not fits:
        st.caption("The whole film was painted with other settings than those shown now.")
