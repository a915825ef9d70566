"""Styles made ready for workers: what is wrong with them is found here, before any photo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from impasto import gallery
from impasto.batch.folders import AnyFolder, LocalFolder, folder_of, parent_of, pictures_of
from impasto.batch.painter import StyleKit
from impasto.batch.plan import labels_of
from impasto.controls import LOOK_SUFFIX, Style
from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.images import Picture
from impasto.look import Look
from impasto.methods.fast import FastConfig
from impasto.naming import distinct
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer

_SIDE = 64
"""Of the stand-in photo that settings are tried on, where nothing is measured at its size."""


def found(styles: Sequence[str | os.PathLike[str]], scratch: Path) -> list[str]:
    """Styles one by one: folders are searched, and what is elsewhere is fetched.

    Args:
        styles: pictures, names, looks, weights files, and folders of pictures, as paths and URLs.
        scratch: folder for what is fetched.

    Raises:
        ControlError: there is no style.
        ImageError: a folder holds no pictures, or a picture cannot be fetched.
    """
    sources: list[str] = []
    for style in styles:
        folder = folder_of(style)
        if isinstance(folder, LocalFolder):
            inside = folder.path.is_dir()
            pictures = folder.pictures() if inside else []
            sources += [str(folder.path / one) for one in pictures] or [str(folder.path)]
        else:
            sources += _fetched(folder.url, scratch / str(len(sources)))
    if not sources:
        raise ControlError("no style is given: name a picture, or a folder with --styles")
    return list(dict.fromkeys(sources))


def _fetched(url: str, scratch: Path) -> Iterator[str]:
    """The files of pictures at a URL, fetched."""
    if url.endswith((LOOK_SUFFIX, ".safetensors")):
        folder: AnyFolder
        folder, name = parent_of(url)
        names = [name]
    else:
        folder, names = pictures_of(url)
    scratch.mkdir()
    for name, file in zip(names, distinct(Path(name).name for name in names), strict=True):
        path = scratch / file
        path.write_bytes(folder.read(name))
        yield str(path)


def prepare(
    sources: Sequence[str],
    recipe: Recipe,
    device: str,
    scratch: Path,
    stopped: Callable[[], bool],
) -> tuple[StyleKit, ...]:
    """Makes styles ready: measures them, if that does not depend on the photo.

    Args:
        sources: as `found` returns them.
        recipe: method, controls and settings.
        device: where to measure.
        scratch: folder for the looks.
        stopped: whether to stop; then some are missing.

    Raises:
        ImpastoError: a style cannot be painted so.
    """
    saved = [source.endswith(LOOK_SUFFIX) for source in sources]
    trained = [not s and _is_trained(one) for one, s in zip(sources, saved, strict=True)]
    # The method is for pictures, if there are any: trained styles have their own.
    looks = replace(recipe, method="auto", settings=_only_of_looks(recipe.settings))
    recipes = {True: recipe if all(trained) else looks, False: recipe}
    stylizers: dict[bool, Stylizer] = {}
    kits = []
    for number, (source, label) in enumerate(zip(sources, labels_of(sources), strict=True)):
        if stopped():
            break
        if saved[number]:
            own = recipe if all(saved) else replace(recipe, method="auto", settings={})
            kits.append(_of_look(source, label, own, device))
            continue
        kind = trained[number]
        if kind not in stylizers:
            stylizers[kind] = recipes[kind].stylizer(device)
        path = scratch / f"{number}{LOOK_SUFFIX}"
        kits.append(_of_style(source, label, recipes[kind], stylizers[kind], path))
    return tuple(kits)


def _is_trained(source: str) -> bool:
    return isinstance(gallery.resolve(source), TrainedLook)


def _only_of_looks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of trained styles among those given."""
    own = {knob.name for knob in fields(FastConfig)}
    return {name: value for name, value in settings.items() if name in own}


def _of_look(source: str, label: str, recipe: Recipe, device: str) -> StyleKit:
    """A saved look; it has its method, settings and styles, all of which hold."""
    look = Look.load(source, device=device)
    made = {name: value for name, value in look.recipe().items() if name != "impasto"}
    if own := recipe.differing(made):
        flag = f"--{own[0]}".replace("_", "-")
        raise ControlError(f"{source}: this look has its own method and styles: leave out {flag}")
    fitted = look.fit(_stand_in(_SIDE), **{**recipe.given, "size": None})
    controls = replace(fitted.controls, size=recipe.controls.size)
    return StyleKit(
        label,
        source,
        source,
        0,
        _settings(Recipe.of(made)),
        _told(replace(fitted, controls=controls), source),
    )


def _of_style(source: str, label: str, recipe: Recipe, stylizer: Stylizer, path: Path) -> StyleKit:
    """A picture or a trained look."""
    (style,) = stylizer.encode(Style(source))
    stylizer.check_controls([style], recipe.controls, stylizer.refine)
    area = style.method.footprint.style_area if isinstance(style.source, Picture) else None
    side = _SIDE if area is None else round(area**0.5)
    given = {**recipe.given, "size": None}
    if area is not None:  # of a network, which would paint the stand-in, coarse to fine
        given["stroke_size"] = 0
    look = replace(stylizer.fit(_stand_in(side), [style], **given), controls=recipe.controls)
    kit = StyleKit(label, source, None, 0, _settings(recipe), _told(look, source))
    if area is None:
        return kit
    try:
        look.save(path)
    except ControlError:  # it depends on the photo
        return kit
    return replace(kit, look=str(path), area=0 if recipe.controls.style_size else area)


def _stand_in(side: int) -> Picture:
    """A grey photo."""
    return Picture(torch.full((1, 3, side, side), 0.5))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Method and its settings, without the controls."""
    return {name: v for name, v in recipe.options.items() if name not in recipe.given}


def _told(look: Look, source: str) -> dict[str, Any]:
    """The recipe for pictures painted in a style."""
    style = {"source": Path(source).name, "weight": 1.0, "mask": None}
    return {**look.recipe(), "styles": [style]}
