"""The page that everybody sees first: a photo, styles, controls, and the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from PIL import Image

from impasto import images
from impasto.app import controls, max_pixels, pictures, visit
from impasto.app.job_queue import Job
from impasto.app.wish import (
    UNPACKING,
    Chosen,
    Painted,
    Upload,
    Wish,
    as_url,
    paint,
    read_masks,
)
from impasto.controls import Controls
from impasto.errors import ImpastoError
from impasto.recipes import Recipe

FIRST_STYLE = "starry-night"
"""What examples are painted in, unless a style is chosen."""
_PAGE, _REFINE, _PICTURES = "paint", "refine", "pictures"
_SIDE = 1024
"""Longer side of pictures, in pixels, unless told otherwise."""
_QUICK_PIXELS = 3e6
"""Networks paint this many pixels, times the number of styles, in seconds."""
KEPT, KEPT_BYTES = 12, 200e6
"""How many pictures a session keeps, and how much memory they may take."""


@dataclass(frozen=True)
class Photo:
    """The photo that is being painted."""

    upload: Upload
    size: tuple[int, int]
    """Width and height."""
    url: str

    @classmethod
    def of(cls, upload: Upload) -> Photo:
        """Reads a photo from a file.

        Raises:
            ImageError, TooLargeError: one sentence.
        """
        with UNPACKING:
            image = images.to_pil(upload.read())
            return cls(upload, image.size, as_url(image))


@dataclass(frozen=True)
class Kept:
    """A picture of this session, with all it takes to paint it again."""

    painted: Painted
    photo: Photo
    drawn: dict[str, str]
    """With the brush."""
    url: str
    thumbnail: str

    @classmethod
    def of(cls, painted: Painted, photo: Photo, drawn: dict[str, str]) -> Kept:
        """With its pictures for the page."""
        return cls(painted, photo, drawn, as_url(painted.image), as_url(painted.image, 192))


def page() -> None:
    """The page."""
    photo: Photo | None = st.session_state.get("photo")
    if photo is None:
        _welcome()
        return
    left, right = st.columns([8, 5], gap="large")
    sight = left.container(key="sight")
    easel, stage, below = sight.container(), sight.container(), sight.container()
    with right:
        asked = _ask(photo, easel)
    if asked:
        _begin_if_wanted(asked, photo)
    job = _shown()
    kept: Kept | None = job.result if job else None
    with below:
        _actions(asked, kept)
        if job:
            visit.left_behind(job)
        _history(asked, kept)
    with stage:
        visit.failure(_PAGE)
        _show(photo, asked, kept)


def _welcome() -> None:
    _, middle, _ = st.columns([1, 3, 1])
    with middle:
        st.title("Paint your photo in the style of any artwork")
        given = pictures.upload_pictures("Drop a photo here", "photo_file")
        if st.toggle("Use the camera", key="camera"):
            taken = st.camera_input("Take a photo", label_visibility="collapsed")
            given = [Upload(taken.name, taken.getvalue())] if taken else given
        examples = pictures.example_photos()
        if given:
            _set_photo(given[0])
        visit.failure(_PAGE)
        history: dict[str, Job] = st.session_state.get("history", {})
        if history:
            last = next(reversed(history.values())).result
            st.button("Back to your pictures", on_click=_restore, args=(last,))
        st.write("No photo at hand? Start with one of these:")
        titles = ("Chelsea the cat", "Coffee", "Eileen Collins, astronaut")
        shown = [
            {"id": name, "title": title, "picture": pictures.thumbnail(upload, 288)}
            for title, (name, upload) in zip(titles, examples.items(), strict=True)
        ]
        chosen = pictures.choose(shown, "example", "Example photos", strip=True)
        if chosen:
            st.session_state.example = []
            if not st.session_state.get("history"):
                pictures.restore_styles("styles", [Chosen(FIRST_STYLE)])
            _set_photo(examples[chosen[0]])


def _set_photo(upload: Upload) -> None:
    try:
        st.session_state.photo = Photo.of(upload)
    except ImpastoError as error:
        visit.fail(_PAGE, error)
        return
    pictures.set_masks({})
    visit.fail(_PAGE, None)
    st.session_state.update({"wanted": None, _PICTURES: []})
    st.rerun()


def _another_photo() -> None:
    visit.end()
    visit.fail(_PAGE, None)
    st.session_state.update({"photo": None, _PICTURES: []})


@dataclass(frozen=True)
class Asked:
    """What the controls say."""

    wish: Wish
    refined: Wish | None
    """The same picture, finer; None where that makes no sense."""


def _ask(photo: Photo, easel: Any) -> Asked | None:
    """Styles and controls; None as long as there is no style.

    Args:
        easel: where masks are painted.
    """
    styles = pictures.pick_styles("styles")
    drawn: dict[str, str] = {}
    masked = st.toggle(
        "Paint only where I draw",
        key="masked",
        disabled=not styles,
        help="Draw on the photo where each style goes.",
        persist_state="session",
    )
    if styles and masked:
        with easel:
            st.caption("Draw on the photo. A style that you do not draw anywhere fills the rest.")
            drawn = pictures.paint_masks(photo.url, photo.size, styles)
    masks = read_masks(drawn, [pictures.id_of(style.source) for style in styles])
    chosen = tuple(replace(style, mask=mask) for style, mask in zip(styles, masks, strict=True))
    st.subheader("Controls", anchor=False)
    longer, trained = max(photo.size), any(style.trained for style in styles)
    first = ("strength", *controls.FOR_NETWORKS, "preserve_color")
    options = controls.knobs(Controls, _PAGE, only=first)
    with st.expander("More", icon=":material/tune:"):
        begins = {"size": min(longer, _SIDE)}
        # The longest that is no more than all the pixels that are painted here.
        most = {"size": int((max_pixels() * longer / min(photo.size)) ** 0.5)}
        options |= controls.knobs(
            Controls, _size_key(photo), only=("size",), defaults=begins, limits=most
        )
        later = ("seed",) if trained else ("style_size", "seed")
        options |= controls.knobs(Controls, _PAGE, only=later, limits=controls.STYLE_SIDES)
    if options.get("size") == longer:
        del options["size"]
    method, optimiser = controls.pick_method(_PAGE, trained=trained)
    if method.get("method") == "gatys":
        options = {k: v for k, v in options.items() if k not in controls.FOR_NETWORKS}
    if not styles:
        return None
    finer = None if optimiser is None else {**options, **method, **optimiser}
    refined = None if finer is None else _wish(photo, chosen, finer)
    return Asked(_wish(photo, chosen, {**options, **method}), refined)


def _wish(photo: Photo, styles: tuple[Chosen, ...], options: dict[str, Any]) -> Wish:
    return Wish(photo.upload, styles, options, options.pop("snapshot_every", 0))


def _size_key(photo: Photo) -> str:
    """Key of the widget for the size, which starts anew for each size of photo."""
    return f"{_PAGE}-{max(photo.size)}"


def _begin_if_wanted(asked: Asked, photo: Photo) -> None:
    """Paints what a button asked for; or a new wish, unless it is slow or a long job runs."""
    session = st.session_state
    job: Job | None = session.get("job")
    waits = session.pop("restored", False) or (job and not job.quick)
    new = asked.wish != session.get("wanted")
    session.wanted = asked.wish
    if visit.clicked(_REFINE):
        if asked.refined:
            _begin(asked.refined, photo)
    elif visit.clicked(_PAGE) or (new and not waits and _quick(asked.wish, photo)):
        _begin(asked.wish, photo)


def _actions(asked: Asked | None, kept: Kept | None) -> None:
    """Buttons and notes below the picture."""
    with st.container(horizontal=True):
        if asked:
            _buttons(asked, kept)
        st.button("Another photo", icon=":material/add_a_photo:", on_click=_another_photo)
        if kept:
            visit.share(kept.painted)
    if kept:
        for note in kept.painted.notes:
            st.caption(visit.sentence(note))
    if asked and kept and not _here(asked, kept) and visit.running(_PAGE) is None:
        st.caption("This picture was painted with different settings from those shown now.")
    if asked and any(style.trained for style in asked.wish.styles):
        st.caption(
            "A trained style cannot be refined, for there is no picture of it to come closer to. "
            "To refine, choose a painting."
        )


def _show(photo: Photo, asked: Asked | None, kept: Kept | None) -> None:
    """The picture, and the next one while it is being painted."""
    job = visit.running(_PAGE)
    if job is None or job.quick:  # a long one shows itself
        url, size = (kept.url, kept.painted.image.size) if kept else (photo.url, photo.size)
        pictures.compare(kept.photo.url if kept else photo.url, url, size, "compare")
        if not asked and not kept:
            st.caption("Choose a style, and the picture will appear here.")
    visit.watch(_PAGE, _keep)


def _quick(wish: Wish, photo: Photo) -> bool:
    slow = wish.options.get("method") == "gatys" or "refine" in wish.options
    longer = max(photo.size)
    scale = wish.options.get("size", longer) / longer
    pixels = photo.size[0] * photo.size[1] * scale**2 + wish.options.get("style_size", 0) ** 2
    return not slow and pixels * len(wish.styles) <= _QUICK_PIXELS


def _begin(wish: Wish, photo: Photo) -> None:
    recipe = Recipe.of(wish.options)
    drawn = dict(st.session_state.get("drawn", {})) if wish.masks else {}

    def work(job: Job) -> Kept:
        painter = visit.stylizer(recipe.method, refine=recipe.refine, **recipe.settings)
        return Kept.of(paint(wish, painter, job.on_step), photo, drawn)

    quick = _quick(wish, photo)
    visit.begin(Job(work, quick=quick, snapshot_every=wish.snapshot_every), _PAGE)


def _buttons(asked: Asked, kept: Kept | None) -> None:
    busy = visit.running(_PAGE) is not None
    if not busy and not (kept and _here(asked, kept)):
        visit.button(_PAGE, "Paint", "brush")
    if asked.wish.options.get("method") != "gatys":
        visit.button(
            _REFINE,
            "Refine",
            "auto_awesome",
            disabled=busy or asked.refined is None,
            help="Bring the picture closer to the painting with the optimiser. This takes minutes.",
        )


def _here(asked: Asked, kept: Kept) -> bool:
    """Whether this picture is what is asked for."""
    return kept.painted.wish in (asked.wish, asked.refined)


def _keep(job: Job) -> None:
    """Puts a picture into the session's history."""
    history: dict[str, Job] = st.session_state.setdefault("history", {})
    count = st.session_state.get("count", 0) + 1
    name = f"picture-{count}"
    history[name] = job
    while len(history) > 1 and (len(history) > KEPT or _memory(history.values()) > KEPT_BYTES):
        del history[next(iter(history))]
    st.session_state.update({"count": count, _PICTURES: [name]})


def _memory(history: Iterable[Job]) -> int:
    """Bytes that pictures take, and the photos that they are of."""
    pictures, photos = list[Image.Image](), dict[int, bytes]()
    for job in history:
        kept: Kept = job.result
        pictures += [kept.painted.image, *job.snapshots.values()]
        photos[id(kept.photo)] = kept.photo.upload.data
    return sum(3 * image.width * image.height for image in pictures) + sum(
        map(len, photos.values())
    )


def _shown() -> Job | None:
    """The job whose picture is looked at."""
    history: dict[str, Job] = st.session_state.get("history", {})
    return next(
        (history[name] for name in st.session_state.get(_PICTURES, []) if name in history), None
    )


def _history(asked: Asked | None, kept: Kept | None) -> None:
    """Pictures of this session, one of which is looked at."""
    history: dict[str, Job] = st.session_state.get("history", {})
    if len(history) < 2:
        return
    st.subheader("Your pictures", anchor=False)
    items = [
        {"id": name, "title": _told(job.result.painted.wish), "picture": job.result.thumbnail}
        for name, job in reversed(history.items())
    ]
    pictures.choose(items, _PICTURES, "Pictures of this session", strip=True)
    if kept and not (asked and _here(asked, kept)):
        st.button("Use these settings again", on_click=_restore, args=(kept,))


def _told(wish: Wish) -> str:
    """A wish in a few words."""
    alone = len(wish.styles) == 1
    told = [style.title if alone else f"{style.title} {style.weight:g}" for style in wish.styles]
    masked = ["masks"] if wish.masks else []
    options = [f"{name.replace('_', ' ')} {value}" for name, value in wish.options.items()]
    return ", ".join([*told, *masked, *options])


def _restore(kept: Kept) -> None:
    wish = kept.painted.wish
    history: dict[str, Job] = st.session_state.history
    shown = [name for name, job in history.items() if job.result is kept]
    pictures.set_masks(kept.drawn)
    st.session_state.update({"photo": kept.photo, "masked": bool(kept.drawn), "restored": True})
    st.session_state[_PICTURES] = shown
    pictures.restore_styles("styles", wish.styles)
    snapshots = wish.snapshot_every or None
    controls.restore_knobs(_PAGE, {**wish.options, "snapshot_every": snapshots})
    controls.restore_knobs(_size_key(kept.photo), {"size": max(kept.photo.size), **wish.options})
