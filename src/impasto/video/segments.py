"""Segments: short films, each in a file of its own, that are joined without encoding them again.

A segment begins with a key frame, its frames are stored in the order in which they are shown, and
its time stamps count from the beginning of the whole film: put behind one another, the packets of
segments are a film.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.packet import Packet

from impasto import files
from impasto.errors import OutputError
from impasto.video.base import Film, location
from impasto.video.encoding import Codec, Encoding
from impasto.video.frames import Pixels

AddFrame: TypeAlias = Callable[[Pixels, Fraction], None]
"""Encodes a painted frame that is shown at so many seconds."""


@contextmanager
def segment(path: Path, encoding: Encoding) -> Iterator[AddFrame]:
    """Returns a context in which frames are encoded into a segment, which is there at its end.

    Args:
        path: the segment's file, in FFmpeg's own container NUT, which holds any codec and any time
            base.
        encoding: how.

    Raises:
        OutputError: the disk is full, or the codec cannot hold these frames.
    """
    with (
        files.replacing(path) as temporary,
        _refusals(path, encoding.codec),
        av.open(location(temporary), "w", format="nut") as container,
    ):

        def add(pixels: Pixels, time: Fraction) -> None:
            frame = encoding.frame(pixels)
            frame.time_base = encoding.time_base
            frame.pts = round(time / encoding.time_base)
            if not container.streams:
                encoding.begin(container, frame)
            container.mux(container.streams.video[0].encode(frame))

        yield add
        for stream in container.streams.video:
            container.mux(stream.encode(None))


@contextmanager
def _refusals(path: Path, codec: Codec) -> Iterator[None]:
    """Raises `OutputError` for what FFmpeg refuses; errors of the disk are left to others."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: {codec.name} cannot hold these frames ({error})") from error


@dataclass(frozen=True)
class Segments:
    """A painted film, as it is before it is written."""

    paths: Sequence[Path]
    film: Film
    """What is painted."""
    encoding: Encoding
    end: Fraction
    """Second at which its last frame ends."""
    complete: bool
    """Whether all of the film is painted."""
    recipe: Mapping[str, Any]
    """All that decides how it is painted."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        with av.open(location(self.paths[0])) as container:
            context = container.streams.video[0].codec_context
            return context.height, context.width

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decodes the frames."""
        for path in self.paths:
            with av.open(location(path)) as container:
                yield from container.decode(video=0)

    def packets(self) -> Iterator[Packet[Any]]:
        """Yields the frames as they are encoded, each with its duration."""
        for packet, next_one in pairwise(chain(self._packets(), [None])):
            assert packet is not None
            end = self.end if next_one is None else second(next_one)
            packet.duration = round((end - second(packet)) / packet.time_base)
            yield packet

    def _packets(self) -> Iterator[Packet[Any]]:
        for path in self.paths:
            with av.open(location(path)) as container:
                # One without contents says that there are no more.
                yield from (packet for packet in container.demux(video=0) if packet.size)


def count_frames(path: Path) -> int:
    """How many whole frames are in the file of a segment, which may be damaged."""
    count = 0
    with suppress(av.FFmpegError), av.open(location(path)) as container:
        for packet in container.demux(video=0):
            count += packet.size > 0 and not packet.is_corrupt
    return count


def second(packet: Packet[Any]) -> Fraction:
    """When a packet is decoded."""
    stamp = packet.pts if packet.dts is None else packet.dts
    assert stamp is not None
    return stamp * packet.time_base
