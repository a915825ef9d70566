"""Textures: a painting's statistics alone, from noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from impasto.app import job_view, widgets
from impasto.app.components import viewer
from impasto.app.job_queue import Job
from impasto.app.request import OPTIMISED_PIXELS, Request, Result, paint_texture
from impasto.app.session import Session, current
from impasto.app.styles import pick_styles
from impasto.controls import MIN_SIDE

PAGE = "texture"
_SIDE = 384


def page() -> None:
    """The page."""
    session = current()
    left, right = st.columns([8, 5], gap="large")
    with right.container(key="panel"):
        request = _ask()
    with left.container(key="sight"):
        st.title("Make a texture from a painting", anchor=False)
        st.write("Brushwork and colours of the painting, without the objects in it.")
        job_view.failure(PAGE)
        job = session.running(PAGE)
        ready = request is not None and job is None
        if job_view.button("Paint", "brush", primary=True, disabled=not ready) and request:
            _begin(session, request)
            st.rerun()
        if request is None:
            st.caption("Choose a painting first.")
        job_view.live(partial(_draw, session), job)
        if session.texture:
            job_view.downloads(session.texture)
            job_view.left_behind(session, session.texture)


def _ask() -> Request | None:
    styles = tuple(pick_styles(PAGE, trained=False))
    options: dict[str, Any] = {}
    for side in ("width", "height"):
        st.session_state.setdefault(f"texture.{side}", _SIDE)
        options[side] = st.number_input(
            side.capitalize(),
            MIN_SIDE,
            value=None,
            key=f"texture.{side}",
            placeholder="the painting's",
            persist_state="session",
        )
    if None in options.values():
        options = {}
    with st.expander("For experts", icon=":material/tune:"):
        options |= widgets.texture_knobs(PAGE)
    return Request(None, styles, options) if styles else None


def _begin(session: Session, request: Request) -> None:
    """Begins to paint, or says why that is not possible."""
    width, height = request.texture_size()
    if width * height > OPTIMISED_PIXELS:
        most = int(OPTIMISED_PIXELS**0.5)
        problem = (
            f"this would take too much memory at {width} x {height}: {most} x {most} would not"
        )
        return session.fail(PAGE, problem)

    def work(job: Job) -> Result:
        return job_view.finished(paint_texture(request, job.on_step), job)

    job = Job(work, quick=False, watched=session.is_connected)
    session.begin(job, PAGE, session.keep_texture)


def _draw(session: Session) -> None:
    job, result = session.running(PAGE), session.texture
    made = result.image if result else job.preview if job else None
    if made is None:
        return
    url = session.url(result.id if result else f"job-{job.id}-{job.step}" if job else "")
    viewer(url, None, made.size, "texture_viewer", busy=job_view.busy(session, PAGE))
    job_view.stop_button(session, PAGE)
