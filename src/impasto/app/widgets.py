"""Widgets, made from the settings that the library has, in words for everybody."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from impasto.app.request import COLOURS, Upload
from impasto.app.session import current
from impasto.controls import Controls
from impasto.methods import METHODS, method_class
from impasto.methods.gatys import GatysConfig

PRESETS: dict[str, dict[str, Any]] = {
    "Subtle": {"strength": 0.65, "detail": 1.0},
    "Painterly": {},
    "Bold": {"stroke_size": 1.6, "detail": 0.45},
    "My colours": {"preserve_color": "luminance"},
}
"""Controls that go together, by the name that a visitor chooses."""
FIRST = ("stroke_size", "strength", "detail", "preserve_color")
"""Controls that everybody sees, which are those of the presets."""
FOR_NETWORKS = ("stroke_size", "detail")
"""Controls that the optimiser refuses."""
STYLE_SIDES = {"style_size": 2048}
"""Longest sides to choose from: styles are measured as a whole, which takes memory."""
_WEIGHTS = {"adain": ("adain.base", "adain.small")}
LABELS = {
    "preserve_color": "Colours",
    "detail": "Detail of the photo",
    "size": "Longer side in pixels",
    "style_size": "Longer side of the painting",
    "tv_weight": "TV weight (smoothness)",
    "init": "Start from",
    "optimizer": "Optimiser",
}
"""Labels of settings, where they are not their names."""
HELP = {
    "preserve_color": "The painting's colours; or the photo's, so that only light and dark are "
    "painted; or the painting is first given the photo's palette, roughly (the library calls it "
    "coral) or exactly (histogram)."
}
"""What is told of settings, where the library's words are not for everybody."""
_OPTIMISER_KNOBS: dict[str, Any] = {
    "without": ("encoder", "pooling", "precision", "seconds", "avg_decay"),
    "choices": {"init": ("content", "noise", "style")},
    "defaults": {"iterations": 30},
    "limits": {
        "iterations": 1000,
        "learning_rate": 10,
        "content_weight": 1000,
        "style_weight": 1000,
        "tv_weight": 1000,
    },
}
_LARGEST_NUMBER = 2**53 - 1
"""The largest integer that JavaScript represents exactly."""


def take_files(
    label: str,
    key: str,
    kinds: Sequence[str],
    largest: int,
    told: str,
    *,
    several: bool = False,
) -> list[UploadedFile]:
    """An uploader; returns the files that a visitor has just given it.

    It is empty again afterwards, so that the server keeps each file once, and that the same file
    can be given again. They must be put away before anything else is drawn: there Streamlit ends
    the run for the next one if the visitor has done something, and they would be lost.

    Args:
        label: names it.
        key: before the names of its values in Streamlit's session.
        kinds: extensions, without dots.
        largest: megabytes that a file may have.
        told: what else there is to say about it.
        several: whether more than one file can be given at a time.
    """
    turns = f"{key}.turns"
    turn = st.session_state.setdefault(turns, 0)
    given = st.file_uploader(label, kinds, several, f"{key}.{turn}", told, max_upload_size=largest)
    listed = given if isinstance(given, list) else [given] if given else []
    if listed:
        st.session_state[turns] += 1
    # Browsers look at the size, but not everybody who sends files uses one.
    return [file for file in listed if file.size <= largest * 2**20]


def pick_preset(key: str) -> None:
    """Buttons that set the first controls to what goes together.

    Args:
        key: before the names of the widgets of `knobs`.
    """
    state, defaults = st.session_state, {knob.name: knob.default for knob in fields(Controls)}
    wanted = {
        name: {knob: options.get(knob, defaults[knob]) for knob in FIRST}
        for name, options in PRESETS.items()
    }
    now = {knob: state.get(f"{key}.{knob}", defaults[knob]) for knob in FIRST}
    state[f"{key}.preset"] = next((name for name in wanted if wanted[name] == now), None)

    def apply() -> None:
        chosen = state[f"{key}.preset"]
        for knob, value in wanted.get(chosen, {}).items():
            state[f"{key}.{knob}"] = value

    st.segmented_control("How it is painted", list(PRESETS), key=f"{key}.preset", on_change=apply)


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
        kind: a dataclass of `impasto.settings.setting` fields.
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
        limit = (limits or {}).get(knob.name, knob.metadata["max"])
        value = _knob(knob, f"{key}.{knob.name}", default, known, limit)
        if value is not None and value != knob.default:
            values[knob.name] = value
    return values


def _knob(
    knob: Field[Any], key: str, default: Any, choices: Sequence[str] | None, most: float | None
) -> Any:
    """The widget that fits the setting's type and bounds."""
    label = LABELS.get(knob.name, knob.name.replace("_", " ").capitalize())
    current().defaults[key] = knob.default
    st.session_state.setdefault(key, default)
    least, kind = knob.metadata["min"], int if str(knob.type).startswith("int") else float
    told = HELP.get(knob.name, knob.metadata["help"])
    if least is not None:
        told += f" From {least:g}" + (
            f" to {most:g}." if most and most < _LARGEST_NUMBER else " on."
        )
    common: dict[str, Any] = {"key": key, "help": told, "persist_state": "session"}
    if choices:
        names = COLOURS if knob.name == "preserve_color" else {}
        return st.segmented_control(
            label, choices, required=True, format_func=lambda one: names.get(one, one), **common
        )
    if knob.type == "bool":
        return st.toggle(label, **common)
    if least is not None and most is not None and most <= 100:
        return st.slider(label, kind(least), kind(most), step=kind((most - least) / 20), **common)
    return st.number_input(
        label,
        value=None,
        min_value=None if least is None else kind(least),
        max_value=None if most is None else kind(min(most, _LARGEST_NUMBER)),
        step=kind(1) if kind is int else 0.05,
        placeholder="automatic" if knob.default is None else str(knob.default),
        **common,
    )


def pick_method(key: str, *, trained: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Method, its own settings, and the optimiser's.

    Args:
        key: before the names of the widgets.
        trained: whether a trained style is chosen, which only one method paints.

    Returns:
        Options of `impasto.stylize`; and the optimiser's for going on from the picture, with its
        number of steps as ``iterations``, or None if it cannot.
    """
    names = ["auto", *(name for name in METHODS if (name == "fast") == trained)]
    told = "  \n".join(f"**{name}**: {METHODS[name].about}." for name in names[1:])
    current().defaults[f"{key}.method"] = "auto"
    st.session_state.setdefault(f"{key}.method", "auto")
    if st.session_state[f"{key}.method"] not in names:
        st.session_state[f"{key}.method"] = "auto"
    options: dict[str, Any] = {}
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
    st.markdown("**Optimiser**, which refines", help="It is also the method gatys, from scratch.")
    optimiser = knobs(GatysConfig, f"{key}.gatys", **_OPTIMISER_KNOBS)
    optimiser |= _snapshots(f"{key}.snapshot_every")
    if method == "gatys":
        return {"method": "gatys", **optimiser}, None
    optimiser.pop("init", None)
    return options, optimiser


def texture_knobs(key: str) -> dict[str, Any]:
    """What matters to a texture; see `pick_method`."""
    given = {**_OPTIMISER_KNOBS, "choices": {}}
    given["without"] = (*given["without"], "content_weight", "style_weight", "init")
    options = knobs(Controls, key, only=("style_size", "seed"), limits=STYLE_SIDES)
    return options | knobs(GatysConfig, f"{key}.gatys", **given)


def _snapshots(key: str) -> dict[str, int]:
    current().defaults[key] = None
    st.session_state.setdefault(key, None)
    every = st.number_input(
        "Snapshot every",
        1,
        value=None,
        key=key,
        help="Keep a copy of the picture each time this many steps are done.",
        placeholder="never",
        persist_state="session",
    )
    return {"snapshot_every": every} if every else {}


def size_key(page: str, photo: Upload) -> str:
    """Returns the key of the widget for the size, which starts anew for each size of photo."""
    return f"{page}-{max(photo.size)}"


def restore_knobs(key: str, options: Mapping[str, Any]) -> None:
    """Sets the widgets of `knobs` and `pick_method` with that key to what gives these options."""
    given = {**options, "iterations": options["refine"]} if "refine" in options else options
    for place, default in current().defaults.items():
        if place.startswith(f"{key}."):
            st.session_state[place] = given.get(place.rpartition(".")[2], default)
