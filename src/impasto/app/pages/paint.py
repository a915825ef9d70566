"""The page that everybody sees first: a photo, styles, controls, and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from impasto.app import job_view, max_pixels, widgets
from impasto.app.components import Brush, Item, choose, viewer
from impasto.app.examples import EXAMPLES
from impasto.app.job_queue import Job
from impasto.app.pages import history
from impasto.app.request import (
    OPTIMISED_PIXELS,
    SHOWN_SIDE,
    Request,
    Result,
    StyleChoice,
    Upload,
    paint,
    read_masks,
    stylizer,
)
from impasto.app.server import BUNDLED, picture_url
from impasto.app.session import Session, current, sentence
from impasto.app.styles import pick_styles, restore_styles, upload_pictures
from impasto.controls import Controls
from impasto.errors import ImpastoError
from impasto.recipes import Recipe

PAGE = history.PAGE
REFINE = {"Quick": 10, "Good": 30, "Best": 100}
"""The optimiser's steps at each level, by how good the picture is to become."""
_SIDE = 1024
"""Longer side of pictures, in pixels, unless told otherwise."""
_QUICK_PIXELS = 3e6
"""Networks paint this many pixels, times the number of styles, in seconds."""


def page() -> None:
    """The page."""
    session = current()
    history.restore_clicked(session)
    if session.photo is None:
        _welcome(session)
        return
    unsaved = any(one.kept for one in session.results.values())
    st.html(f'<h1 class="unseen" {"data-impasto-unsaved" * unsaved}>Your painting</h1>')
    left, right = st.columns([8, 5], gap="large")
    sight, below = left.container(key="sight"), left.container(key="below")
    with right.container(key="panel"):
        asked = _ask(session, session.photo)
    with sight:
        with st.container():  # what comes and goes here leaves the picture in its place
            if asked:
                _paint_if_wanted(session, asked)
            job_view.failure(PAGE)
        job_view.live(partial(_draw, session, asked), session.running(PAGE))
    with below:
        if asked:
            _actions(session, asked)
        history.show(session)
        with st.container(key="another"):
            given = upload_pictures(uploader(session), "another")
        if given:
            _open(session, given[0])


def uploader(session: Session) -> str:
    """The label of the uploader for photos."""
    return "Your photo" if session.photo is None else "Another photo"


# The first page


def _welcome(session: Session) -> None:
    with st.container(key="welcome"):
        left, right = st.columns(2, gap="large", vertical_alignment="top")
        with left:
            st.title("Turn your photo into a painting", anchor=False)
            st.write(
                "Choose a photo and a painting: a second or two later, the photo is painted in its "
                "style. Your pictures stay on the machine that serves this page."
            )
            _take_photo(session)
        with right:
            _examples(session)


def _take_photo(session: Session) -> None:
    """A photo of the visitor's."""
    given = upload_pictures(uploader(session), "photo")
    if given:
        _open(session, given[0])
    if st.toggle("Use the camera", key="camera"):
        taken = st.camera_input("Take a photo", label_visibility="collapsed")
        if taken:
            _open(session, Upload(taken.name, taken.getvalue()))
    job_view.failure(PAGE)


def _examples(session: Session) -> None:
    """Painted examples, to try with one click."""
    st.write("Or try one of these:")
    items = [
        Item(
            name,
            one.title,
            picture_url(BUNDLED, f"photo-{Path(one.photo).stem}"),
            preview=one.url,
        )
        for name, one in EXAMPLES.items()
    ]
    for name in choose(items, "example", "Examples"):
        st.session_state.example = []
        restore_styles("styles", [StyleChoice(name)])
        _open(session, EXAMPLES[name].upload)


def _open(session: Session, upload: Upload) -> None:
    """Makes this the photo that is painted."""
    try:
        upload.open()
    except ImpastoError as error:
        session.fail(PAGE, error)
        st.rerun()
    session.end()
    session.failures.pop(PAGE, None)
    session.photo, session.wanted, session.shown, session.compared = upload, None, None, None
    session.set_masks({})
    st.rerun()


# What is asked for


@dataclass(frozen=True)
class _Asked:
    """What the controls say."""

    request: Request
    optimiser: Mapping[str, Any] | None
    """The optimiser's settings, for refining; None where that makes no sense."""

    def refined(self, steps: int) -> Request:
        """The same picture, refined in so many steps at each level."""
        settings = {**(self.optimiser or {}), "refine": steps}
        settings.pop("iterations", None)
        every = settings.pop("snapshot_every", 0)
        options = {**self.request.options, **settings}
        return replace(self.request, options=options, snapshot_every=every)

    def made(self, result: Result) -> bool:
        """Whether this is what a picture was painted with, whether it was refined or not."""
        steps = result.request.options.get("refine")
        return result.request == (self.request if steps is None else self.refined(steps))


def _ask(session: Session, photo: Upload) -> _Asked | None:
    """Photo, styles and controls; None as long as there is no style."""
    styles = pick_styles("styles", photo=photo)
    widgets.pick_preset(PAGE)
    options = widgets.knobs(Controls, PAGE, only=widgets.FIRST)
    chosen = _masked(session, styles)
    with st.expander("Size", icon=":material/aspect_ratio:"):
        options |= _size(photo)
    trained = any(style.trained for style in styles)
    with st.expander("For experts", icon=":material/tune:"):
        later = ("seed",) if trained else ("style_size", "seed")
        options |= widgets.knobs(Controls, PAGE, only=later, limits=widgets.STYLE_SIDES)
        method, optimiser = widgets.pick_method(PAGE, trained=trained)
    if method.get("method") == "gatys":
        options = {k: v for k, v in options.items() if k not in widgets.FOR_NETWORKS}
    if not styles:
        return None
    every = method.pop("snapshot_every", 0)
    return _Asked(Request(photo, chosen, {**options, **method}, every), optimiser)


def _masked(session: Session, styles: list[StyleChoice]) -> tuple[StyleChoice, ...]:
    """The styles with what was drawn for each of them."""
    drawing = st.toggle(
        "Paint only where I draw",
        key="masked",
        disabled=not styles,
        help="Draw on the picture where each style goes. A style that is drawn nowhere takes what "
        "the others leave.",
        persist_state="session",
    )
    drawn = session.drawn if drawing else {}
    masks = read_masks(drawn, [style.id for style in styles])
    return tuple(replace(style, mask=mask) for style, mask in zip(styles, masks, strict=True))


def _size(photo: Upload) -> dict[str, Any]:
    longer = max(photo.size)
    most = {"size": int((max_pixels() * longer / min(photo.size)) ** 0.5)}
    begins = {"size": min(longer, _SIDE)}
    size = widgets.knobs(
        Controls, widgets.size_key(PAGE, photo), only=("size",), defaults=begins, limits=most
    )
    return {} if size.get("size") == longer else size


# Painting


def _paint_if_wanted(session: Session, asked: _Asked) -> None:
    """Paints a new request, unless that is slow, or something slow is being painted."""
    waits = st.session_state.pop("restored", False) or (session.job and not session.job.quick)
    new, session.wanted = asked.request != session.wanted, asked.request
    if new and not waits and _quick(asked.request):
        _begin(session, asked.request)
        if session.job is None:  # there was no place: the next time that the page is drawn
            session.wanted = None
        job_view.wait_for_quick(session)


def _optimises(request: Request) -> bool:
    """Whether the optimiser paints, which takes minutes."""
    return request.options.get("method") == "gatys" or "refine" in request.options


def _quick(request: Request) -> bool:
    """Whether it is painted in seconds."""
    width, height = request.painted_size()
    pixels = width * height + request.options.get("style_size", 0) ** 2
    return not _optimises(request) and pixels * len(request.styles) <= _QUICK_PIXELS


def _begin(session: Session, request: Request) -> None:
    """Begins to paint, or says why that is not possible."""
    recipe = Recipe.of(request.options)
    quick = _quick(request)
    drawn = dict(session.drawn) if request.masks else {}
    width, height = request.painted_size()
    if _optimises(request) and width * height > OPTIMISED_PIXELS:
        most = int(max(width, height) * (OPTIMISED_PIXELS / (width * height)) ** 0.5)
        problem = f"this would take too much memory at {width} x {height}: set Size to {most}"
        return session.fail(PAGE, problem)
    if not quick and not session.has_room:
        return session.fail(PAGE, "there is no room for more pictures: delete some of yours")

    def work(job: Job) -> Result:
        painter = stylizer(recipe.method, refine=recipe.refine, **recipe.settings)
        result = job_view.finished(paint(request, painter, job.on_step), job)
        result.drawn, result.kept = drawn, not quick
        return result

    job = Job(
        work, quick=quick, snapshot_every=request.snapshot_every, watched=session.is_connected
    )
    session.begin(job, PAGE, session.add)


# The picture


def _draw(session: Session, asked: _Asked | None) -> None:
    """The picture, and the next one while it is being painted."""
    photo, result = session.photo, session.result
    assert photo is not None
    shown = result.request.photo if result and result.request.photo else photo
    other = session.other
    titles = (result.name, other.name) if result and other else ("Photo", "Painting")
    viewer(
        session.url(f"upload-{shown.id}"),
        session.url(result.id) if result else None,
        result.image.size if result else photo.size,
        "viewer",
        full=_full_url(session, result),
        other=session.url(other.id) if other else None,
        other_full=_full_url(session, other),
        busy=job_view.busy(session, PAGE),
        brush=_brush(session, asked.request.styles) if asked else None,
        titles=titles,
    )
    job_view.stop_button(session, PAGE)
    if result:
        width, height = result.image.size
        st.caption(sentence(f"{result.name} · {width} × {height} pixels"))
    elif not asked:
        st.caption("Choose a style, and your photo is painted in it.")


def _full_url(session: Session, result: Result | None) -> str | None:
    """Address of a picture in all its pixels, if it has more than are shown."""
    larger = result is not None and max(result.image.size) > SHOWN_SIDE
    return session.url(f"{result.id}-full") if result and larger else None


def _brush(session: Session, styles: Sequence[StyleChoice]) -> Brush | None:
    """What draws masks; None if nobody wants to."""
    if not st.session_state.get("masked"):
        return None

    def keep(drawn: dict[str, str]) -> None:
        session.drawn = drawn

    titles = {style.id: style.title for style in styles}
    masks = {name: mask for name, mask in session.drawn.items() if name in titles}
    return Brush(titles, masks, session.drawing, keep)


def _actions(session: Session, asked: _Asked) -> None:
    """What can be done with the picture, or to get it."""
    result, busy = session.result, session.running(PAGE) is not None
    fits = result is not None and asked.made(result)
    with st.container(horizontal=True, key="actions"):
        if not fits and not busy and job_view.button("Paint", "brush", primary=True):
            _begin(session, asked.request)
            st.rerun()
        if result:
            width, height = result.image.size
            job_view.download(
                f"Download {width} × {height}",
                partial(result.encode, ".png"),
                f"{result.file}.png",
                primary=fits,
            )
        full = _full_size(asked)
        if full and not busy:
            width, height = full.painted_size()
            if job_view.button(f"Paint at full size, {width} × {height}", "open_in_full"):
                _begin(session, full)
                st.rerun()
        if asked.optimiser is not None:
            _refine(session, asked, busy=busy)
        history.undo_button(session)
        if result:
            _more(result)
    if result:
        for note in result.notes:
            st.caption(sentence(note))
        if not fits and not busy:
            st.caption("This picture was painted with other settings than those shown now.")
        job_view.left_behind(session, result)


def _full_size(asked: _Asked) -> Request | None:
    """The same picture in all pixels of the photo, if it has more than are painted now."""
    request = asked.request
    options = {name: value for name, value in request.options.items() if name != "size"}
    full = replace(request, options=options)
    slow = options.get("method") == "gatys"
    return None if full.painted_size() == request.painted_size() or slow else full


def _refine(session: Session, asked: _Asked, *, busy: bool) -> None:
    """The menu that brings the picture closer to the painting."""
    menu = "refine"
    with st.popover(
        "Refine", icon=":material/auto_awesome:", disabled=busy, key=menu, on_change="rerun"
    ):
        st.write(
            "Bring the picture closer to the painting, stroke by stroke. This takes minutes; you "
            "can stop at any time, and keep what is painted by then."
        )
        choices = dict(REFINE)
        own_steps = (asked.optimiser or {}).get("iterations", REFINE["Good"])
        if own_steps not in choices.values():
            choices[f"{own_steps} steps"] = own_steps
        with st.container(horizontal=True):
            for label, steps in choices.items():
                if job_view.button(label, "brush", on_click=partial(_close, menu)):
                    _begin(session, asked.refined(steps))
                    st.rerun()


def _close(menu: str) -> None:
    st.session_state[menu] = False


def _more(result: Result) -> None:
    with st.popover("More", icon=":material/more_horiz:"):
        job_view.download("JPEG", partial(result.encode, ".jpg"), f"{result.file}.jpg")
        if result.request.masks:
            job_view.download("Masks", result.request.zip_masks, "masks.zip")
        job_view.as_code(result)
