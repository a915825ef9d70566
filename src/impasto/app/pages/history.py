"""A visitor's pictures: to go back to, to compare, to keep and to download."""

from __future__ import annotations

import io
import zipfile
from functools import partial

import streamlit as st

from impasto.app import job_view, widgets
from impasto.app.components import Event, Item, choose
from impasto.app.session import Session
from impasto.app.styles import restore_styles
from impasto.naming import distinct

PAGE = "paint"
"""Name of the page that paints a photo, to which the history belongs."""
_LONGEST_TITLE = 100


def show(session: Session) -> None:
    """All pictures of this session, one of which is looked at."""
    if not session.results and not session.deleted:
        return
    st.header("Your pictures", anchor=False)
    items = [
        Item(
            name,
            one.name,
            session.url(f"{name}-small"),
            removable=True,
            renamable=True,
            pinned=one.kept,
        )
        for name, one in reversed(session.results.items())
    ]
    st.session_state["history"] = [session.shown] if session.shown else []
    choose(items, "history", "Your pictures", strip=True, edited=partial(edit, session))
    st.session_state["history.drawn"] = session.shown
    with st.container(horizontal=True):
        _compare(session)
        if session.deleted:
            st.button(
                f"Put {session.deleted.name} back",
                icon=":material/restore_from_trash:",
                on_click=session.put_back,
            )
        if len(session.results) > 1:
            job_view.download(
                f"Download all {len(session.results)}", partial(archive, session), "pictures.zip"
            )


def restore_clicked(session: Session) -> None:
    """Looks at the picture of the history that was clicked since the page was drawn."""
    for name in st.session_state.get("history", []):
        if name != st.session_state.get("history.drawn") and name in session.results:
            restore(session, name)


def edit(session: Session, event: Event) -> None:
    """Removes, renames or pins a picture of the history."""
    result = session.results.get(event.id)
    if result is None:
        return
    if event.kind == "remove":
        session.delete(event.id)
    elif event.kind == "rename":
        result.title, result.kept = str(event.value)[:_LONGEST_TITLE], True
    elif event.kind == "pin":
        result.kept = bool(event.value)


def _compare(session: Session) -> None:
    """Which other picture is shown beside the one that is looked at."""
    others = {name: one.name for name, one in session.results.items() if name != session.shown}
    if not others:
        return
    key = "compared"
    state = st.session_state
    state[key] = session.compared if session.compared in others else None

    def choose_other() -> None:
        session.compared = state[key]

    st.selectbox(
        "Compare with",
        list(others),
        format_func=lambda name: others.get(name, ""),
        key=key,
        on_change=choose_other,
        placeholder="Compare with ...",
        label_visibility="collapsed",
    )


def archive(session: Session) -> bytes:
    """Returns all pictures of the history in a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pictures:  # pictures are compressed already
        results = list(session.results.values())
        names = distinct(f"{result.file}.png" for result in results)
        for name, result in zip(names, results, strict=True):
            pictures.writestr(name, result.encode(".png"))
    return file.getvalue()


def resume(session: Session) -> None:
    """Sets all controls to the picture that the visitor looked at before the page was reloaded."""
    if session.shown:
        restore(session, session.shown)


def restore(session: Session, name: str) -> None:
    """Looks at a picture of the history, and sets all controls to what it was painted with."""
    result = session.results.get(name)
    if result is None:  # another tab of the same session has deleted it
        return
    request = result.request
    session.shown, session.photo = name, request.photo
    session.set_masks(result.drawn)
    st.session_state.update({"masked": bool(result.drawn), "restored": True})
    restore_styles("styles", request.styles)
    snapshots = request.snapshot_every or None
    widgets.restore_knobs(PAGE, {**request.options, "snapshot_every": snapshots})
    assert request.photo is not None
    widgets.restore_knobs(
        widgets.size_key(PAGE, request.photo), {"size": max(request.photo.size), **request.options}
    )


def undo_button(session: Session) -> None:
    """The button that goes back to the picture before."""
    names = list(session.results)
    before = names.index(session.shown) - 1 if session.shown in names else -1
    st.button(
        "Undo",
        icon=":material/undo:",
        disabled=before < 0,
        on_click=restore,
        args=(session, names[max(before, 0)] if names else ""),
        help="Back to the picture before, and to its settings.",
    )
