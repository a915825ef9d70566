"""Pieces of pages: controls made from settings, pictures to click on, a job that is watched."""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, fields
from functools import cache, partial
from importlib import resources
from typing import Any

import altair as alt
import streamlit as st
from PIL import Image

from impasto import gallery, images
from impasto.app import UPLOAD_MB, max_pixels
from impasto.app.jobs import PREVIEW_SIDE, Job, Studio
from impasto.app.wish import UNPACKING, Chosen, Painted, Upload, as_url, command, python
from impasto.errors import ImpastoError
from impasto.methods import METHODS, method_class
from impasto.methods.gatys import GatysConfig
from impasto.style import Controls
from impasto.stylizer import Stylizer

_THUMBNAIL = 192
_TICK_S = 0.5
_DATA = resources.files("impasto") / "data"
_WEIGHTS = {"adain": ("adain.small", "adain.base")}
_OPTIMISER_KNOBS: dict[str, Any] = {
    "without": ("encoder", "pooling", "precision", "seconds", "average"),
    "choices": {"start": ("content", "noise", "style")},
    "defaults": {"iterations": 50},
    "limits": {"iterations": 1000},
}
STYLE_SIDES = {"style_size": 2048}
"""Styles are measured as a whole."""
_LARGEST_NUMBER = 2**53 - 1
"""That JavaScript holds exactly."""
FORMATS = sorted({extension.lstrip(".") for extension in images.FORMATS})


def _component(name: str, html: str) -> Any:
    """A piece of page out of ``static``."""
    static = resources.files("impasto.app") / "static"
    css, js = ((static / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component(f"impasto.{name}", html=html, css=css, js=js)


def _html(name: str) -> str:
    return (resources.files("impasto.app") / "static" / name).read_text(encoding="utf-8")


_choose = _component("choose", '<div class="pictures" role="group"></div>')
_compare = _component("compare", _html("compare.html"))
_masks = _component("masks", _html("masks.html"))


@st.cache_resource(show_spinner=False)
def studio() -> Studio:
    """The one that paints for all visitors; the network that most will use is warmed up."""
    made = Studio()

    def warm_up(_: Job) -> None:
        grey = Image.new("RGB", (64, 64), "grey")
        stylizer("auto").stylize(grey, grey)
        # Streamlit collects garbage after every run of a page. What is loaded by now is none, and
        # to look through it each time would take longer than all the rest of the run.
        gc.freeze()

    made.take(Job(warm_up, quick=True))
    return made


@st.cache_resource(show_spinner=False, max_entries=4)
def stylizer(method: str, **settings: Any) -> Stylizer:
    """A method, loaded once for all visitors."""
    return Stylizer(method, **settings)


# Pictures


@st.cache_data(show_spinner=False, max_entries=64)
def _small(upload: Upload) -> Image.Image:
    """A picture that a visitor brought, small."""
    with UNPACKING:
        image = images.to_pil(upload.read())
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


@cache
def known_styles() -> list[dict[str, str]]:
    """The paintings that come along, as `choose` shows them."""
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
    several: bool = False,
    strip: bool = False,
) -> list[str]:
    """Pictures to click on; returns the ids of those that are chosen.

    Args:
        items: ``id``, ``title`` and ``picture`` (a URL) of each, perhaps more ``about`` it.
        key: where in the session the choice is kept.
        label: for those who do not see the page.
        several: whether more than one can be chosen; a second click lets go of one.
        strip: in one row that scrolls.
    """
    ids = {item["id"] for item in items}

    def known() -> list[str]:
        names = [name for name in st.session_state.get(key, []) if name in ids]
        return names if several else names[-1:]

    def click() -> None:
        clicked, before = st.session_state[f"{key}.clicks"]["clicked"], known()
        left = [name for name in before if name != clicked]
        both = left if clicked in before else [*before, clicked]
        st.session_state[key] = both if several else [clicked]

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
        "styles": [{"id": id_of(style.source), "title": style.name} for style in styles],
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
    """Files that a visitor brought; not looked into yet."""
    limits = f"Up to {UPLOAD_MB} MB and {max_pixels() / 1e6:g} megapixels."
    given = st.file_uploader(label, FORMATS, several, key, limits, max_upload_size=UPLOAD_MB)
    listed = given if isinstance(given, list) else [given] if given else []
    return [Upload(file.name, file.getvalue()) for file in listed]


# Styles

PAINTINGS, TRAINED = "Paintings", "Trained styles"
MOST_STYLES, MOST_OWN = 6, 12
"""At a time, and in a session: each takes memory."""


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
            {"id": name, "title": upload.name, "picture": as_url(_small(upload), _THUMBNAIL)}
            for name, upload in own.items()
        ]
    mixed = st.toggle("Mix several", key=f"{key}.mix", persist_state="session")
    chosen = choose(items, f"{key}.{kind}", "Styles", several=mixed)
    if len(chosen) > MOST_STYLES:
        st.warning(f"Only the first {MOST_STYLES} are mixed.", icon=":material/info:")
    sources = {name: own.get(name, name) for name in chosen[:MOST_STYLES]}
    if len(sources) == 1:
        return [Chosen(source) for source in sources.values()]
    return [
        Chosen(source, _weight(f"{key}.weight.{name}", Chosen(source).name))
        for name, source in sources.items()
    ]


def _own_paintings(key: str) -> dict[str, Upload]:
    """All paintings that a visitor brought, by id; a new one is chosen by itself."""
    own: dict[str, Upload] = st.session_state.setdefault("own", {})
    for upload in upload_pictures("A painting of your own", f"{key}.files", several=True):
        name = id_of(upload)
        if name in own:
            continue
        if len(own) >= MOST_OWN:
            st.error(f"At most {MOST_OWN} paintings of your own.", icon=":material/error:")
            break
        try:
            _small(upload)
        except ImpastoError as error:
            st.error(sentence(error), icon=":material/error:")
        else:
            own[name] = upload
            st.session_state[key] = [*st.session_state.get(key, []), name]
    return own


def id_of(source: str | Upload) -> str:
    """What a style is known by among those to choose from."""
    if isinstance(source, str):
        return source
    return f"own {hashlib.sha256(source.name.encode() + source.data).hexdigest()}"


def _weight(key: str, name: str) -> float:
    st.session_state.setdefault(key, 1.0)
    told = "Share among the styles: only the ratio to the others matters."
    return st.slider(
        sentence(f"Weight of {name}"),
        0.0,
        2.0,
        step=0.1,
        key=key,
        help=told,
        persist_state="session",
    )


# Controls


def knobs(
    kind: type[Any],
    key: str,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
    defaults: Mapping[str, Any] | None = None,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Widgets for the settings of a dataclass; returns those that are not the dataclass's defaults.

    A setting that is any text gets a widget only if ``choices`` names what it may be: it could name
    a file, and the files here are none of a visitor's business.

    Args:
        kind: a dataclass of `impasto.style.setting` fields.
        key: before the names of the widgets.
        only: settings that get one; all of them by default.
        without: settings that get none.
        choices: for settings that are texts.
        defaults: to begin with, where they differ from the dataclass's.
        limits: of numbers that the dataclass does not limit, so that nobody keeps the others
            waiting for ever.
    """
    values = {}
    for knob in fields(kind):
        known = (choices or {}).get(knob.name) or knob.metadata["choices"]
        unlimited = str(knob.type).startswith("str") and not known
        if knob.name in without or unlimited or (only is not None and knob.name not in only):
            continue
        default = (defaults or {}).get(knob.name, knob.default)
        limit = (limits or {}).get(knob.name, knob.metadata["most"])
        value = _knob(knob, f"{key}.{knob.name}", default, known, limit)
        if value != knob.default:
            values[knob.name] = value
    return values


def _knob(
    knob: Field[Any], key: str, default: Any, choices: Sequence[str] | None, most: float | None
) -> Any:
    """The widget that fits the setting's type and bounds."""
    label = knob.name.replace("_", " ").capitalize()
    st.session_state.setdefault("knobs", {})[key] = knob.default
    st.session_state.setdefault(key, default)
    common: dict[str, Any] = {"key": key, "help": knob.metadata["help"], "persist_state": "session"}
    if choices:
        return st.segmented_control(label, choices, required=True, **common)
    if knob.type == "bool":
        return st.toggle(label, **common)
    least = knob.metadata["least"]
    kind = int if str(knob.type).startswith("int") else float
    if most is not None and most <= 100:
        return st.slider(label, kind(least), kind(most), step=kind((most - least) / 20), **common)
    return st.number_input(
        label,
        value=None,
        required=knob.default is not None,
        min_value=None if least is None else kind(least),
        max_value=None if most is None else kind(min(most, _LARGEST_NUMBER)),
        step=kind(1) if kind is int else 0.05,
        placeholder="by itself",
        **common,
    )


def pick_method(key: str, *, trained: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Method, its own settings, and the optimiser's.

    Args:
        key: before the names of the widgets.
        trained: whether a trained style is chosen, which only one method paints.

    Returns:
        Options of `impasto.stylize`; and what to add to them for the optimiser to go on from the
        picture, or None if it cannot.
    """
    names = ["auto", *(name for name in METHODS if method_class(name).trained == trained)]
    told = "  \n".join(f"**{name}**: {METHODS[name]}." for name in names[1:])
    st.session_state.setdefault("knobs", {})[f"{key}.method"] = "auto"
    st.session_state.setdefault(f"{key}.method", "auto")
    if st.session_state[f"{key}.method"] not in names:
        st.session_state[f"{key}.method"] = "auto"
    options: dict[str, Any] = {}
    with st.expander("Method", icon=":material/brush:"):
        method = st.segmented_control(
            "Method",
            names,
            required=True,
            key=f"{key}.method",
            help=f"**auto**: the first that fits.  \n{told}",
            persist_state="session",
        )
        if method not in (None, "auto", "gatys"):
            own = knobs(
                method_class(method).Config,
                f"{key}.{method}",
                without=("precision",),
                choices={"weights": _WEIGHTS.get(method, ())},
            )
            options = {"method": method, **own}
    if trained:
        return options, None
    with st.expander("Optimiser", icon=":material/auto_awesome:"):
        optimiser = knobs(GatysConfig, f"{key}.gatys", **_OPTIMISER_KNOBS)
        optimiser |= _snapshots(f"{key}.snapshot_every")
    if method == "gatys":
        return {"method": "gatys", **optimiser}, None
    optimiser.pop("start", None)
    return options, {"refine": optimiser.pop("iterations", GatysConfig.iterations), **optimiser}


def texture_knobs(key: str) -> dict[str, Any]:
    """What matters to a texture; see `pick_method`."""
    given = {**_OPTIMISER_KNOBS, "choices": {}}
    given["without"] = (*given["without"], "content_weight", "style_weight", "start")
    options = knobs(Controls, key, only=("style_size", "seed"), limits=STYLE_SIDES)
    return options | knobs(GatysConfig, f"{key}.gatys", **given)


def _snapshots(key: str) -> dict[str, int]:
    st.session_state.setdefault("knobs", {})[key] = None
    st.session_state.setdefault(key, None)
    every = st.number_input(
        "Snapshot every",
        1,
        value=None,
        key=key,
        help="Keep the picture of every so many steps.",
        placeholder="never",
        persist_state="session",
    )
    return {"snapshot_every": every} if every else {}


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


def restore_knobs(key: str, options: Mapping[str, Any]) -> None:
    """Sets the widgets of `knobs` and `pick_method` with that key to what gives these options."""
    given = {**options, "iterations": options["refine"]} if "refine" in options else options
    for place, default in st.session_state.get("knobs", {}).items():
        if place.startswith(f"{key}."):
            st.session_state[place] = given.get(place.rpartition(".")[2], default)


# Jobs


def sentence(error: object) -> str:
    """What went wrong, for people without a command line, in Markdown."""
    text = re.sub(r"(?<!\S)--(?=[a-z])", "", str(error))
    return re.sub(r"([\\`*_{}\[\]<>$#:~|])", r"\\\1", text)


def begin(job: Job, page: str) -> None:
    """Takes up a job of that page in place of the session's last one."""
    end()
    try:
        studio().take(job)
        st.session_state.update({"job": job, "job_page": page, f"{page}.failed": None})
    except ImpastoError as error:
        fail(page, error)


def end() -> None:
    """Lets go of the session's job."""
    job: Job | None = st.session_state.get("job")
    if job:
        job.stop()
    st.session_state.job = None


def running(page: str) -> Job | None:
    """The session's job, if it is that page's."""
    mine = st.session_state.get("job_page") == page
    return st.session_state.get("job") if mine else None


def watch_elsewhere(page: str) -> None:
    """Tells of the job of another page, and keeps it from being taken for deserted."""
    job: Job | None = st.session_state.get("job")
    if job is None or running(page):
        return
    line = st.empty()
    while not job.finished:
        line.info(f"On another page: {_progress(job)}.", icon=":material/brush:")
        job.wait(_TICK_S)
    line.info("On another page a picture is ready.", icon=":material/brush:")


def watch(page: str, finish: Callable[[Job], None]) -> None:
    """Shows the job of a page, if there is one, until it is done; then runs the page anew.

    Args:
        page: which was told to `begin`.
        finish: what to do with the job, if it has a result.
    """
    job = running(page)
    if job is None:
        return
    line, picture = st.empty(), st.empty()
    if not job.quick:
        st.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key="stop")
    shown = None
    if job.quick:  # done before there is anything to tell
        job.wait(_TICK_S)
    while not job.finished:
        line.progress(job.step / max(job.steps, 1), _progress(job))
        if job.preview is not None and job.preview is not shown:
            shown = job.preview
            width = f"min(100%, calc(72vh * {shown.width / shown.height}))"
            url = as_url(shown, PREVIEW_SIDE)
            picture.html(f'<img class="preview" src="{url}" style="width: {width}" alt="So far">')
        job.wait(_TICK_S)
    st.session_state.job = None
    fail(page, job.error)
    if job.result is not None:
        finish(job)
    st.rerun()


def _progress(job: Job) -> str:
    ahead = studio().ahead(job)
    if ahead and not job.started:
        return f"Waiting: {ahead} before you"
    if job.stopped:
        return "Stopping after this step"
    if not job.steps:
        return "Painting"
    losses = job.history.rows[-1] if job.history.rows else {}
    told = [f"{name} {losses[name]:.3g}" for name in ("content", "style", "tv") if losses.get(name)]
    return ", ".join([f"Step {job.step} of {job.steps}", *told])


def fail(page: str, error: object | None) -> None:
    """Takes down what went wrong on a page; None if nothing did."""
    st.session_state[f"{page}.failed"] = None if error is None else sentence(error)


def failure(page: str) -> None:
    """Tells what went wrong last on a page, if anything did."""
    told = st.session_state.get(f"{page}.failed")
    if told:
        st.error(told, icon=":material/error:")


# What there is to do with a picture


def download(label: str, data: Callable[[], bytes] | bytes, name: str) -> None:
    """A button for a file, made when it is clicked."""
    st.download_button(label, data, name, icon=":material/download:", on_click="ignore")


def share(painted: Painted) -> None:
    """Downloads, and how to make the same picture without the app."""
    wish = painted.wish
    with st.container(horizontal=True):
        download("PNG", partial(painted.encode, ".png"), f"{wish.title}.png")
        download("JPEG", partial(painted.encode, ".jpg"), f"{wish.title}.jpg")
        if wish.masks:
            download("Masks", wish.zip_masks, "masks.zip")
        with st.popover("As code", icon=":material/code:"):
            st.caption("On the command line")
            st.code(command(wish), "bash", wrap_lines=True)
            st.caption("In Python")
            st.code(python(wish), "python", wrap_lines=True)
    for note in painted.notes:
        st.caption(sentence(note))


def left_behind(job: Job) -> None:
    """What the optimiser left besides the picture."""
    if job.stopped and job.step < job.steps:
        st.caption(f"Stopped after step {job.step} of {job.steps}.")
    if job.history.rows:
        losses = st.expander("Losses", icon=":material/show_chart:", on_change="rerun")
        if losses.open:
            with losses:
                plot_losses(job.history.rows)
    if job.snapshots:
        snapshots = st.expander("Snapshots", icon=":material/animation:", on_change="rerun")
        if snapshots.open:
            columns = snapshots.columns(3)
            for n, (step, image) in enumerate(job.snapshots.items()):
                columns[n % 3].image(image, f"Step {step}")


def plot_losses(rows: Sequence[Mapping[str, float]]) -> None:
    """The losses against the steps; interactive."""
    points = [
        {"step": row["step"], "loss": name, "weighted": value}
        for row in rows
        for name, value in row.items()
        if name != "step" and value > 0
    ]
    chart = (
        alt.Chart({"values": points})
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("weighted:Q", title="weighted loss", scale=alt.Scale(type="log")),
            color=alt.Color("loss:N", title=None),
            tooltip=["loss:N", "step:Q", alt.Tooltip("weighted:Q", format=".4g")],
        )
        .interactive()
    )
    st.altair_chart(chart, alt="The losses at each step")
