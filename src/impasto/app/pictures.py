"""Pictures on a page: to bring, to click on, to compare, to paint masks on; styles to choose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any

import streamlit as st
from PIL import Image

from impasto import formats, gallery, images
from impasto.app import UPLOAD_MB, max_pixels
from impasto.app.visit import sentence
from impasto.app.wish import UNPACKING, Chosen, Upload, as_url
from impasto.errors import ImpastoError

PAINTINGS, TRAINED = "Paintings", "Trained styles"
MOST_STYLES, MOST_OWN = 6, 12
"""At a time, and in a session: each takes memory."""
FORMATS = [extension.lstrip(".") for extension in formats.readable()]
_THUMBNAIL = 192
_DATA = resources.files("impasto") / "data"


def _component(name: str, html: str) -> Any:
    """A component of the page, whose files are in ``static``."""
    static = resources.files("impasto.app") / "static"
    css, js = ((static / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component(f"impasto.{name}", html=html, css=css, js=js)


def _html(name: str) -> str:
    return (resources.files("impasto.app") / "static" / name).read_text(encoding="utf-8")


_choose = _component("choose", '<div class="pictures" role="group"></div>')
_compare = _component("compare", _html("compare.html"))
_masks = _component("masks", _html("masks.html"))


@st.cache_data(show_spinner=False, max_entries=64)
def thumbnail(upload: Upload, side: int = _THUMBNAIL) -> str:
    """The URL of a picture, small.

    Raises:
        ImageError, TooLargeError: one sentence.
    """
    with UNPACKING:
        return as_url(images.to_pil(upload.read()), side)


@cache
def known_styles() -> list[dict[str, str]]:
    """The paintings that come with the package, as `choose` shows them."""
    shown = []
    for known in gallery.paintings().values():
        place = _DATA / "thumbnails" / f"{known.name}.jpg" if not known.picture else known.picture
        with Image.open(str(place)) as image:
            picture = as_url(image, _THUMBNAIL)
        about = f"{known.artist}: {known.title} ({known.year})"
        shown.append({"id": known.name, "title": known.title, "about": about, "picture": picture})
    return shown


@cache
def example_photos() -> dict[str, Upload]:
    """Photos to begin with, by name."""
    names = ("chelsea.jpg", "coffee.jpg", "astronaut.jpg")
    return {name: Upload(name, (_DATA / "photos" / name).read_bytes()) for name in names}


def choose(
    items: Sequence[Mapping[str, str]],
    key: str,
    label: str,
    *,
    several: Callable[[], bool] = lambda: False,
    strip: bool = False,
) -> list[str]:
    """Pictures to click on; returns the ids of those that are chosen.

    Args:
        items: ``id``, ``title`` and ``picture`` (a URL) of each, perhaps more ``about`` it.
        key: where in the session the choice is kept.
        label: for those who do not see the page.
        several: whether more than one can be chosen; a second click lets go of one. It is asked at
            each click, which may come before the page has been drawn anew.
        strip: in one row that scrolls.
    """
    ids = {item["id"] for item in items}

    def known() -> list[str]:
        names = [name for name in st.session_state.get(key, []) if name in ids]
        return names if several() else names[-1:]

    def click() -> None:
        clicked, before = st.session_state[f"{key}.clicks"]["clicked"], known()
        left = [name for name in before if name != clicked]
        both = left if clicked in before else [*before, clicked]
        st.session_state[key] = both if several() else [clicked]

    chosen = known()
    data = {"items": items, "chosen": chosen, "label": label, "strip": strip}
    _choose(key=f"{key}.clicks", data=data, on_clicked_change=click)
    return chosen


def compare(before: str, after: str, size: tuple[int, int], key: str) -> None:
    """Two pictures, by URL, of that width and height, with a slider between them."""
    width, height = size
    _compare(key=key, data={"before": before, "after": after, "width": width, "height": height})


def paint_masks(photo: str, size: tuple[int, int], styles: Sequence[Chosen]) -> dict[str, str]:
    """A brush for each style over the photo; returns what `wish.read_masks` reads."""
    session = st.session_state
    drawn: dict[str, str] = session.setdefault("drawn", {})
    data = {
        "photo": photo,
        "width": size[0],
        "height": size[1],
        "styles": [{"id": id_of(style.source), "title": style.title} for style in styles],
        "masks": drawn,
        "revision": session.setdefault("revision", 0),
    }

    def keep() -> None:
        given, names = session["easel"]["masks"], {id_of(style.source) for style in styles}
        if isinstance(given, dict):
            session.drawn = {k: v for k, v in given.items() if k in names and isinstance(v, str)}

    _masks(key="easel", data=data, on_masks_change=keep)
    return drawn


def set_masks(drawn: dict[str, str]) -> None:
    """Replaces what is painted."""
    st.session_state.update(drawn=drawn, revision=st.session_state.get("revision", 0) + 1)


def upload_pictures(label: str, key: str, *, several: bool = False) -> list[Upload]:
    """Files that a visitor uploaded, not read yet."""
    limits = f"Up to {UPLOAD_MB} MB and {max_pixels() / 1e6:g} megapixels."
    given = st.file_uploader(label, FORMATS, several, key, limits, max_upload_size=UPLOAD_MB)
    listed = given if isinstance(given, list) else [given] if given else []
    return [Upload(file.name, file.getvalue()) for file in listed]


def pick_styles(key: str, *, trained: bool = True) -> list[Chosen]:
    """The styles that a visitor chooses, with their weights.

    Args:
        key: before the names of the widgets.
        trained: whether trained styles are offered too.
    """
    # What comes and goes in a container of its own does not close the expanders below it.
    with st.container():
        return _pick_styles(key, trained)


def _pick_styles(key: str, trained: bool) -> list[Chosen]:
    session = st.session_state
    st.subheader("Style", anchor=False)
    kind: str | None = PAINTINGS
    if trained:
        session.setdefault(f"{key}.kind", PAINTINGS)
        kind = st.segmented_control(
            "Kind of style",
            (PAINTINGS, TRAINED),
            required=True,
            key=f"{key}.kind",
            label_visibility="collapsed",
            persist_state="session",
        )
    networks = set(gallery.trained())
    items = [item for item in known_styles() if (item["id"] in networks) == (kind == TRAINED)]
    own: dict[str, Upload] = {}
    if kind == PAINTINGS:
        own = _own_paintings(f"{key}.{kind}")
        items[:0] = [
            {"id": name, "title": upload.name, "picture": thumbnail(upload)}
            for name, upload in own.items()
        ]
    st.toggle("Mix several", key=f"{key}.mix", persist_state="session")
    several = partial(_is_on, f"{key}.mix")
    chosen = choose(items, f"{key}.{kind}", "Styles", several=several)
    if len(chosen) > MOST_STYLES:
        st.warning(f"Only the first {MOST_STYLES} styles are mixed.", icon=":material/info:")
    sources = {name: own.get(name, name) for name in chosen[:MOST_STYLES]}
    if len(sources) == 1:
        return [Chosen(source) for source in sources.values()]
    return [
        Chosen(source, _weight(f"{key}.weight.{name}", Chosen(source).title))
        for name, source in sources.items()
    ]


def _is_on(toggle: str) -> bool:
    return bool(st.session_state.get(toggle))


def _own_paintings(key: str) -> dict[str, Upload]:
    """All paintings that a visitor brought, by id; a new one is chosen by itself."""
    own: dict[str, Upload] = st.session_state.setdefault("own", {})
    for upload in upload_pictures("A painting of your own", f"{key}.files", several=True):
        name = id_of(upload)
        if name in own:
            continue
        if len(own) >= MOST_OWN:
            st.error(f"You can add up to {MOST_OWN} paintings.", icon=":material/error:")
            break
        try:
            thumbnail(upload)
        except ImpastoError as error:
            st.error(sentence(error), icon=":material/error:")
        else:
            own[name] = upload
            st.session_state[key] = [*st.session_state.get(key, []), name]
    return own


def id_of(source: str | Upload) -> str:
    """The id of a style among those to choose from."""
    if isinstance(source, str):
        return source
    return f"own {hashlib.sha256(source.name.encode() + source.data).hexdigest()}"


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


def restore_styles(key: str, styles: Sequence[Chosen]) -> None:
    """Chooses these styles again."""
    kind = TRAINED if any(style.trained for style in styles) else PAINTINGS
    ids = [id_of(style.source) for style in styles]
    own = {id_of(s.source): s.source for s in styles if isinstance(s.source, Upload)}
    st.session_state.setdefault("own", {}).update(own)
    st.session_state.update({f"{key}.kind": kind, f"{key}.{kind}": ids})
    st.session_state[f"{key}.mix"] = len(ids) > 1
    for name, style in zip(ids, styles, strict=True):
        st.session_state[f"{key}.weight.{name}"] = style.weight
