"""Textures: a painting's statistics alone, from noise."""

from __future__ import annotations

from typing import Any

import streamlit as st

from impasto.app import controls, pictures, visit
from impasto.app.job_queue import Job
from impasto.app.wish import Painted, Wish, as_url, paint_texture
from impasto.controls import MIN_SIDE

_PAGE = "texture"
_SIDE = 384


def page() -> None:
    """The page."""
    left, right = st.columns([8, 5], gap="large")
    with right:
        wish = _ask()
    if visit.clicked(_PAGE) and wish:
        _begin(wish)
    with left:
        st.title("Make a texture from a painting", anchor=False)
        st.write("Brushwork and colours of the painting, without the objects in it.")
        visit.failure(_PAGE)
        visit.watch(_PAGE, _keep)
        visit.button(_PAGE, "Paint", "brush", disabled=wish is None)
        if wish is None:
            st.caption("Choose a painting first.")
        job: Job | None = st.session_state.get("texture")
        if job:
            painted: Painted = job.result
            st.image(as_url(painted.image))
            with st.container(horizontal=True):
                visit.share(painted)
            visit.left_behind(job)


def _ask() -> Wish | None:
    styles = tuple(pictures.pick_styles(_PAGE, trained=False))
    st.subheader("Controls", anchor=False)
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
    options |= controls.texture_knobs(_PAGE)
    return Wish(None, styles, options) if styles else None


def _begin(wish: Wish) -> None:
    visit.begin(Job(lambda job: paint_texture(wish, job.on_step), quick=False), _PAGE)


def _keep(job: Job) -> None:
    st.session_state.texture = job
