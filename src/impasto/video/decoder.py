"""Films in video files, read by FFmpeg by way of PyAV."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation

from impasto.errors import FilmError
from impasto.video.base import (
    BT709,
    FULL,
    LIMITED,
    SCALER_MATRICES,
    Colour,
    Film,
    Sound,
    location,
)
from impasto.video.frames import THUMBNAIL_SIDE, Frame, Pixels
from impasto.video.hdr import HDR, to_srgb

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_LISTS = {"concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "webm_dash_manifest"}
"""Formats that name other files. Anybody's film could name any file here."""
_TEXTS = {"adf", "bin", "idf", "tty", "xbin"}
"""Formats of coloured text, which any text may be taken for."""
_COUNTED = {"avi", "mpeg"}
"""Formats in which not every frame has a stamp, so that it is counted from those before."""
_FROM_ZERO = {"matroska,webm"}
"""Formats that give for a duration the stamp at which the last frame ends."""
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
"""How they give that of one stream."""
_OUT_OF_ORDER = 4
"""By how many frames stamps may be earlier than expected and still be of the same recording."""
_MOST_UNSTAMPED = 50
"""So many frames are looked at to find the first that has a stamp."""
_OF_THE_FILE = {"compatible_brands", "encoder", "major_brand", "minor_version"}
"""Metadata that is about the file and not about the film."""
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Rounds like arithmetic. Without this, swscale makes pictures darker by one of 255."""

_BT601 = 6
"""A matrix, by the numbers of ITU-T H.273."""
_FROM_LIMITED = ((np.arange(256) - 16) * 255 / 219 + 0.5).clip(0, 255).astype(np.uint8)


@dataclass(kw_only=True)
class _FileFilm(Film):
    stream: int
    """Number of the stream of pictures."""
    origin: Fraction
    """Stamp at which the first of pictures and sound begins."""
    seeks: bool
    """Whether frames have the same stamps wherever reading begins."""
    first_dts: int | None
    """Of AVI, which has stamps in the order of decoding only, that of the first frame."""
    coded_size: tuple[int, int]
    """Height and width as stored."""
    turns: int
    """By how many quarters, counterclockwise, stored frames are turned upright."""
    mirrored: bool
    """Whether they are first mirrored left to right."""
    coded_colour: Colour
    """What the stored numbers mean."""

    def sound(self) -> AbstractContextManager[Sound]:
        return self._sound()

    @contextmanager
    def _sound(self) -> Iterator[Sound]:
        with _opened(self.path) as container:
            streams = [stream for stream in container.streams.audio if stream.codec_context]
            yield Sound(streams, self._packets(container, streams))

    def _packets(
        self, container: InputContainer, streams: list[AudioStream]
    ) -> Iterator[Packet[Any]]:
        if not streams:  # for PyAV, none means all
            return
        self._seek(container)
        unfinished, heard = {stream.index for stream in streams}, dict[int, Fraction]()
        # All streams: they are to go on together where recordings were joined.
        for packet in _until_failure(container, list(container.streams)):
            if packet.stream not in streams:
                continue
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None:
                continue
            time = stamp * packet.time_base - self.origin
            if time <= heard.get(packet.stream_index, time - 1):
                continue  # it would overlap the recording before
            heard[packet.stream_index] = time
            if self.end is not None and time >= self.end:
                unfinished.discard(packet.stream_index)
            elif self.start == 0 or time >= self.start:
                shift = round((self.origin + self.start) / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.dts = None if packet.dts is None else packet.dts - shift
                yield packet
            if not unfinished:
                return

    def _frames(self) -> Generator[Frame]:
        frames = self._decoded(seek=self.start > 0)
        first = next(frames, None)
        if self.start > 0 and (first is None or first.time > self.start):  # it went too far
            frames.close()
            yield from self._decoded(seek=False)
        elif first is not None:
            yield from chain([first], frames)

    def _decoded(self, *, seek: bool) -> Generator[Frame]:
        damaged, ends, time = 0, Fraction(0), None
        with _opened(self.path) as container:
            stream: Any = container.streams[self.stream]
            stream.thread_type = "AUTO"
            if seek:
                self._seek(container)
            # All streams: a file whose sound goes on after its pictures is not cut off.
            for packet in _until_failure(container, list(container.streams)):
                if packet.pts is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    ends = max(ends, end - self.origin)
                if packet.stream.index != self.stream:
                    continue
                try:
                    frames = stream.decode(packet)
                except av.FFmpegError:
                    frames, damaged = [], damaged + 1
                for frame in frames:
                    time = self._time(frame, time)
                    yield _FileFrame(frame, time, self)
                ends = max(ends, Fraction(0) if time is None else time + 1 / self.rate)
                self.damaged = max(self.damaged, damaged)
        if self.length is not None and self.length - ends > max(2 / self.rate, Fraction(1, 2)):
            self.cut_off = (
                f"it ends at second {float(ends):.2f} of {float(self.length):.2f}; the file may be "
                "cut off"
            )

    def _time(self, frame: VideoFrame, before: Fraction | None) -> Fraction:
        """When a frame is shown: as the file says, if that is after the frame before it."""
        stamp = frame.pts
        if self.first_dts is not None:
            stamp = None if frame.dts is None else frame.dts - self.first_dts
        if stamp is None:
            time = Fraction(0) if before is None else before + 1 / self.rate
            return round(time / self.time_base) * self.time_base
        time = stamp * self.time_base - self.origin
        return time if before is None else max(time, before + self.time_base)

    def _seek(self, container: InputContainer) -> None:
        """Goes to a frame before ``start`` from which decoding can begin; or stays."""
        if self.start > 0 and self.seeks:
            stamp = int((self.start + self.origin) / self.time_base)
            with suppress(av.FFmpegError):
                container.seek(stamp, stream=container.streams[self.stream])


class _FileFrame(Frame):
    """A frame that was decoded but not yet converted."""

    def __init__(self, decoded: VideoFrame, time: Fraction, film: _FileFilm) -> None:
        self.time = time
        self._decoded = decoded
        self._film = film

    @cached_property
    def pixels(self) -> Pixels:
        """The frame upright, at the film's own size."""
        return self._converted(*self._film.coded_size)

    @cached_property
    def thumbnail(self) -> Pixels:
        """The frame at a longer side of `THUMBNAIL_SIDE`, (h, w, 3)."""
        scale = THUMBNAIL_SIDE / max(self._film.coded_size)
        height, width = (max(round(side * scale), 1) for side in self._film.coded_size)
        return self._converted(height, width)

    def _converted(self, height: int, width: int) -> Pixels:
        colour = self._film.coded_colour
        pixels: Any = self._decoded.reformat(
            width,
            height,
            "rgb24",
            src_colorspace=colour.scaler_matrix,
            src_color_range=colour.range,
            interpolation=_ACCURATE,
        ).to_ndarray()
        if _is_grey(self._decoded) and not colour.full_range:  # of which swscale knows nothing
            pixels = _FROM_LIMITED[pixels]
        if colour.transfer in HDR:
            pixels = to_srgb(pixels, colour.transfer)
        if self._film.mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self._film.turns))


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    kinds = {kind for kind in av.formats_available if not kind.endswith("_pipe")}
    kinds -= _LISTS | _TEXTS
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(sorted(kinds))}
    try:
        container = av.open(location(path), options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise FilmError(
            f"{path}: cannot be read as a film; it is damaged, cut off, or something else"
        ) from error
    with container:
        yield container


def _until_failure(container: InputContainer, streams: list[Any]) -> Iterator[Packet[Any]]:
    """The packets of streams, as far as the file can be read."""
    try:
        yield from _continued(container.demux(streams))
    except av.FFmpegError:
        for stream in streams:
            rest = av.Packet()  # an empty one asks the decoder for what it still has
            rest.stream = stream
            yield rest


def _continued(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Packets whose stamps go on where those of the file jump back.

    They do where two recordings were joined as they are. The streams of the second are all moved
    by as much as the first of them to jump, to its place after the longest of the first recording.
    """
    ahead = [Fraction(0)]  # of each recording, seconds
    recording: dict[int, int] = defaultdict(int)
    following: dict[int, Fraction] = {}
    for packet in packets:
        if packet.dts is not None:
            index, time = packet.stream.index, packet.dts * packet.time_base
            lasts = (packet.duration or 0) * packet.time_base
            expected = following.get(index, time)
            if time + ahead[recording[index]] < expected - _OUT_OF_ORDER * lasts:
                if recording[index] == len(ahead) - 1:
                    ahead.append(max(following.values()) - time)
                recording[index] = len(ahead) - 1
            moved = ahead[recording[index]]
            following[index] = time + moved + lasts
            packet.dts += round(moved / packet.time_base)
            if packet.pts is not None:
                packet.pts += round(moved / packet.time_base)
        yield packet


def open_file(path: Path) -> Film:
    """Opens a film in a file.

    Raises:
        FilmError: naming the file and the fix.
    """
    with _opened(path) as container:
        pictures = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic  # the cover of a song
        ]
        if not pictures:
            what = "sound but no pictures" if container.streams.audio else "no pictures"
            raise FilmError(f"{path}: holds {what}; give a film")
        stream: Any = pictures[0]
        if stream.codec_context is None:
            raise FilmError(f"{path}: its pictures are of a kind that FFmpeg cannot decode")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frames = _decoded(container, stream)
        frame = next(frames, None)
        if frame is None:
            raise FilmError(
                f"{path}: none of its pictures can be decoded; it is damaged or encrypted"
            )
        counted = container.format.name in _COUNTED
        start = None if counted else _start(chain([frame], frames), rate)
        origin = _origin(container, stream, start)
        length = _length(container, stream, origin)
        height, width = frame.height, frame.width
        turns, mirrored = _orientation(frame)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        coded = _colour(frame)
        return _FileFilm(
            path=path,
            size=(width, height) if turns % 2 else (height, width),
            rate=rate,
            time_base=stream.time_base,
            length=length,
            frames=stream.frames or (None if length is None else round(length * rate)),
            colour=Colour() if coded.transfer in HDR else coded,
            coded_colour=coded,
            pixel_aspect=1 / aspect if turns % 2 else aspect,
            metadata={k: v for k, v in container.metadata.items() if k not in _OF_THE_FILE},
            remarks=tuple(_remarks(container, len(pictures), frame)),
            stream=stream.index,
            origin=origin,
            seeks=not counted,
            first_dts=frame.dts if container.format.name == "avi" else None,
            coded_size=(height, width),
            turns=turns,
            mirrored=mirrored,
        )


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The frames that can be decoded: they know more than the file's header."""
    for packet in _until_failure(container, [stream]):
        with suppress(av.FFmpegError):
            yield from stream.decode(packet)


def _start(frames: Iterator[VideoFrame], rate: Fraction) -> Fraction | None:
    """When pictures begin of which the first have no stamps, as in Matroska those below 0."""
    for number, frame in enumerate(islice(frames, _MOST_UNSTAMPED)):
        if frame.pts is not None and frame.time_base is not None:
            return frame.pts * frame.time_base - number / rate if number else None
    return None


def _origin(container: InputContainer, pictures: Any, start: Fraction | None) -> Fraction:
    """Where the first of pictures and sound begins, as a multiple of the pictures' time base."""
    starts: list[Fraction] = [
        stream.start_time * stream.time_base
        for stream in (pictures, *container.streams.audio)
        if stream.start_time is not None
    ]
    base: Fraction = pictures.time_base
    return min(starts if start is None else [*starts, start], default=Fraction(0)) // base * base


def _length(container: InputContainer, stream: Any, origin: Fraction) -> Fraction | None:
    """Seconds from the beginning of the film to the end of its pictures."""
    if stream.duration is not None:
        end: Fraction = ((stream.start_time or 0) + stream.duration) * stream.time_base
        return end - origin
    if container.duration is None:
        return None
    length = Fraction(container.duration, av.time_base)
    if container.format.name not in _FROM_ZERO:
        return length
    tag = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if tag:  # of the pictures alone
        hours, minutes, seconds = map(Fraction, tag.groups())
        length = 3600 * hours + 60 * minutes + seconds
    return length - origin if length > origin else None


def _remarks(container: InputContainer, tracks: int, frame: VideoFrame) -> Iterator[str]:
    if tracks > 1:
        yield f"only the first of its {tracks} tracks of pictures is painted"
    if container.streams.subtitles:
        yield "its subtitles are left out"
    if frame.color_trc in HDR:
        yield f"is HDR ({HDR[frame.color_trc]}) and painted as SDR"
    if frame.interlaced_frame:
        yield "is interlaced; it is painted better if it is deinterlaced before"
    if any(component.is_alpha for component in frame.format.components):
        yield "its transparency is left out"


def _colour(frame: VideoFrame) -> Colour:
    matrix = frame.colorspace
    if matrix not in SCALER_MATRICES:  # players guess so too
        matrix = BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    full_range = frame.color_range == FULL
    full_range |= _is_grey(frame) and frame.color_range != LIMITED
    full_range &= not frame.format.is_rgb  # whose range is of no account, and other than YCbCr's
    return Colour(matrix, full_range, frame.color_primaries, frame.color_trc)


def _is_grey(frame: VideoFrame) -> bool:
    return frame.format.name.startswith("gray")


def _orientation(frame: VideoFrame) -> tuple[int, bool]:
    """By how many quarters, counterclockwise, a frame has to be turned, and whether it has to be
    mirrored before.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    right_x, right_y, _, down_x, down_y = np.frombuffer(matrix, np.int32)[:5].tolist()
    mirrored = right_x * down_y < right_y * down_x
    sign = -1 if mirrored else 1
    return round(math.atan2(-right_y * sign, right_x * sign) / (math.pi / 2)) % 4, mirrored
