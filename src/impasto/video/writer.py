"""What painted films are written as: films with their sound, animations, folders of pictures.

All are made of the same segments (see `impasto.video.segments`). Films join them as they are, the
others decode them; their codec loses nothing.
"""

from __future__ import annotations

import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from PIL import Image

from impasto import files, formats
from impasto.errors import ControlError, FilmError, OutputError
from impasto.resuming import folder_of
from impasto.video.animation import ANIMATIONS, FASTEST, Animation
from impasto.video.base import Film, Sound, location
from impasto.video.encoding import CODECS, LOSSLESS, Codec, Encoding
from impasto.video.reader import open_film
from impasto.video.segments import Segments, second

_NUMBERED = "{:06}.png"
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
_OF_APPLE = ("mp4", "mov")
_RECIPE_KEYS = ("comment", "description", "synopsis")
"""The metadata that a recipe may be kept in; the film's own are not replaced."""


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
    def check(self, film: Film) -> list[str]:
        """Finds out, before hours of painting, whether the film can be written.

        Args:
            film: the film to be painted.

        Returns:
            What is not kept, a line each.

        Raises:
            OutputError: it cannot.
        """

    @abstractmethod
    def write(self, segments: Segments) -> None:
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

    def check(self, film: Film) -> list[str]:
        """Finds out whether the container holds the film and its sound; see `Output.check`."""
        files.check_writable(self.path)
        with film.sound() as sound:
            for stream in sound.streams:
                self._check_holds(stream)
        notes = []
        if film.transparent and self.codec is not LOSSLESS:
            notes.append(f"{film.path}: its transparency is left out")
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
            other = ".mkv" in holds and self.codec.name != CONTAINERS[".mkv"][1][0]
            kept = f"; with .mkv, --codec {self.codec.name} keeps the codec" if other else ""
            raise OutputError(
                f"{self.path}: {self.path.suffix} cannot hold the film's sound ({name}); use "
                f"{' or '.join(holds) if holds else '.gif, .webp or a folder, which have none'}"
                f"{kept}"
            )

    def write(self, segments: Segments) -> None:
        """Joins the segments, and copies the sound packet by packet; see `Output.write`."""
        with (
            files.replacing(self.path) as temporary,
            segments.film.sound() as sound,
            av.open(location(segments.paths[0])) as first,
            av.open(
                location(temporary),
                "w",
                format=self.container,
                options=self._options(segments, sound),
            ) as container,
        ):
            painted = container.add_stream_from_template(first.streams.video[0], opaque=True)
            segments.encoding.describe(painted)
            if self.codec.name == "h265" and self.container in _OF_APPLE:
                painted.codec_context.codec_tag = "hvc1"  # which Apple's players insist on
            copies = {one.index: _added(one, container) for one in sound.streams}
            container.metadata.update(_metadata(segments))
            pictures = ((packet, painted) for packet in segments.packets())
            heard = ((packet, copies[packet.stream_index]) for packet in _heard(sound, segments))
            # By time: FFmpeg keeps packets in memory until all streams have come so far.
            for packet, stream in merge(pictures, heard, key=lambda one: second(one[0])):
                packet.stream = stream
                container.mux(packet)

    def _options(self, segments: Segments, sound: Sound) -> dict[str, str]:
        """For FFmpeg: when streams begin, MP4 says in units that else are too coarse."""
        if self.container not in _OF_APPLE:
            return {}
        rates = [stream.codec_context.sample_rate for stream in sound.streams]
        units = segments.encoding.time_base.denominator
        common = math.lcm(units, *rates)
        return {"movie_timescale": str(common if common < 2**31 else units)}


class AnimationOutput(Output):
    """A GIF or an animated WebP."""

    @property
    def kind(self) -> Animation:
        """Its format."""
        return ANIMATIONS[self.path.suffix.lower()]

    def check(self, film: Film) -> list[str]:
        """Finds out whether the file can be written; see `Output.check`."""
        files.check_writable(self.path)
        notes = _silence(self.path, film)
        if film.rate > FASTEST:
            notes.append(
                f"{self.path}: shows at most {FASTEST} frames a second, the others are left out"
            )
        return notes

    def write(self, segments: Segments) -> None:
        """Encodes the frames again; see `Output.write`."""
        with files.replacing(self.path) as temporary:
            self.kind.write(temporary, segments)


class FolderOutput(Output):
    """A folder of numbered PNG files."""

    def check(self, film: Film) -> list[str]:
        """Finds out whether the folder can be made, and has nothing in it; see `Output.check`."""
        if self.path.is_dir():
            files.check_writable(self.path / _NUMBERED.format(1))
            if any(self.path.iterdir()) and not folder_of(self.path).is_dir():
                raise OutputError(f"{self.path}: is not empty; choose a new folder")
        else:
            files.check_writable(self.path)
        return _silence(self.path, film)

    def write(self, segments: Segments) -> None:
        """Writes each frame as a picture; see `Output.write`."""
        files.make_folder(self.path)
        for number, frame in enumerate(segments.frames(), 1):
            alpha = frame.format.name == "bgra"
            image = Image.fromarray(frame.to_ndarray(format="rgba" if alpha else "rgb24"))
            path = self.path / _NUMBERED.format(number)
            files.replace(path, formats.encode(path, image, None, None))


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
    if not path.name:
        raise OutputError(f"'{path}' is no name for a film; give that of a new file or folder")
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


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe inside a film that impasto painted.

    Raises:
        FilmError: it cannot be read, or holds none.
    """
    metadata = open_film(path).metadata
    for key in _RECIPE_KEYS:
        with suppress(ValueError):
            recipe = json.loads(metadata.get(key, ""))
            if isinstance(recipe, dict) and "impasto" in recipe:
                return recipe
    raise FilmError(f"{path}: holds no recipe; give a YAML file, or what impasto painted")


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


def _heard(sound: Sound, segments: Segments) -> Iterator[Packet[Any]]:
    """The sound of what is painted."""
    if segments.complete:  # it may well be longer than the pictures
        return sound.packets
    # Tracks may be ahead of each other in the file, but not by much.
    near = takewhile(lambda packet: second(packet) < segments.end + 2, sound.packets)
    return (packet for packet in near if second(packet) < segments.end)


def _silence(path: Path, film: Film) -> list[str]:
    """The note that a kind of file has no sound, if the film has."""
    with film.sound() as sound:
        return [f"{path}: has no sound"] if sound.streams else []


def _metadata(segments: Segments) -> dict[str, str]:
    """The film's title and the like, with the recipe."""
    kept = segments.film.metadata
    free = next((key for key in _RECIPE_KEYS if key not in kept), _RECIPE_KEYS[0])
    return {**kept, free: json.dumps(segments.recipe)}
