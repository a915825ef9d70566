"""The styles to choose from: bundled ones and a visitor's own paintings, in one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import streamlit as st

from impasto import formats, gallery
from impasto.app import UPLOAD_MB, job_view, max_pixels, widgets
from impasto.app.components import Event, Item, choose
from impasto.app.request import StyleChoice, Upload
from impasto.app.server import BUNDLED, picture_url
from impasto.app.session import Session, current, sentence
from impasto.errors import ImpastoError

UPLOADER = "A painting of your own"
FIRST_STYLE = "starry-night"
"""What examples are painted in, unless a style is chosen."""
MOST_STYLES = 6
"""How many styles are mixed: each takes memory."""
_FAMOUS = (FIRST_STYLE, "great-wave", "the-scream", "composition-vii", "grande-jatte")
"""These come first."""
_FORMATS = [extension.lstrip(".") for extension in formats.readable()]


@cache
def _bundled() -> list[gallery.Painting]:
    """The bundled styles, the famous ones first."""
    known = gallery.paintings()
    return [*(known[name] for name in _FAMOUS), *(known[n] for n in known if n not in _FAMOUS)]


def upload_pictures(label: str, key: str, *, several: bool = False) -> list[Upload]:
    """An uploader; returns the files that a visitor has just given it, not read yet.

    See `widgets.take_files`.
    """
    limits = f"Up to {UPLOAD_MB} MB and {max_pixels() / 1e6:g} megapixels."
    files = widgets.take_files(label, key, _FORMATS, UPLOAD_MB, limits, several=several)
    return [Upload(file.name, file.getvalue()) for file in files]


def pick_styles(
    key: str, *, trained: bool = True, photo: Upload | None = None
) -> list[StyleChoice]:
    """The styles that a visitor chooses, with their weights.

    Args:
        key: before the names of the widgets.
        trained: whether trained styles are offered too.
        photo: the styles show this photo, painted in them.
    """
    session = current()
    st.header("Style", anchor=False)
    _take_own(session, key)

    def remove(event: Event) -> None:
        session.own.pop(event.id, None)

    chosen = choose(
        _items(session, photo, trained=trained),
        key,
        "Styles",
        most=lambda: MOST_STYLES if st.session_state.get(f"{key}.mix") else 1,
        search=True,
        edited=remove,
    )
    st.toggle("Mix several styles", key=f"{key}.mix", persist_state="session")
    choices = [StyleChoice(session.own.get(name, name)) for name in chosen]
    if len(choices) < 2:
        return choices
    return [
        StyleChoice(one.source, _weight(f"{key}.weight.{one.id}", one.title)) for one in choices
    ]


def _items(session: Session, photo: Upload | None, *, trained: bool) -> list[Item]:
    """The styles as `choose` shows them."""
    own = [
        Item(
            name,
            upload.name,
            session.url(f"upload-{name}-small"),
            group="Your paintings",
            removable=True,
        )
        for name, upload in session.own.items()
    ]
    bundled = [
        Item(
            known.name,
            known.title,
            picture_url(BUNDLED, known.name),
            about=f"{known.artist}, {known.year}",
            group="Famous paintings" if own else "",
        )
        for known in _bundled()
        if trained or known.picture
    ]
    if photo is None:
        return [*own, *bundled]
    return [
        replace(item, preview=session.url(f"sheet-{photo.id}-{item.id}"))
        for item in (*own, *bundled)
    ]


def _take_own(session: Session, key: str) -> None:
    """Takes paintings that a visitor brings, and chooses them."""
    with st.container(key=f"{key}-own"):
        given = upload_pictures(UPLOADER, f"{key}.files", several=True)
    place = f"{key}.own"
    if not given:
        job_view.failure(place)
        return
    session.failures.pop(place, None)
    for upload in given:
        try:
            session.bring(upload)
        except ImpastoError as error:
            session.fail(place, error)
        else:
            st.session_state[key] = [*st.session_state.get(key, []), upload.id]
    st.rerun()


def _weight(key: str, name: str) -> float:
    st.session_state.setdefault(key, 1.0)
    told = "How much of this style goes into the mix; only the ratio to the others matters."
    return st.slider(
        sentence(f"Weight of {name}"),
        0.0,
        2.0,
        step=0.1,
        key=key,
        help=told,
        persist_state="session",
    )


def restore_styles(key: str, styles: Sequence[StyleChoice]) -> None:
    """Chooses these styles again, with their weights."""
    state = st.session_state
    current().own.update({s.id: s.source for s in styles if isinstance(s.source, Upload)})
    state.update({key: [style.id for style in styles], f"{key}.mix": len(styles) > 1})
    state.update({f"{key}.weight.{style.id}": style.weight for style in styles})
