"""The pieces of page that Streamlit lacks, each of which is JavaScript in ``static``.

They are the viewer, pictures to choose from, and what belongs to the page as a whole. Pictures
reach them as URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Literal, cast

import streamlit as st

_FILES = resources.files("impasto.app") / "static"
_LONGEST_MASK = 2_000_000
"""What the brush draws is much shorter."""


def _component(name: str, *scripts: str) -> Any:
    """A component of the page, and the scripts that are put before its own."""
    html, css = ((_FILES / f"{name}.{kind}").read_text("utf-8") for kind in ("html", "css"))
    js = "\n".join((_FILES / f"{script}.js").read_text("utf-8") for script in (*scripts, name))
    return st.components.v2.component(f"impasto.{name}", html=html, css=css, js=js)


_viewer = _component("viewer", "brush")
_choose = _component("choose")
_page = _component("page")


@dataclass(frozen=True)
class Busy:
    """What is told over the picture while the next one is being painted."""

    text: str
    """A sentence, such as "Painting: about 20 seconds left."."""
    progress: float | None = None
    """From 0 to 1; None if nobody knows."""
    preview: str | None = None
    """URL of how far it is."""


@dataclass(frozen=True)
class Brush:
    """Masks to paint over the picture, one for each style."""

    styles: Mapping[str, str]
    """Titles of the styles, by id."""
    masks: Mapping[str, str]
    """What is painted, by id of the style: URLs of PNGs whose alpha is where the style goes."""
    revision: int
    """To be raised when somebody else than the visitor changes the masks."""
    changed: Callable[[dict[str, str]], None]
    """Is called with the masks that the visitor painted, before the page is drawn anew."""


def viewer(
    before: str,
    after: str | None,
    size: tuple[int, int],
    key: str,
    *,
    full: str | None = None,
    other: str | None = None,
    other_full: str | None = None,
    busy: Busy | None = None,
    brush: Brush | None = None,
    titles: tuple[str, str] = ("Photo", "Painting"),
) -> None:
    """The picture, large: to zoom, to compare, to paint masks on.

    Args:
        before: URL of the photo.
        after: URL of what was painted of it, with a divider between the two.
        size: width and height that 100 % stands for.
        key: names the component in the session.
        full: URL of ``after`` at that size, loaded when somebody zooms in.
        other: URL of a second painted picture, shown beside ``after`` instead of the photo.
        other_full: URL of ``other`` at full size.
        busy: what is being painted meanwhile.
        brush: masks to paint.
        titles: what the photo and the painting are called; with ``other``, the two paintings.
    """

    def keep() -> None:
        state = st.session_state[key].get("masks")
        if brush and isinstance(state, dict) and state.get("revision") == brush.revision:
            brush.changed(painted_masks(state.get("masks"), brush.styles))

    data = {
        "before": before,
        "after": after,
        "full": full,
        "other": other,
        "otherFull": other_full,
        "width": size[0],
        "height": size[1],
        "titles": titles,
        "busy": busy and asdict(busy),
        "brush": brush
        and {
            "styles": [{"id": name, "title": title} for name, title in brush.styles.items()],
            "masks": dict(brush.masks),
            "revision": brush.revision,
        },
    }
    _viewer(key=key, data=data, on_masks_change=keep)


def painted_masks(given: object, styles: Mapping[str, str]) -> dict[str, str]:
    """Those of the masks a browser sent that are PNGs of known styles."""
    if not isinstance(given, dict):
        return {}
    return {
        name: mask
        for name, mask in given.items()
        if name in styles
        and isinstance(mask, str)
        and mask.startswith("data:image/png;base64,")
        and len(mask) < _LONGEST_MASK
    }


@dataclass(frozen=True)
class Item:
    """A picture to click on."""

    id: str
    title: str
    picture: str = ""
    """URL; empty as long as there is none."""
    preview: str = ""
    """URL of what is to take the picture's place, if making it takes time."""
    about: str = ""
    """More about it, also to be searched."""
    group: str = ""
    """Heading of the items beside it."""
    removable: bool = False
    renamable: bool = False
    pinned: bool | None = None
    """None for what cannot be pinned."""


Kind = Literal["choose", "leave", "remove", "rename", "pin"]


@dataclass(frozen=True)
class Event:
    """What a visitor did to an item."""

    number: int
    """Larger than of all events before."""
    kind: Kind
    id: str
    value: str | bool | None = None
    """The new name, or whether it is pinned."""


def choose(
    items: Sequence[Item],
    key: str,
    label: str,
    *,
    most: Callable[[], int] = lambda: 1,
    strip: bool = False,
    search: bool = False,
    edited: Callable[[Event], None] | None = None,
) -> list[str]:
    """Pictures to click on; returns the ids of those that are chosen, in the order of the clicks.

    Args:
        items: what there is to choose from.
        key: where in Streamlit's session the choice is kept, as a list of ids.
        label: names the group, for those who do not see the page, and the search.
        most: how many can be chosen at a time; if more than one, a second click lets go of one. It
            is asked at each click, which may come before the page has been drawn anew.
        strip: in one row that scrolls.
        search: with a field to search titles and what is told about them.
        edited: is called with what was removed, renamed or pinned, before the page is drawn anew.
    """
    ids = {item.id for item in items}
    applied_key = f"{key}.applied"

    def known() -> list[str]:
        return [name for name in st.session_state.get(key, []) if name in ids][-most() :]

    def apply() -> None:
        given = st.session_state[f"{key}.events"].get("events")
        for event in new_events(given, st.session_state.get(applied_key, 0)):
            st.session_state[applied_key] = event.number
            if event.id not in ids:
                continue
            if event.kind in ("choose", "leave"):
                st.session_state[key] = chosen_after(known(), event, most())
            elif edited:
                edited(event)

    chosen = known()
    data = {
        "items": [asdict(item) for item in items],
        "chosen": chosen,
        "applied": st.session_state.get(applied_key, 0),
        "most": most(),
        "label": label,
        "strip": strip,
        "search": search,
    }
    _choose(key=f"{key}.events", data=data, on_events_change=apply)
    return chosen


def new_events(given: object, applied: int) -> list[Event]:
    """The events a browser sent that are later than the last one that was applied.

    A browser sends all that it does not know to be applied, again and again: Streamlit forgets the
    earlier of two values that come while the page is being drawn anew.
    """
    events = []
    for sent in given if isinstance(given, list) else []:
        match sent:
            case [int(number), "choose" | "leave" | "remove" as kind, str(name), None]:
                pass
            case [int(number), "rename" as kind, str(name), str(_)]:
                pass
            case [int(number), "pin" as kind, str(name), bool(_)]:
                pass
            case _:
                continue
        if number > applied:
            applied = number
            events.append(Event(number, cast(Kind, kind), name, sent[3]))
    return events


def chosen_after(chosen: Sequence[str], event: Event, most: int) -> list[str]:
    """What is chosen after a click; the first gives way where there is no room."""
    others = [name for name in chosen if name != event.id]
    if event.kind == "leave":
        return others
    return [*others, event.id][-most:]


def page(token: str, *, uploader: str | None = None) -> str | None:
    """What belongs to the page as a whole; draws nothing.

    Args:
        token: names the session; kept by the browser's tab over a reload.
        uploader: label of the file uploader that gets what is pasted or dropped anywhere.

    Returns:
        The token that the tab had kept before this page was loaded; an empty string if none, and
        None until the browser has answered.
    """
    stored = st.session_state.get("page", {}).get("stored")
    data = {"token": token, "uploader": uploader, "told": stored is not None}
    _page(key="page", data=data, on_stored_change=lambda: None)
    return stored if stored is None or isinstance(stored, str) else ""
