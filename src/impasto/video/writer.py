"""What painted films are written as: films with their sound, animations, folders of pictures.

All are made of the same segments (see `impasto.video.encoding`). Films join them as they are, the
others decode them; their codec loses nothing.
"""

from __future__ import annotations

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from PIL import Image

from impasto import files
from impasto.errors import OutputError
from impasto.video.encoding import CODECS, LOSSLESS, Codec, Encoding

if TYPE_CHECKING:
    from impasto.video.reader import Film

_MP4_CODECS = ("h264", "h265", "vp9", "av1")
CONTAINERS: dict[str, tuple[str, Sequence[str]]] = {
    ".mp4": ("mp4", _MP4_CODECS),
    ".m4v": ("mp4", _MP4_CODECS),
    ".mov": ("mov", ("h264", "h265")),
    ".mkv": ("matroska", tuple(CODECS)),
    ".webm": ("webm", ("vp9", "av1")),
}
"""By extension FFmpeg's name of a container, and the codecs that it is written with; the first is
the default.
"""
ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}
"""By extension Pillow's name of an animation's format."""
_RECIPE_KEYS = ("comment", "description", "synopsis")
"""The metadata that a recipe may be kept in; the film's own are not replaced."""
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata that is about the film's old file, not about the film."""


@dataclass(frozen=True)
class Segments:
    """A painted film, as it is before it is written."""

    paths: Sequence[Path]
    encoding: Encoding
    end: Fraction
    """Seconds at which its last frame ends."""
    recipe: Mapping[str, Any]
    """All that decides how it is painted."""

    def pictures(self) -> Iterator[Image.Image]:
        """Decodes the frames."""
        for path in self.paths:
            with av.open(os.fspath(path)) as container:
                for frame in container.decode(video=0):
                    mode = "RGBA" if frame.format.name == "bgra" else "RGB"
                    yield Image.fromarray(frame.to_ndarray(format=_PIXELS[mode]), mode)

    def packets(self) -> Iterator[av.Packet]:
        """Yields the packets, each with its duration."""
        before: av.Packet | None = None
        for path in self.paths:
            with av.open(os.fspath(path)) as container:
                for packet in container.demux(video=0):
                    if not packet.size:  # says that it was the last
                        continue
                    if before is not None:
                        before.duration = packet.pts - before.pts
                        yield before
                    before = packet
        if before is not None:
            before.duration = round(self.end / before.time_base) - before.pts
            yield before

    def durations(self) -> list[int]:
        """For how many milliseconds each frame is shown, without errors that add up."""
        ends = [Fraction(one.pts + one.duration) * one.time_base for one in self.packets()]


@dataclass(frozen=True)
class Output(ABC):
    """Where and as what a painted film is written."""

    path: Path
    codec: Codec
    crf: int | None = None

    def encoding(self, film: Film) -> Encoding:
        """How the frames of the film are encoded for it."""
        return Encoding.of(film, self.codec, self.crf)

    @abstractmethod
    def check(self, film: Film, *, resume: bool = False) -> list[str]:
        """Finds out, before hours of painting, whether the film can be written.

        Args:
            film: the film to be painted.
            resume: whether what is there already may be of an earlier run.

        Returns:
            What is not kept, a line each.

        Raises:
            OutputError: it cannot.
        """

    @abstractmethod
    def write(self, film: Film, segments: Segments) -> None:
        """Writes the painted film.

        Raises:
            OutputError: the disk is full, for one.
        """


class FilmOutput(Output):
    """A film, whose segments are joined as they are, with the sound as it was."""

    @property
    def container(self) -> str:
        """FFmpeg's name of the container."""
        return CONTAINERS[self.path.suffix.lower()][0]

    def check(self, film: Film, *, resume: bool = False) -> list[str]:
        """Finds out whether the container holds the film and its sound; see `Output.check`."""
        files.check_writable(self.path)
        with _sound_of(film) as sound:
            for stream in sound:
                self._check_holds(stream)
        height, width = self.encoding(film).size(*film.size)
        notes = []
        if (height, width) != film.size:
            notes.append(f"{self.codec.name} needs even sides: the last row or column is doubled")
        if film.pixel_aspect != 1 and not self.codec.keeps_aspect and self.container != "mp4":
            notes.append(
                f"{self.path}: does not say with {self.codec.name} that pixels are not square; "
                "use .mp4"
            )
        return notes

    def _check_holds(self, stream: AudioStream) -> None:
        """Raises `OutputError` if the container cannot hold such a sound."""
        holds = [ending for ending, (kind, _) in CONTAINERS.items() if _holds(kind, stream)]
        if self.path.suffix.lower() not in holds:
            name = stream.codec_context.codec.canonical_name
            raise OutputError(
                f"{self.path}: {self.path.suffix} cannot hold the film's sound ({name}); use "
                f"{' or '.join(holds) if holds else '.gif, .webp or a folder, which have none'}"
            )

    def write(self, film: Film, segments: Segments) -> None:
        """Joins the segments, and copies the sound packet by packet; see `Output.write`."""
        options = {}
        if self.container in ("mp4", "mov"):
            # Otherwise a late beginning is rounded to thousandths of a second.
            options["movie_timescale"] = str(segments.encoding.time_base.denominator)
        with (
            files.replacing(self.path) as file,
            film.sound() as sound,
            av.open(os.fspath(segments.paths[0])) as first,
            av.open(file, "w", format=self.container, options=options) as container,
        ):
            painted = container.add_stream_from_template(first.streams.video[0], opaque=True)
            segments.encoding.describe(painted)
            if self.codec.name == "h265" and options:
                painted.codec_context.codec_tag = "hvc1"  # which Apple's players insist on
            copies = {one.index: _added(one, container) for one in sound.streams}
            container.metadata.update(_metadata(film, segments.recipe))
            pictures = ((packet, painted) for packet in segments.packets())
            heard = (
                (packet, copies[packet.stream_index])
                for packet in takewhile(lambda one: _stamp(one) < segments.end, sound.packets)
            )
            # By time: FFmpeg keeps packets in memory until all streams have come so far.
            for packet, stream in merge(pictures, heard, key=lambda one: _stamp(one[0])):
                packet.stream = stream
                container.mux(packet)


class AnimationOutput(Output):
    """A GIF or an animated WebP."""

    def check(self, film: Film, *, resume: bool = False) -> list[str]:
        """Finds out whether the file can be written; see `Output.check`."""
        files.check_writable(self.path)
        with film.sound() as sound:
            return [f"{self.path}: has no sound"] if sound.streams else []

    def write(self, film: Film, segments: Segments) -> None:
        """Writes the frames with their durations; see `Output.write`."""
        durations = [round(float(seconds) * 1000) for seconds in segments.durations()]
        frames = segments.pictures()
        with files.replacing(self.path) as file:
            next(frames).save(
                file,
                ANIMATIONS[self.path.suffix.lower()],
                save_all=True,
                append_images=frames,
                duration=durations,
                loop=film.plays,
                **_ANIMATED,
            )


class FolderOutput(Output):
    """A folder of numbered PNG files."""

    def check(self, film: Film, *, resume: bool = False) -> list[str]:
        """Finds out whether the folder can be made, and has nothing in it; see `Output.check`."""
        if self.path.is_dir():
            files.check_writable(self.path / _NUMBERED.format(1))
            if not resume and any(self.path.iterdir()):
                raise OutputError(f"{self.path}: is not empty; choose a new folder")
        else:
            files.check_writable(self.path)
        with film.sound() as sound:
            return [f"{self.path}: has no sound"] if sound.streams else []

    def write(self, film: Film, segments: Segments) -> None:
        """Writes each frame as a picture; see `Output.write`."""
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be created ({error.strerror})") from error
        for number, picture in enumerate(segments.pictures(), 1):
            encoded = io.BytesIO()
            picture.save(encoded, "PNG")
            files.replace(self.path / _NUMBERED.format(number), encoded.getvalue())


def output_of(path: Path, codec: str | None = None, crf: int | None = None) -> Output:
    """The output that a path means by its extension; a folder has none.

    Args:
        path: the file or folder.
        codec: a name of `CODECS`; None for what is usual in such a file.
        crf: the codec's quality, lower is better; None for a good one.

    Raises:
        ControlError: codec or crf make no sense for it.
        OutputError: there is no such kind of file.
    """
    suffix = path.suffix.lower()
    if suffix in CONTAINERS and not path.is_dir():
        _, names = CONTAINERS[suffix]
        if codec is not None and codec not in names:
            others = [ending for ending, (_, held) in CONTAINERS.items() if codec in held]
            fix = f"use {' or '.join(others)}, or " if others else ""
            raise ControlError(
                f"codec is {codec}, which {suffix} files are not written with: {fix}one of "
                f"{', '.join(names)}"
            )
        chosen = CODECS[codec or names[0]]
        return FilmOutput(path, chosen, chosen.quality(crf))
    kind: type[Output] = AnimationOutput if suffix in ANIMATIONS else FolderOutput
    if suffix and kind is FolderOutput and not path.is_dir():
        raise OutputError(
            f"{path}: cannot write '{suffix}' films; use {', '.join([*CONTAINERS, *ANIMATIONS])}, "
            "or a name without extension for a folder of pictures"
        )
    for name, value in (("codec", codec), ("crf", crf)):
        if value is not None:
            raise ControlError(f"{name} is for films, and {path} is none: leave it out")
    return kind(path, LOSSLESS)


def _holds(container: str, stream: AudioStream) -> bool:
    """Whether a container holds such a sound: it is asked to begin a file with it."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            _added(stream, trial)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _added(stream: AudioStream, container: OutputContainer) -> AudioStream:
    """A stream of sound to be copied, with its language and the like, added to a container."""
    added = container.add_stream_from_template(stream)
    added.metadata.update(stream.metadata)
    added.disposition = stream.disposition
    return added


def _stamp(packet: av.Packet) -> Fraction:
    """When a packet is decoded, in seconds."""
    stamp = packet.pts if packet.dts is None else packet.dts
    return stamp * packet.time_base


def _metadata(film: Film, recipe: Mapping[str, Any]) -> dict[str, str]:
    """The film's title and the like, with the recipe."""
    kept = {name: text for name, text in film.metadata.items() if name not in _OF_THE_FILE}
    free = next((key for key in _RECIPE_KEYS if key not in kept), _RECIPE_KEYS[0])
    return {**kept, free: json.dumps(recipe)}
