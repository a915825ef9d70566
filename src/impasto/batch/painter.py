"""What workers do with a photo, on this machine or another: read, paint, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from impasto import images
from impasto.batch.folders import AnyFolder
from impasto.batch.plan import Names, Task, drawn
from impasto.controls import Style
from impasto.encoding import EncodedStyle
from impasto.errors import SetupError, WeightsError, reason
from impasto.images import Picture
from impasto.look import Look, render_size
from impasto.methods import Progress
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer

_LOOKS, _PICTURES = 32, 4
"""How many styles a worker keeps: measured ones, and pictures of them."""


@dataclass(frozen=True)
class StyleKit:
    """A style, ready for workers."""

    label: str
    """Its name in those of paintings."""
    source: str
    """Its picture or weights file, or its name; the file of a saved look."""
    look: str | None
    """The look in which it is measured already, as a file; None if it depends on the photo."""
    area: int
    """The look holds for results of so many pixels or more; smaller ones have finer strokes."""
    settings: Mapping[str, Any]
    """Method and its settings, as keyword arguments of `impasto.stylize`."""
    recipe: Mapping[str, Any]
    """The recipe to write into pictures, but for the strength."""


@dataclass(frozen=True)
class Kit:
    """All that workers need to know."""

    photos: AnyFolder
    output: AnyFolder
    styles: tuple[StyleKit, ...]
    names: Names
    controls: Mapping[str, Any]
    """The controls that were given, but for the strength."""
    strengths: tuple[float, float]
    """The least and the greatest strength; they are the same if it is not drawn."""
    strip_metadata: bool
    device: str
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    """What the driver's files hold, by their names above, for workers on other machines."""

    def read(self, photo: str) -> Picture:
        """A photo at the size that it is painted at.

        Raises:
            ImpastoError: it cannot be read, or is too small or too large.
        """
        picture = images.decode(self.photos.read(photo), photo)
        picture = picture.resized(*render_size(picture.size, self.controls.get("size")))
        return replace(picture, metadata=None) if self.strip_metadata else picture

    def write(self, task: Task, style: int, painted: Picture) -> None:
        """Writes a painting with its recipe.

        Raises:
            OutputError: it cannot be written.
        """
        name = self.names.of(task.stem, style)
        recipe = {**self.styles[style].recipe, "strength": self.strength(task, style)}
        self.output.write(name, images.encode(Path(PurePosixPath(name).name), painted, recipe))

    def strength(self, task: Task, style: int) -> float:
        """The strength of a painting."""
        seed = self.controls.get("seed", 0)
        return drawn(self.strengths, seed, task.photo, self.styles[style].label)


@dataclass(frozen=True)
class Outcome:
    """What became of a painting; or of all paintings of a photo that cannot be read."""

    photo: str
    style: str = ""
    """The style's name; empty if it is about all."""
    error: str = ""
    """What went wrong; empty if it is painted."""
    pictures: int = 1
    """How many paintings it is about."""


class Abandoned(Exception):  # noqa: N818 - nothing is wrong
    """A painting was given up, since work is to end."""


class Painter:
    """A worker: it loads networks and styles when they are first needed, and keeps them.

    Args:
        kit: what to paint, and how.
    """

    def __init__(self, kit: Kit) -> None:
        # The bits of a painting depend on the number of threads: everywhere it is the same.
        torch.set_num_threads(1)
        self.kit = kit
        # For files of the driver's; it goes when the process ends.
        self._folder = tempfile.TemporaryDirectory(prefix="impasto-") if kit.files else None
        self._stylizers: dict[str, Stylizer] = {}
        self._look = lru_cache(_LOOKS)(self._load_look)
        self._encoded = lru_cache(_PICTURES)(self._encode)

    def paint(
        self, task: Task, photo: Picture, style: int, stopped: Callable[[], bool] = bool
    ) -> Picture:
        """Paints a photo in a style.

        Args:
            task: the photo's names.
            photo: as `Kit.read` returns it.
            style: number of the style.
            stopped: whether to give up.

        Raises:
            Abandoned: it was stopped.
            ImpastoError: it cannot be painted.
        """

        def on_step(_: Progress) -> None:
            if stopped():
                raise Abandoned

        one, controls = self.kit.styles[style], dict(self.kit.controls)
        controls["strength"] = self.kit.strength(task, style)
        if one.look is not None and photo.size[0] * photo.size[1] >= one.area:
            look = self._look(style).fit(photo, **controls)
        else:
            look = self._stylizer(one).fit(photo, self._encoded(style), **controls)
        painted: Picture = look(on_step=on_step)
        return painted

    def outcomes(self, task: Task, stopped: Callable[[], bool]) -> Iterator[Outcome]:
        """Does all of a task.

        Args:
            task: what to do.
            stopped: whether to stop; a painting that is not done is given up.

        Yields:
            What became of each painting; nothing of those that were not done.

        Raises:
            WeightsError, SetupError: something is wrong whatever the photo.
        """
        if stopped():
            return
        try:
            photo = self.kit.read(task.photo)
        except Exception as error:  # whatever it is, the other photos are painted
            yield failed(task, "", error, len(task.styles))
            return
        for style in task.styles:
            label = self.kit.styles[style].label
            try:
                self.kit.write(task, style, self.paint(task, photo, style, stopped))
            except Abandoned:
                return
            except (WeightsError, SetupError):
                raise
            except Exception as error:
                yield failed(task, label, error)
            else:
                yield Outcome(task.photo, label)

    def _stylizer(self, style: StyleKit) -> Stylizer:
        key = repr(sorted(style.settings.items()))
        if key not in self._stylizers:
            settings = {name: self._here(value) for name, value in style.settings.items()}
            self._stylizers[key] = Recipe.of(settings).stylizer(self.kit.device)
        return self._stylizers[key]

    def _load_look(self, style: int) -> Look:
        one = self.kit.styles[style]
        return Look.load(self._here(one.look), stylizer=self._stylizer(one))

    def _encode(self, style: int) -> list[EncodedStyle]:
        one = self.kit.styles[style]
        return self._stylizer(one).encode(Style(self._here(one.source)))

    def _here(self, value: Any) -> Any:
        """A setting; if it names a file of the driver's, the name of that file here."""
        path, mark, look = str(value).partition("#")
        if self._folder is None or path not in self.kit.files:
            return value
        number = list(self.kit.files).index(path)
        place = Path(self._folder.name, str(number), Path(path).name)
        if not place.exists():
            place.parent.mkdir()
            place.write_bytes(self.kit.files[path]())
        return f"{place}{mark}{look}"


def failed(task: Task, style: str, error: BaseException, pictures: int = 1) -> Outcome:
    """What became of a photo that cannot be painted, in the words of the error."""
    text = reason(error).removeprefix(f"{task.photo}: ")
    return Outcome(task.photo, style, text, pictures)
