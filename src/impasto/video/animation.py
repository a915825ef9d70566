"""Painted films as animations: GIF and WebP."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
from av.filter import Graph
from av.filter.context import FilterContext

from impasto.video.base import location
from impasto.video.segments import Segments, second

FASTEST = 50
"""Frames a second that browsers show; what is meant to be faster they show ten times slower."""
_PATTERN = "dither=bayer:bayer_scale=3"
"""How colours that a palette lacks are mixed. The pattern stands still: others would flicker."""


@dataclass(frozen=True)
class Animation:
    """A format of animations."""

    container: str
    """FFmpeg's names of the format, and of what encodes it."""
    encoder: str
    units: int
    """Units of time in a second."""
    palette: bool
    """Whether it has 256 colours in all."""

    def write(self, file: Path, segments: Segments) -> None:
        """Writes a painted film.

        Args:
            file: where.
            segments: the painted film.
        """
        plays = segments.film.plays
        base = Fraction(1, self.units)
        stamps = self._stamps(segments)
        frames = _at(segments, stamps, base)
        options = {"loop": str(plays)}
        if self.palette:
            frames = _in_palette(frames, _palette(_at(segments, stamps, base)))
            # A GIF says how often it is repeated, and -1 is for not at all.
            options["loop"] = {0: "0", 1: "-1"}.get(plays, str(plays - 1))
            last = max(stamp for stamp in stamps if stamp is not None)
            options["final_delay"] = str(max(round(segments.end / base) - last, 1))
        quality = {} if self.palette else {"quality": "90"}
        with av.open(location(file), "w", format=self.container, options=options) as container:
            stream: Any = container.add_stream(self.encoder, options=quality)
            stream.time_base = stream.codec_context.time_base = base
            for frame in frames:
                if not stream.codec_context.is_open:
                    stream.width, stream.height = frame.width, frame.height
                    stream.pix_fmt = frame.format.name
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if not self.palette:
            _hold_last(file, round(segments.end * self.units) - (stamps[0] or 0))
            if segments.film.transparent:
                _say_transparent(file)

    def _stamps(self, segments: Segments) -> list[int | None]:
        """When each frame is shown; None for those that come too fast for browsers."""
        stamps: list[int | None] = []
        free = 0
        for packet in segments.packets():
            stamp = round(second(packet) * self.units)
            shown = not stamps or stamp >= free
            stamps.append(stamp if shown else None)
            free = stamp + self.units // FASTEST if shown else free
        return stamps


ANIMATIONS = {
    ".gif": Animation("gif", "gif", 100, palette=True),
    ".webp": Animation("webp", "libwebp_anim", 1000, palette=False),
}
"""What can be written, by extension."""


_ALPHA = 0x10
"""The flag of a WebP that has alpha."""


def _say_transparent(file: Path) -> None:
    """Writes into an animated WebP that it has alpha. The encoder does so only if a frame has some
    itself, and not if frames leave parts of the canvas empty.
    """
    with file.open("r+b") as webp:
        webp.seek(len(b"RIFFsizeWEBP"))
        kind, _, flags = struct.unpack("<4sIB", webp.read(9))
        if kind == b"VP8X":  # of a single frame it makes a still picture, which says it itself
            webp.seek(-1, os.SEEK_CUR)
            webp.write(bytes([flags | _ALPHA]))


def _hold_last(file: Path, milliseconds: int) -> None:
    """Makes the last frame of a WebP last until so long after the first was shown: the encoder does
    not know how long it is meant to be shown.
    """
    with file.open("r+b") as webp:
        last = None
        place, left, size = len(b"RIFFsizeWEBP"), milliseconds, file.stat().st_size
        while place < size:
            webp.seek(place)
            kind, length = struct.unpack("<4sI", webp.read(8))
            if kind == b"ANMF":
                webp.seek(12, os.SEEK_CUR)  # past the frame's place and size
                last, duration = webp.tell(), int.from_bytes(webp.read(3), "little")
                left -= duration
            place += 8 + length + length % 2
        if last is None:  # a single frame is a still picture
            return
        webp.seek(last)
        webp.write(max(left + duration, 1).to_bytes(3, "little"))


def _at(segments: Segments, stamps: list[int | None], base: Fraction) -> Iterator[av.VideoFrame]:
    """The frames that are shown, with transparency, at their stamps."""
    for frame, stamp in zip(segments.frames(), stamps, strict=True):
        if stamp is not None:
            shown = frame.reformat(format="bgra")
            shown.pts, shown.time_base = stamp, base
            yield shown


def _palette(frames: Iterator[av.VideoFrame]) -> av.VideoFrame:
    """The best colours for all frames together: of one palette each, still parts would flicker."""
    first = next(frames)
    graph = Graph()
    source, collector, sink = _source(graph, first), graph.add("palettegen"), _sink(graph)
    source.link_to(collector)
    collector.link_to(sink)
    graph.configure()
    for frame in chain([first], frames):
        source.push(frame)
    source.push(None)
    return cast(av.VideoFrame, sink.pull())


def _in_palette(frames: Iterator[av.VideoFrame], palette: av.VideoFrame) -> Iterator[av.VideoFrame]:
    """The frames in the colours of the palette."""
    first = next(frames)
    graph = Graph()
    source, colours, sink = _source(graph, first), _source(graph, palette), _sink(graph)
    painter = graph.add("paletteuse", _PATTERN)
    source.link_to(painter)
    colours.link_to(painter, 0, 1)
    painter.link_to(sink)
    graph.configure()
    colours.push(palette)
    colours.push(None)
    for frame in chain([first], frames):
        source.push(frame)
        yield from _ready(sink)
    source.push(None)
    yield from _ready(sink)


def _source(graph: Graph, frame: av.VideoFrame) -> FilterContext:
    """A beginning of a graph, for frames like this one."""
    return graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )


def _sink(graph: Graph) -> FilterContext:
    return graph.add("buffersink")


def _ready(sink: FilterContext) -> Iterator[Any]:
    """What has come out of a graph."""
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield sink.pull()
