"""`FilmPainter` paints the frames of a film, each going on from the one before; `paint` does so for
arrays.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from impasto import formats, gallery, images
from impasto.controls import Style
from impasto.encoding import Styles, as_styles
from impasto.errors import ControlError, ImageError
from impasto.gallery import TrainedLook
from impasto.images import ImageLike
from impasto.look import Look, render_size
from impasto.methods import Memory, Past
from impasto.mixing import Mix
from impasto.motion import Motion
from impasto.options import Options
from impasto.recipes import Recipe
from impasto.settings import check_settings, setting
from impasto.stylizer import Stylizer
from impasto.video.flow import motion_between
from impasto.video.frames import ArrayFrame, Frame, Pixels, resized
from impasto.video.keyframes import Keyframes
from impasto.video.prefetch import prefetch
from impasto.video.reader import open_film
from impasto.video.shots import shot_samples, with_cuts

_LOOKAHEAD = 25
"""Frames that are kept to find samples of a shot in, where a film cannot be read twice."""
_FLOW_AREA = 1280 * 720
"""Flow is estimated on no more pixels than this."""
_OLDEST = 20.0
"""Frames that a painting counts for at most, so that at least a twentieth is painted anew. Taken
over whole, from frame to frame, it would become harsher and harsher."""
_AHEAD = 2
"""So many frames have their flow before they are needed."""


@dataclass(frozen=True)
class FilmControls:
    """What a painted film is to be like, beside what its frames are to be like."""

    stability: float = setting(
        0.9,
        "How much of the painting follows the motion of the picture from frame to frame: 0 paints "
        "every frame by itself, which flickers; 1 changes it only where something new comes into "
        "view.",
        min=0,
        max=1,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class _Prepared:
    """A frame, with what is known of it before it is painted."""

    frame: Frame
    samples: Sequence[Pixels] | None
    """Frames of the shot, if the look is to be fitted to them now."""
    motion: Motion | None
    """How the picture moved since the frame before; None for the first of a shot."""


class FilmPainter:
    """Paints the frames of a film, all of a shot in one look, each going on from the one before.

    Args:
        recipe: method, controls and settings of the frames.
        styles: one or several, as `impasto.stylize` takes them; a style's mask may also be a film,
            whose frames belong to those of the film that is painted.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        stability: how much of the painting follows the motion of the picture, 0..1; see
            `FilmControls`.
        keyframes: weights of the styles over time, in place of their own; None for the latter.

    Raises:
        ControlError: there is no such method, setting or style, or a value is not allowed.
        ImageError: a style picture cannot be read.
        SetupError: there is no such device.
        WeightsError: weights are missing or damaged.
    """

    def __init__(
        self,
        recipe: Recipe,
        styles: Styles,
        *,
        device: str = "auto",
        stability: float = FilmControls.stability,
        keyframes: Keyframes | None = None,
    ) -> None:
        self.stability = FilmControls(stability).stability
        if recipe.controls.stop_after is not None:
            raise ControlError("stop_after is for a single picture: leave it out for a film")
        self.keyframes = keyframes
        self.memory: Memory = {}
        """What the next frame needs of the one before; it can be kept, to go on from there."""
        given = [one if isinstance(one, Style) else one.style for one in as_styles(styles)]
        if keyframes is not None:
            keyframes.check_styles(len(given))
            given = [
                replace(one, weight=mean) for one, mean in zip(given, keyframes.mean, strict=True)
            ]
            if sum(isinstance(gallery.resolve(one.source), TrainedLook) for one in given) > 1:
                # Parameters are mixed once for all frames.
                settings = {"blending": "outputs", **recipe.settings}
                if settings["blending"] != "outputs":
                    raise ControlError(
                        "styles that change over time are blended as pictures: leave out blending"
                    )
                recipe = replace(recipe, settings=settings)
        self.masks = [_Mask(one.mask) for one in given]
        self.stylizer: Stylizer = recipe.stylizer(device)
        still = [None if mask.moves else mask.source for mask in self.masks]
        self.styles = self.stylizer.encode(
            [replace(one, mask=mask) for one, mask in zip(given, still, strict=True)]
        )
        self.controls, self.given = recipe.controls, recipe.given
        self.stylizer.check_controls(self.styles, self.controls, self.stylizer.refine)

    def paint(
        self,
        film_frames: Iterable[Frame],
        scout: Iterable[Frame] | None = None,
        done: int = 0,
        memory: Mapping[str, Tensor] | None = None,
    ) -> Generator[Pixels]:
        """Paints the frames of a film.

        Args:
            film_frames: all frames of the film, in order.
            scout: another reading of the same frames, which runs ahead to look at each shot as a
                whole; None to look some frames ahead only.
            done: how many frames were painted already.
            memory: what `memory` was after these.

        Yields:
            The painted frames from number ``done`` on, (H, W, 3) or (H, W, 4).

        Raises:
            ControlError: a value is not allowed, or the method cannot paint these styles.
            ImageError: a mask cannot be read.
            TooLargeError: the frames need more memory than is free.
        """
        self.memory = dict(memory or {})
        for mask in self.masks:
            mask.rewind(done)
        shots = _looked_ahead(film_frames) if scout is None else _scouted(film_frames, scout)
        look: Look | None = None
        with closing(prefetch(self._prepared(shots, done), _AHEAD)) as prepared:
            for one in prepared:
                if one.samples is not None:
                    look = self._fitted(one.samples)
                assert look is not None
                motion, age = self._ripened(one.motion)
                past = None if motion is None else Past(self.memory, motion)
                pixels, self.memory = replace(look, mix=self._mix(look, one.frame)).follow(
                    one.frame.pixels, past
                )
                if age is not None:
                    self.memory["age"] = age
                yield pixels

    def _prepared(
        self, shots: Iterable[tuple[Frame, Sequence[Pixels] | None]], done: int
    ) -> Iterator[_Prepared]:
        """The frames that are to be painted, with their motion."""
        before: Frame | None = None
        latest: Sequence[Pixels] = ()
        for number, (frame, samples) in enumerate(shots):
            latest = samples or latest
            if number >= done:
                cut = samples is not None or before is None
                motion = None if cut else self._motion(frame, before)
                yield _Prepared(frame, latest if samples or number == done else None, motion)
            before = frame

    def _motion(self, frame: Frame, before: Frame | None) -> Motion:
        """How the picture moved since the frame before, at the size that is painted or less."""
        assert before is not None
        height, width = render_size(frame.pixels.shape[:2], self.controls.size)
        scale = min(math.sqrt(_FLOW_AREA / (height * width)), 1)
        size = (round(height * scale), round(width * scale))
        small = [resized(one.pixels[..., :3], *size) for one in (frame, before)]
        return motion_between(*small).resized(height, width)

    def _ripened(self, motion: Motion | None) -> tuple[Motion | None, Tensor | None]:
        """The motion with as much trust as a painting has earned, and the age of the painting at
        each pixel, (1, 1, H, W), in frames that went into it.

        What has just come into view is painted beside the edge of what hid it, which shows. So it
        is not kept as it is, but becomes the mean of all frames that it is seen in.
        """
        if motion is None:
            return None, None
        if "age" not in self.memory:
            self.memory["age"] = torch.ones_like(motion.trust)
        age = (motion.trust * motion.moved(self.memory["age"], "bilinear") + 1).clamp(max=_OLDEST)
        trust = (motion.trust * self.stability).minimum(1 - 1 / age)
        return replace(motion, trust=trust), age

    def _fitted(self, samples: Sequence[Pixels]) -> Look:
        """The look of a shot, fitted to some of its frames."""
        look = self.stylizer.fit(samples[0], self.styles, **self.given)
        look.fit_frames(samples)
        return look

    def _mix(self, look: Look, frame: Frame) -> Mix:
        """How much of which style goes where on a frame."""
        if self.keyframes is None and not any(mask.moves for mask in self.masks):
            return look.mix
        weights = [style.style.weight for style in self.styles]
        if self.keyframes is not None:
            weights = self.keyframes.at(float(frame.time))
        masks = [mask.next(look.size) for mask in self.masks]
        if all(mask is None for mask in masks):
            return Mix.of(*look.size, weights, masks, self.controls.strength)
        # A mask that moves may be black for a while.
        shares = [
            weight if mask is None or mask.any() else 0.0
            for weight, mask in zip(weights, masks, strict=True)
        ]
        if sum(shares) == 0:
            nowhere = torch.zeros(1 + len(masks), *look.size)
            nowhere[0] = 1
            return Mix(nowhere, self.controls.strength)
        return replace(
            Mix.of(*look.size, shares, masks, self.controls.strength),
            strength=self.controls.strength,
        )


class _Mask:
    """Where a style goes: everywhere, or where a picture or a film's frames are white."""

    def __init__(self, source: ImageLike | None) -> None:
        self.source = source
        path = Path(source) if isinstance(source, (str, Path)) else None
        self.moves = path is not None and (
            path.is_dir() or path.suffix.lower() not in formats.readable()
        )
        self._frames: Iterator[Frame] = iter(())
        self._last: Tensor | None = None

    def rewind(self, done: int) -> None:
        """Goes to the frame that belongs to frame number ``done``."""
        if self.moves:
            self._frames = iter(open_film(Path(str(self.source))).read())
            for _ in range(done):
                next(self._frames, None)

    def next(self, size: tuple[int, int]) -> Tensor | None:
        """The mask (H, W) of the next frame; after the mask's end its last one."""
        if self.source is None:
            return None
        if not self.moves:
            if self._last is None:
                self._last = images.read_mask(self.source, *size)
            return self._last
        frame = next(self._frames, None)
        if frame is not None:
            if frame.pixels.shape[:2] != size:
                height, width = frame.pixels.shape[:2]
                raise ImageError(
                    f"mask {self.source}: it is {width}x{height}, the film is {size[1]}x{size[0]}; "
                    "a mask must have the film's size"
                )
            values = torch.from_numpy(frame.pixels / np.float32(255))  # (H, W, 3 or 4)
            self._last = values[..., :3].mean(-1) * values[..., 3:].prod(-1)
        return self._last


def _scouted(
    frames: Iterable[Frame], scout: Iterable[Frame]
) -> Iterator[tuple[Frame, Sequence[Pixels] | None]]:
    """Frames, and with the first of each shot samples of it."""
    samples = shot_samples(scout)
    for frame, first in with_cuts(frames):
        yield frame, next(samples) if first else None


def _looked_ahead(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Sequence[Pixels] | None]]:
    """Frames, and with the first of each shot samples of it, from the next few frames."""
    ahead: deque[tuple[Frame, bool]] = deque()

    def first_of(waiting: Sequence[tuple[Frame, bool]]) -> Sequence[Pixels] | None:
        (frame, first), *rest = waiting
        if not first:
            return None
        shot = [frame]
        for one, begins in rest:
            if begins:
                break
            shot.append(one)
        return next(shot_samples(shot))

    for one in with_cuts(frames):
        ahead.append(one)
        if len(ahead) > _LOOKAHEAD:
            yield ahead[0][0], first_of(ahead)
            ahead.popleft()
    while ahead:
        yield ahead[0][0], first_of(ahead)
        ahead.popleft()


def paint(
    frames: Iterable[Pixels],
    styles: Styles,
    *,
    method: str = "auto",
    device: str = "auto",
    refine: str | int | None = None,
    stability: float = FilmControls.stability,
    keyframes: Keyframes | None = None,
    rate: float = 25,
    **options: Unpack[Options],
) -> Iterator[Pixels]:
    """Paints a film of arrays, frame by frame.

    Args:
        frames: the frames, all of one size, (H, W, 3) or (H, W, 4) of uint8. A list or array is
            looked through shot by shot before it is painted, an iterator some frames ahead.
        styles: one or several, as `impasto.stylize` takes them.
        method: as of `impasto.stylize`.
        device: as of `impasto.stylize`.
        refine: as of `impasto.stylize`, for each frame.
        stability: how much of the painting follows the motion of the picture, 0..1.
        keyframes: weights of the styles over time, in place of their own; None for the latter.
        rate: frames a second, which keyframes refer to.
        **options: fields of `impasto.Controls`, and settings of the method.

    Yields:
        The painted frames, one for each.

    Raises:
        As `impasto.stylize`.
    """
    recipe = Recipe.of({"method": method, "refine": refine, **options})
    painter = FilmPainter(recipe, styles, device=device, stability=stability, keyframes=keyframes)
    scout = None if iter(frames) is frames else _timed(frames, rate)
    return painter.paint(_timed(frames, rate), scout)


def _timed(frames: Iterable[Pixels], rate: float) -> Iterator[Frame]:
    for number, pixels in enumerate(frames):
        yield ArrayFrame(pixels, Fraction(number) / Fraction(rate))
