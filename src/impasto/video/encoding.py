"""How painted frames are encoded: codecs, their quality, and colours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from impasto.errors import ControlError
from impasto.video.base import Colour, Film
from impasto.video.frames import Pixels

# SVT-AV1 tells its story on stderr, past FFmpeg's log; this leaves its errors.
os.environ.setdefault("SVT_LOG", "1")

_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
)
"""Colours as the standards' formulas have them, rounded; by default FFmpeg takes short cuts."""


@dataclass(frozen=True)
class Codec:
    """A codec with the settings that segments need."""

    name: str
    encoder: str
    """FFmpeg's name of what encodes it."""
    crf: int | None = None
    """Quality unless the user asks for another; None if it loses nothing."""
    worst: int = 0
    """The highest crf, which is the lowest quality."""
    options: Mapping[str, str] = field(default_factory=dict)
    even: bool = False
    """Whether sides must be even."""
    keeps_aspect: bool = True
    """Whether it says in the stream itself that pixels are not square."""

    def quality(self, crf: int | None) -> int | None:
        """The crf to encode with.

        Raises:
            ControlError: the codec has none like that.
        """
        if crf is None:
            return self.crf
        if self.crf is None:
            raise ControlError(f"crf is {crf}, but {self.name} loses nothing: leave it out")
        if not 0 <= crf <= self.worst:
            raise ControlError(f"crf is {crf}: use 0 (best) to {self.worst} with {self.name}")
        return crf


LOSSLESS = Codec("ffv1", "ffv1", keeps_aspect=False)
CODECS = {
    codec.name: codec
    for codec in (
        Codec("h264", "libx264", 18, 51, even=True),
        Codec("h265", "libx265", 20, 51, {"x265-params": "log-level=error"}, even=True),
        Codec(
            "vp9", "libvpx-vp9", 28, 63, {"b": "0", "row-mt": "1", "cpu-used": "2"}, False, False
        ),
        Codec("av1", "libsvtav1", 28, 63, {"preset": "8"}, False, False),
        LOSSLESS,
    )
}
"""By name what films are written in."""


@dataclass(frozen=True)
class Encoding:
    """How the frames of a film are encoded, all of its segments alike."""

    codec: Codec
    crf: int | None
    rate: Fraction
    """Frames a second, where nothing is said of each."""
    time_base: Fraction
    """Seconds that time stamps count in."""
    colour: Colour
    """What the numbers in the encoded film mean."""
    pixel_aspect: Fraction
    """Width of a pixel to its height."""
    transparent: bool = False
    """Whether frames have alpha, if nothing is to be lost."""

    @classmethod
    def of(cls, film: Film, codec: Codec, crf: int | None) -> Encoding:
        """The encoding that keeps what a film says of its time and its colours.

        Raises:
            ControlError: the codec has no such crf.
        """
        return cls(
            codec,
            codec.quality(crf),
            film.rate,
            # Exact for all of the film's time stamps, and near for those that are counted from
            # somewhere between them.
            Fraction(1, film.time_base.denominator),
            film.colour,
            film.pixel_aspect,
            film.transparent,
        )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which frames are encoded."""
        return (height + height % 2, width + width % 2) if self.codec.even else (height, width)

    def frame(self, pixels: Pixels) -> av.VideoFrame:
        """A painted frame as the encoder takes it. Transparent parts become white, unless nothing
        is to be lost.
        """
        if self.codec is LOSSLESS:
            if self.transparent and pixels.shape[2] == 3:  # a frame without holes, among others
                pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
            alpha = pixels.shape[2] == 4
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), "rgba" if alpha else "rgb24"
            )
            return frame.reformat(format="bgra" if alpha else "bgr0")
        pixels = opaque(pixels)
        height, width = pixels.shape[:2]
        rows, columns = self.size(height, width)
        if (rows, columns) != (height, width):
            pixels = np.pad(pixels, ((0, rows - height), (0, columns - width), (0, 0)), "edge")
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(
            format="yuv420p",
            dst_colorspace=self.colour.scaler_matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=self.colour.range,
            interpolation=_EXACT,
        )

    def begin(self, container: OutputContainer, frame: av.VideoFrame) -> None:
        """Adds to a container the stream of frames like this one, to be encoded."""
        quality = {} if self.crf is None else {"crf": str(self.crf)}
        stream: Any = container.add_stream(
            self.codec.encoder, options={**self.codec.options, **quality}
        )
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        stream.codec_context.time_base = self.time_base
        stream.codec_context.max_b_frames = 0  # so that segments can be joined
        self.describe(stream)

    def describe(self, stream: VideoStream) -> None:
        """Writes into a stream what the colours mean and how wide the pixels are."""
        context = stream.codec_context
        if self.codec is not LOSSLESS:
            context.colorspace, context.color_range = self.colour.matrix, self.colour.range
        context.color_primaries = self.colour.primaries
        context.color_trc = self.colour.transfer
        context.sample_aspect_ratio = self.pixel_aspect
        context.framerate = self.rate
        stream.time_base = self.time_base


def opaque(pixels: Pixels) -> Pixels:
    """A frame laid on white, (H, W, 3)."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:] / 255.0
    laid: Pixels = (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return laid
