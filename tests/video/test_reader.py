"""Films are read as they are: colours, stamps, orientation, damage and all."""

import math
import os
import weakref
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.stream import Disposition
from PIL import Image

from impasto.errors import ControlError, FilmError, ImageError
from impasto.video import decoder
from impasto.video.frames import shrunk
from impasto.video.hdr import to_srgb
from impasto.video.reader import Colour, open_film
from tests.helpers.film_files import encode_sound, moving, number_of, write_film

LIMITED, FULL = 1, 2
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Weights of red and blue in luma, from ITU-T H.273."""


def to_rgb(planes, matrix, full_range, bits=8):
    """The definition of Y'CbCr, (3, H, W) to (H, W, 3) in 0..255."""
    one = 2 ** (bits - 8)
    y, cb, cr = planes.astype(float)
    if full_range:
        y, cb, cr = (part / (256 * one - 1) for part in (y, cb - 128 * one, cr - 128 * one))
    else:
        y = (y - 16 * one) / (219 * one)
        cb, cr = ((chroma - 128 * one) / (224 * one) for chroma in (cb, cr))
    kr, kb = LUMA[matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack((red, green, blue), -1).clip(0, 1) * 255


def some_planes(seed=0, height=24, width=32):
    """Planes (3, H, W) of colours that exist."""
    rng = np.random.default_rng(seed)
    luma = rng.integers(80, 180, (1, height, width))
    chroma = rng.integers(100, 156, (2, height, width))
    return np.concatenate((luma, chroma)).astype(np.uint8)


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_matrix_and_range_are_those_of_the_film(tmp_path, matrix, color_range):
    planes = some_planes()
    tags = {"colorspace": matrix, "color_range": color_range}
    path = write_film(tmp_path / "a.mkv", [planes], "ffv1", "yuv444p", layout="yuv444p", tags=tags)
    film = open_film(path)
    (frame,) = film.read()
    expected = to_rgb(planes, matrix, color_range == FULL)
    assert np.abs(frame.pixels - expected).max() <= 1
    assert np.abs((frame.pixels - expected).mean()) < 0.1
    assert (film.colour.matrix, film.colour.full_range) == (matrix, color_range == FULL)


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_colours_are_not_rounded_down(tmp_path, color_range):
    """Nor are those of 4:2:0, which swscale by default makes darker by one."""
    rng = np.random.default_rng(0)
    patches = [[rng.integers(80, 180), *rng.integers(100, 156, 2)] for _ in range(40)]
    frames, expected = [], []
    for patch in patches:
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, patch, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frames.append(frame)
        values = np.array(patch).reshape(3, 1, 1)
        expected.append(to_rgb(values, 6, color_range == FULL))
    tags = {"colorspace": 6, "color_range": color_range}
    path = write_film(tmp_path / "a.mkv", frames, "ffv1", tags=tags)
    read = [frame.pixels for frame in open_film(path).read()]
    error = np.stack(read) - np.stack(expected)
    assert np.abs(error).max() <= 1
    assert abs(error.mean()) < 0.1


@pytest.mark.parametrize(("width", "matrix"), [(32, 6), (1280, 1)])
def test_a_film_that_names_no_matrix_has_that_of_its_size(tmp_path, width, matrix):
    planes = some_planes(width=width)
    path = write_film(tmp_path / "a.mkv", [planes], "ffv1", "yuv444p", layout="yuv444p")
    film = open_film(path)
    (frame,) = film.read()
    assert np.abs(frame.pixels - to_rgb(planes, matrix, False)).max() <= 1
    assert film.colour == Colour(matrix, False, primaries=2, transfer=2)


def test_ten_bits(tmp_path):
    planes = some_planes().astype(np.uint16) * 4 + 1
    path = tmp_path / "a.mkv"
    frame = av.VideoFrame(32, 24, "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((24, plane.line_size // 2), np.uint16)
        rows[:, :32] = values
        plane.update(rows.tobytes())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv444p10le"
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    (read,) = open_film(path).read()
    assert np.abs(read.pixels - to_rgb(planes, 6, False, bits=10)).max() <= 1


def pq(light):
    """Signal of light in cd/m2, by the definition of PQ."""
    power = (light / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32)


def hlg(light):
    """Signal of grey light in cd/m2 on a display of 1000, by the definition of HLG."""
    scene = (light / 1000) ** (1 / 1.2)
    b = 1 - 4 * 0.17883277
    c = 0.5 - 0.17883277 * np.log(4 * 0.17883277)
    high = 0.17883277 * np.log((12 * scene - b).clip(1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hdr_film(path, signal, trc):
    """Patches of grey, 8 wide each."""
    luma = np.repeat(16 + 219 * signal, 8)[None].repeat(24, 0)
    planes = np.stack((luma, np.full_like(luma, 128), np.full_like(luma, 128)))
    tags = {"colorspace": 9, "color_range": LIMITED, "color_trc": trc, "color_primaries": 9}
    planes = planes.round().astype(np.uint8)
    return write_film(path, [planes], "ffv1", "yuv444p", layout="yuv444p", tags=tags)


@pytest.mark.parametrize(("name", "trc", "curve"), [("PQ", 16, pq), ("HLG", 18, hlg)])
def test_hdr_becomes_sdr_and_says_so(tmp_path, name, trc, curve):
    path = hdr_film(tmp_path / "a.mkv", curve(np.array([0, 10, 100, 203, 1000])), trc)
    film = open_film(path)
    (frame,) = film.read()
    black, dark, bright, white, glare = frame.pixels[12, 4::8].mean(-1)
    assert black <= 2
    assert 240 <= white <= 250
    assert 252 <= glare <= 255
    # Against a white of 203 cd/m2, it is as light in sRGB as it was.
    for value, light in ((dark, 10 / 203), (bright, 100 / 203)):
        assert value == pytest.approx(255 * (1.055 * light ** (1 / 2.4) - 0.055), abs=4)
    assert film.notes == (f"{path}: is HDR ({name}) and painted as SDR",)
    assert film.colour == Colour()


def test_hdr_keeps_colours():
    """Red, green and blue of sRGB at a third of white, given in BT.2020."""
    light = 203 / 3 * np.eye(3)
    from_bt709 = np.array(  # of ITU-R BT.2087
        ((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956))
    )
    pixels = (255 * pq(light @ from_bt709.T)).round().astype(np.uint8)[None]
    expected = 255 * (1.055 / 3 ** (1 / 2.4) - 0.055) * np.eye(3)
    error = np.abs(to_srgb(pixels, 16)[0] - expected)
    assert error[np.eye(3) == 1].max() <= 4
    assert error.max() <= 20  # dark ones are steps apart in 8 bits


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("libx264rgb", "rgb24"), ("png", "rgb24"), ("qtrle", "rgb24")]
)
def test_rgb_is_left_alone(tmp_path, codec, pix_fmt):
    frames = list(moving(2))
    path = write_film(tmp_path / "a.mov", frames, codec, pix_fmt, options={"qp": "0"})
    film = open_film(path)
    for frame, original in zip(film.read(), frames, strict=True):
        assert (frame.pixels == original).all()
    assert not film.colour.full_range


def test_palette_and_interlaced(tmp_path):
    indices, palette = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32), np.zeros((256, 4))
    palette[:, 0] = 255
    palette[:, 1:] = np.random.default_rng(0).integers(0, 256, (256, 3))
    frame = av.VideoFrame.from_ndarray(
        (indices, palette.astype(np.uint8)),  # type: ignore[arg-type]  # PyAV wants both
        "pal8",
    )
    path = write_film(tmp_path / "a.mov", [frame], "png", "pal8")
    (read,) = open_film(path).read()
    assert (read.pixels == palette[indices][..., 1:]).all()

    options = {"x264-params": "tff=1"}
    path = write_film(tmp_path / "a.mp4", moving(2, 64, 64), options=options)
    film = open_film(path)
    assert [number_of(frame) for frame in film.read()] == [0, 1]
    assert "interlaced" in film.notes[0]


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_grey(tmp_path, color_range):
    """Grey has a range as well; swscale takes all of it for full."""
    luma = np.tile(np.arange(16, 235, dtype=np.uint8), (24, 1))
    tags = {"color_range": color_range}
    path = write_film(tmp_path / "a.mkv", [luma], "ffv1", "gray", layout="gray", tags=tags)
    film = open_film(path)
    (frame,) = film.read()
    expected = luma if color_range == FULL else (luma - 16.0) / 219 * 255
    assert np.abs(frame.pixels - expected[..., None]).max() <= 1
    assert film.colour.full_range == (color_range == FULL)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv422p"),
        ("a.mp4", "libx265", "yuv420p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mp4", "libsvtav1", "yuv420p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "libx264", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.flv", "flv1", "yuv420p"),
        ("a.nut", "ffv1", "yuv420p"),
        ("a.h264", "libx264", "yuv420p"),
    ],
)
def test_every_container_and_codec(tmp_path, name, codec, pix_fmt):
    frames = list(moving(4, 64, 96))
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_film(tmp_path / name, frames, codec, pix_fmt, options=options)
    film = open_film(path)
    read = list(film.read())
    assert [number_of(frame) for frame in read] == [0, 1, 2, 3]
    assert film.size == read[0].pixels.shape[:2] == (64, 96)
    assert [frame.time for frame in read] == [Fraction(n, 25) for n in range(4)]
    for frame, original in zip(read, frames, strict=True):
        assert np.abs(frame.pixels.astype(float) - original).mean() < 12
        assert frame.time % film.time_base == 0
    assert any("transparency" in note for note in film.notes) == pix_fmt.startswith("yuva")


def test_odd_sides(tmp_path):
    frames = list(moving(2, 35, 51))
    path = write_film(tmp_path / "a.mkv", frames, "ffv1")
    film = open_film(path)
    assert film.size == (35, 51)
    for frame, original in zip(film.read(), frames, strict=True):
        assert frame.pixels.shape == original.shape
        assert np.abs(frame.pixels.astype(float) - original).mean() < 12
        assert frame.thumbnail.shape == (110, 160, 3)


def with_display_matrix(path, right, down):
    """Writes into a MP4's track where the right and the lower neighbour of a pixel are shown."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # of ISO 14496-12: after version, times and so on
    one = 1 << 16
    assert data[place : place + 20] == np.array((one, 0, 0, 0, one), ">i4").tobytes()
    matrix = (right[0] * one, right[1] * one, 0, down[0] * one, down[1] * one)
    data[place : place + 20] = np.array(matrix, ">i4").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("right", "down"),
    [
        ((1, 0), (0, 1)),
        ((0, 1), (-1, 0)),
        ((-1, 0), (0, -1)),
        ((0, -1), (1, 0)),
        ((-1, 0), (0, 1)),
        ((0, 1), (1, 0)),
    ],
)
def test_frames_are_upright(tmp_path, right, down):
    path = write_film(tmp_path / "a.mp4", moving(1), tags={"sample_aspect_ratio": Fraction(4, 3)})
    (stored,) = open_film(path).read()
    with_display_matrix(path, right, down)
    film = open_film(path)
    (frame,) = film.read()
    # Every pixel goes where the matrix says, shifted so that all places are positive.
    height, width = stored.pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    shown_x = right[0] * x + down[0] * y
    shown_y = right[1] * x + down[1] * y
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    expected = np.zeros((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    expected[shown_y, shown_x] = stored.pixels
    assert (frame.pixels == expected).all()
    assert film.size == expected.shape[:2]
    assert film.pixel_aspect == (Fraction(4, 3) if right[0] else Fraction(3, 4))
    assert max(frame.thumbnail.shape) == 160
    small = shrunk(frame.pixels).astype(float)
    assert np.abs(frame.thumbnail - small).mean() < 3


STAMPS = [0, 13, 14, 50, 71, 72, 100, 199]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.nut"])
def test_stamps_are_exact(tmp_path, name):
    base = Fraction(1, 1000)
    path = write_film(tmp_path / name, moving(8), stamps=STAMPS, time_base=base)
    film = open_film(path)
    assert [frame.time for frame in film.read()] == [stamp * base for stamp in STAMPS]
    assert [number_of(frame) for frame in film.read()] == list(range(8))


def test_times_are_those_of_the_whole_film(tmp_path):
    """Pictures that begin after the sound do so as well in what is painted of them."""
    stamps = [number + 10 for number in range(4)]
    path = write_film(tmp_path / "a.mkv", moving(4), stamps=stamps, sound=1)
    film = open_film(path)
    assert [frame.time for frame in film.read()] == [Fraction(stamp, 25) for stamp in stamps]

    path = write_film(tmp_path / "a.mp4", moving(4), stamps=stamps, sound=1, sound_start=0.1)
    film = open_film(path)
    for frame, stamp in zip(film.read(), stamps, strict=True):
        assert frame.time % film.time_base == 0
        assert float(frame.time) == pytest.approx(stamp / 25 - 0.1, abs=0.03)

    path = write_film(tmp_path / "b.ts", moving(4), stamps=stamps)
    with av.open(str(path)) as container:
        assert container.start_time > 0
    film = open_film(path)
    assert [frame.time for frame in film.read()] == [Fraction(number, 25) for number in range(4)]


def test_the_length_is_counted_from_the_first_stamp(tmp_path):
    stamps = [number + 125 for number in range(25)]
    path = write_film(tmp_path / "a.mkv", moving(25), stamps=stamps, sound=1, sound_start=5)
    film = open_film(path)
    times = [frame.time for frame in film.read()]
    assert float(times[0]) == pytest.approx(0, abs=0.03)
    assert film.length is not None
    assert float(film.length - times[-1]) == pytest.approx(1 / 25, abs=0.002)
    assert not film.notes


@pytest.mark.parametrize("tag", [b"DURATION", b"ANYTHING"])
def test_sound_that_is_longer_than_the_pictures_is_no_damage(tmp_path, tag):
    path = write_film(tmp_path / "a.mkv", moving(25), sound=3)
    path.write_bytes(path.read_bytes().replace(b"DURATION", tag))
    film = open_film(path)
    assert len(list(film.read())) == 25
    assert film.length == (1 if tag == b"DURATION" else pytest.approx(Fraction(3), abs=0.1))
    assert not film.notes


def test_times_never_go_back(tmp_path):
    """As stamps do where two recordings were joined as they are."""
    path = write_film(tmp_path / "a.ts", moving(12))
    path.write_bytes(path.read_bytes() * 2)
    times = [frame.time for frame in open_film(path).read()]
    assert times == [Fraction(number, 25) for number in range(24)]


def test_sound_stays_in_step_where_recordings_were_joined(tmp_path):
    first = write_film(tmp_path / "a.ts", moving(25), sound=1.4)
    second = write_film(tmp_path / "b.ts", moving(25), sound=1)
    joined = tmp_path / "c.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    film = open_film(joined)
    times = [frame.time for frame in film.read()]
    with film.sound() as sound:
        heard = [packet.pts * packet.time_base for packet in sound.packets]
    assert len(times) == 50
    assert all(one < other for one, other in pairwise(times))
    assert all(one < other for one, other in pairwise(heard))
    # The second begins after the sound of the first, when its first frame can have been decoded.
    assert 1.4 <= times[25] <= 1.55
    assert float(heard[-1]) == pytest.approx(float(times[-1]), abs=0.1)
    assert not film.notes


def test_frames_without_stamps_follow_each_other(tmp_path):
    """Matroska has no stamps below 0, and FFmpeg takes them for unknown."""
    stamps = [number - 5 for number in range(12)]
    options = {"avoid_negative_ts": "disabled"}
    path = write_film(tmp_path / "a.mkv", moving(12), stamps=stamps, container_options=options)
    with av.open(str(path)) as container:
        assert next(container.demux(video=0)).pts is None
    times = [frame.time for frame in open_film(path).read()]
    assert times == [Fraction(number, 25) for number in range(12)]


def test_frames_before_the_first_of_an_edit_list_are_not_shown(tmp_path):
    stamps = [number - 2 for number in range(8)]
    path = write_film(tmp_path / "a.mp4", moving(8), stamps=stamps)
    assert b"elst" in path.read_bytes()
    film = open_film(path)
    assert [number_of(frame) for frame in film.read()] == list(range(2, 8))
    assert [frame.time for frame in film.read()] == [Fraction(number, 25) for number in range(6)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.avi", "libx264"),
    ],
)
def test_start_and_end(tmp_path, name, codec):
    frames = list(moving(12)) * 5
    path = write_film(tmp_path / name, frames, codec, options={"g": "12", "bf": "2"})
    whole = list(open_film(path).read())
    assert len(whole) == 60
    assert all(one.time < other.time for one, other in pairwise(whole))
    for start, end in ((0.04, 0.2), (0.4, 1.2), (1.3, None), (None, 0.5), (1.72, 9)):
        film = open_film(path, start, end)
        # Where the time base is that of frames, the one that is shown at the start is the first.
        assert 0 <= Fraction(str(start or 0)) - film.start < film.time_base
        between = [f for f in whole if film.start <= f.time < Fraction(str(end or 99))]
        read = list(film.read())
        assert [frame.time for frame in read] == [frame.time for frame in between]
        for frame, same in zip(read, between, strict=True):
            assert (frame.pixels == same.pixels).all()
        if name != "a.mpg":  # of whose length FFmpeg has only an estimate
            assert abs(film.count - len(read)) <= 1


@pytest.mark.parametrize(
    ("start", "end"), [(-1, None), (2, None), (0.4, 0.4), (0.3, 0.2), (0, 0), (None, -1)]
)
def test_nothing_between_start_and_end(tmp_path, start, end):
    path = write_film(tmp_path / "a.mp4", moving(12))
    with pytest.raises(ControlError, match=r"a\.mp4: nothing is between second"):
        open_film(path, start, end)
    with pytest.raises(ControlError, match=r"a\.mp4: start and end must be numbers"):
        open_film(path, start, math.nan)


@pytest.mark.parametrize(
    ("start", "end", "upto"), [(1.03, None, "its end"), (0.1, 0.9, "second 0.90")]
)
def test_no_frame_begins_between_start_and_end(tmp_path, start, end, upto):
    base = Fraction(1, 10)
    path = write_film(tmp_path / "a.mp4", moving(2), stamps=[0, 10], time_base=base)
    film = open_film(path, start, end)
    text = f"a.mp4: no frame begins between second {start:.2f} and {upto}; the one before"
    with pytest.raises(FilmError, match=text):
        list(film.read())


def test_sound_is_that_of_the_file(tmp_path):
    path = write_film(tmp_path / "a.mkv", moving(50), sound=2, options={"g": "10"})
    with av.open(str(path)) as container:
        packets = [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]
    with open_film(path).sound() as sound:
        assert [stream.codec_context.name for stream in sound.streams] == ["aac"]
        assert [(packet.pts, bytes(packet)) for packet in sound.packets] == packets

    part = [(pts - 800, data) for pts, data in packets if 800 <= pts < 1200]
    with open_film(path, 0.8, 1.2).sound() as sound:
        assert [(packet.pts, bytes(packet)) for packet in sound.packets] == part
    assert part

    silent = write_film(tmp_path / "b.mkv", moving(2))
    with open_film(silent).sound() as sound:
        assert (sound.streams, list(sound.packets)) == ([], [])


def test_metadata(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Cows"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        for packet in [*stream.encode(av.VideoFrame(64, 48)), *stream.encode()]:
            container.mux(packet)
    assert open_film(path).metadata == {"title": "Cows"}


def test_frames_that_nobody_looks_at_are_not_converted(tmp_path, monkeypatch):
    path = write_film(tmp_path / "a.mp4", moving(12))
    sizes = []
    convert = decoder._FileFrame._converted

    def noted(frame, height, width):
        sizes.append((height, width))
        return convert(frame, height, width)

    monkeypatch.setattr(decoder._FileFrame, "_converted", noted)
    frames = list(open_film(path).read())
    assert not sizes
    for _ in range(2):
        assert frames[3].pixels is frames[3].pixels
        assert frames[5].thumbnail.shape == (120, 160, 3)
    assert sizes == [(48, 64), (120, 160)]


def test_a_reading_that_is_broken_off_closes_its_file(tmp_path):
    path = write_film(tmp_path / "a.mp4", moving(12))
    film, process = open_film(path), psutil.Process()

    def is_open():
        return str(path) in [file.path for file in process.open_files()]

    assert not is_open()
    frames: Any = film.read()
    next(frames)
    assert is_open()
    frames.close()
    assert not is_open()


def test_frames_are_let_go(tmp_path):
    path = write_film(tmp_path / "a.mp4", moving(60))
    seen = []
    for frame in open_film(path).read():
        seen.append(weakref.ref(frame))
        assert sum(one() is not None for one in seen) <= 2


def damage(path, fraction=0.5, length=400):
    data = bytearray(path.read_bytes())
    begin = int(len(data) * fraction)
    noise = np.random.default_rng(0).integers(0, 256, length, np.uint8)
    data[begin : begin + length] = noise.tobytes()
    path.write_bytes(data)


def test_damaged_frames_are_left_out(tmp_path):
    """FFV1 has a checksum in every frame."""
    path = write_film(tmp_path / "a.nut", moving(40), "ffv1", options={"level": "3"})
    film = open_film(path)
    assert not film.notes
    damage(path)
    whole = [frame.time for frame in film.read()]
    assert 30 <= len(whole) < 40
    assert whole == sorted(set(whole))
    assert film.damaged
    assert f"{film.damaged} damaged frame" in film.notes[0]


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_damage_is_no_end(tmp_path, name, fraction):
    matroska = {"cluster_time_limit": "400"}  # milliseconds; reading goes on at the next cluster
    path = write_film(
        tmp_path / name,
        moving(100),
        options={"g": "10"},
        container_options=matroska if name == "a.mkv" else None,
    )
    damage(path, fraction)
    frames = list(open_film(path).read())
    assert len(frames) > 50
    if name != "a.avi":  # which counts frames
        assert frames[-1].time == Fraction(99, 25)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.webm"])
def test_a_film_that_is_cut_off_ends_early(tmp_path, name):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    options = {"g": "10", "deadline": "realtime", "cpu-used": "8"} if "v" in codec else {"g": "10"}
    path = write_film(
        tmp_path / name,
        moving(100),
        codec,
        options=options,
        container_options={"movflags": "faststart"},
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    film = open_film(path)
    frames = list(film.read())
    assert 20 < len(frames) < 90
    assert [number_of(frame) for frame in frames[:12]] == list(range(12))
    if name not in ("a.ts", "a.avi"):  # which do not say how long they were
        assert "may be cut off" in film.notes[-1]


def sound_only(path):
    with av.open(str(path), "w") as container:
        for packet in encode_sound(container, 0.5):
            container.mux(packet)


def cut_header(path):
    write_film(path, moving(20))  # MP4 has its table of frames at the end
    path.write_bytes(path.read_bytes()[:-200])


BAD = {
    "sound.m4a": (sound_only, "holds sound but no pictures"),
    "text.mp4": (lambda path: path.write_text("Hello, this is no film.\n" * 50), "cannot be read"),
    "text.txt": (lambda path: path.write_text("Hello, this is no film.\n" * 50), "cannot be read"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "is empty"),
    "cut.mp4": (cut_header, "cut off"),
    "small.mkv": (lambda path: write_film(path, moving(2, 8, 8), "ffv1"), "8x8 is too small"),
    "still.png": (lambda path: Image.new("RGB", (32, 32)).save(path), "use `impasto stylize`"),
    "still.gif": (lambda path: Image.new("RGB", (32, 32)).save(path), "use `impasto stylize`"),
    "still.jpg": (lambda path: Image.new("RGB", (32, 32)).save(path), "use `impasto stylize`"),
    "frame%03d.png": (lambda path: Image.new("RGB", (32, 32)).save(path), "use `impasto stylize`"),
    "frame%03d.tif": (lambda path: Image.new("RGB", (32, 32)).save(path), "use `impasto stylize`"),
    "missing.mp4": (lambda path: None, "no such file"),
    "pipe.mp4": (os.mkfifo, "is no ordinary file"),
    "folder.mp4": (lambda path: path.mkdir(), "holds no pictures"),
    "list.m3u8": (
        lambda path: path.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"
        ),
        "cannot be read",
    ),
    "list.ffconcat": (
        lambda path: path.write_text("ffconcat version 1.0\nfile other.ts\n"),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_film_is_refused_in_one_line(tmp_path, name, capfd):
    write_film(tmp_path / "other.ts", moving(4))
    make, text = BAD[name]
    path = tmp_path / name
    make(path)
    with pytest.raises((FilmError, ImageError)) as caught:
        open_film(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert text in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a:b.mp4", "concat:a.mp4", "file:a.mp4", "%d.mkv", "ä ö.mp4"])
def test_names_are_taken_as_they_are(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = write_film(tmp_path / "film.mp4", moving(2))
    written.rename(name)
    assert len(list(open_film(Path(name)).read())) == 2


def test_the_cover_of_a_song_is_no_film(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        packets = encode_sound(container, 0.2)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for packet in [*packets, *cover.encode(av.VideoFrame(32, 32, "yuvj420p"))]:
            container.mux(packet)
    with pytest.raises(FilmError, match="sound but no pictures"):
        open_film(path)


def transparent(count=4):
    """Frames with a hole that grows."""
    for number, frame in enumerate(moving(count)):
        alpha = np.full((*frame.shape[:2], 1), 255, np.uint8)
        alpha[30:, : 8 * (number + 1)] = 0
        yield np.concatenate((frame, alpha), -1)


@pytest.mark.parametrize(
    ("name", "durations", "options", "plays"),
    [
        ("a.gif", [20, 100, 50, 10], {"loop": 0, "disposal": 2}, 0),
        ("a.gif", [20, 100, 50, 10], {"loop": 2, "disposal": 2}, 3),
        ("a.gif", [20, 100, 50, 10], {"disposal": 2}, 1),
        ("a.webp", [33, 100, 7, 40], {"loop": 2, "lossless": True}, 2),
        ("a.png", [20, 100, 50, 10], {"loop": 2, "disposal": 1}, 2),
    ],
)
def test_animations(tmp_path, name, durations, options, plays):
    path, originals = tmp_path / name, list(transparent())
    first, *others = [Image.fromarray(frame) for frame in originals]
    first.save(path, save_all=True, append_images=others, duration=durations, **options)
    film = open_film(path)
    begins = np.cumsum([0, *durations])
    for _ in range(2):
        read = list(film.read())
        assert [frame.time for frame in read] == [Fraction(int(ms), 1000) for ms in begins[:-1]]
    assert film.duration == Fraction(int(begins[-1]), 1000)
    assert (film.plays, film.size, film.count) == (plays, (48, 64), 4)
    for frame, original in zip(read, originals, strict=True):
        seen = original[..., 3] == 255
        assert (frame.pixels[..., 3] == original[..., 3]).all()
        error = frame.pixels[..., :3].astype(float) - original[..., :3]
        assert np.abs(error[seen]).mean() < (12 if name == "a.gif" else 0.1)
        assert frame.thumbnail.shape == (120, 160, 3)
        assert frame.time % film.time_base == 0

    part = [frame.time for frame in open_film(path, 0.02, 0.135).read()]
    assert part == [frame.time for frame in read[1:3]]


def test_the_picture_for_programs_without_animations_is_none_of_the_frames(tmp_path):
    path = tmp_path / "a.png"
    frames = [Image.fromarray(frame) for frame in moving(3)]
    Image.new("RGB", (64, 48), "white").save(
        path, save_all=True, append_images=frames, duration=40, default_image=True
    )
    film = open_film(path)
    assert [number_of(frame) for frame in film.read()] == [0, 1, 2]
    assert film.rate == 25
    assert [frame.time for frame in film.read()] == [Fraction(number, 25) for number in range(3)]


def test_an_animation_that_is_cut_off(tmp_path):
    path = tmp_path / "a.gif"
    first, *others = [Image.fromarray(frame) for frame in moving(10)]
    first.save(path, save_all=True, append_images=others, duration=40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    film = open_film(path)
    assert 3 <= len(list(film.read())) <= 7
    assert "cannot be read" in film.notes[0]


def test_folders(tmp_path):
    frames = list(moving(12))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{number}.png")
    film = open_film(tmp_path)
    assert [number_of(frame) for frame in film.read()] == list(range(12))
    assert [frame.time for frame in film.read()] == [Fraction(number, 25) for number in range(12)]
    film = open_film(tmp_path, 0.2, 0.9, rate=10)
    assert [number_of(frame) for frame in film.read()] == list(range(2, 9))
    assert film.duration == Fraction(7, 10)

    (tmp_path / "frame3.png").write_bytes(b"")
    film = open_film(tmp_path)
    assert [number_of(frame) for frame in film.read()] == [0, 1, 2, *range(4, 12)]
    assert film.damaged == 1
    Image.new("RGB", (32, 32)).save(tmp_path / "frame7.png")
    with pytest.raises(FilmError, match=r"frame7\.png: is 32x32, the frames before are 64x48"):
        list(film.read())
