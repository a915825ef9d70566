"""Painted films are written as they were read: stamps, colours, sound; and can be joined."""

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from impasto.errors import ControlError, OutputError
from impasto.video.base import Colour, Film
from impasto.video.encoding import CODECS, Encoding
from impasto.video.film import paint_film
from impasto.video.frames import ArrayFrame
from impasto.video.reader import open_film
from impasto.video.segments import segment
from impasto.video.writer import CONTAINERS, output_of
from tests.helpers.film_files import write_film
from tests.helpers.painter import Inverting
from tests.helpers.pictures import photo_array

NTSC = Fraction(1001, 30000)


@dataclass(kw_only=True)
class MadeFilm(Film):
    """A film of arrays."""

    pixels: list = field(default_factory=list)
    times: list = field(default_factory=list)

    def _frames(self):
        yield from map(ArrayFrame, self.pixels, self.times)


def made(times, *, size=(48, 64), time_base=Fraction(1, 25), **options):
    pixels = [np.roll(photo_array(*size), 3 * number, 1) for number in range(len(times))]
    return MadeFilm(
        path=Path(__file__),
        size=size,
        rate=Fraction(25),
        time_base=time_base,
        length=None,
        frames=len(times),
        pixels=pixels,
        times=times,
        **options,
    )


def painted(film, path, **options):
    """Paints a film with the stand-in; returns what is written, opened anew."""
    paint_film(film, path, Inverting(), **options)
    return open_film(path)


def uneven(time_base, count=120):
    """Stamps as phones write them: nearly regular."""
    step = max(round(Fraction(1, 30) / time_base), 1)
    jitter = np.random.default_rng(0).integers(0, 2, count).tolist()
    stamps = np.cumsum([7 + step, *(step + more for more in jitter)][:count]).tolist()
    return [stamp * time_base for stamp in stamps]


def packets_of(path, kind):
    with av.open(os.fspath(path)) as container:
        streams = getattr(container.streams, kind)
        found = [packet for packet in container.demux(*streams) if packet.size]
        return [(p.stream.index, p.pts * p.time_base, bytes(p)) for p in found]


@pytest.mark.parametrize("time_base", [Fraction(1, 90_000), NTSC, Fraction(1, 1000)])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "h264"),
        ("a.mov", "h265"),
        ("a.webm", "vp9"),
        ("a.mkv", "ffv1"),
        ("a.mp4", "av1"),
    ],
)
def test_stamps_are_those_of_the_film(tmp_path, name, codec, time_base):
    times = uneven(time_base)
    paint_film(made(times, time_base=time_base), tmp_path / name, Inverting(), codec=codec)
    with av.open(os.fspath(tmp_path / name)) as container:
        found = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert len(found) == len(times)
    if name.endswith((".mkv", ".webm")):  # which count in milliseconds
        assert max(abs(one - other) for one, other in zip(found, times, strict=True)) <= 0.0005
    else:
        assert found == times


@pytest.mark.parametrize("codec", CODECS)
def test_segments_can_be_joined(tmp_path, codec):
    """Each begins with a key frame, is in order, and has the same parameter sets."""
    film = made([])
    heads = set()
    for number in range(2):
        path = tmp_path / f"{number}.nut"
        with segment(path, Encoding.of(film, CODECS[codec], CODECS[codec].crf)) as add:
            for index in range(8):
                add(np.roll(photo_array(), 9 * index + number, 0), Fraction(8 * number + index, 25))
        with av.open(os.fspath(path)) as container:
            heads.add(container.streams.video[0].codec_context.extradata)
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.pts * packet.time_base for packet in packets] == [
            Fraction(8 * number + index, 25) for index in range(8)
        ]
        assert all(packet.dts in (None, packet.pts) for packet in packets)
        assert packets[0].is_keyframe
    assert len(heads) == 1


def test_a_film_has_a_key_frame_every_two_seconds(tmp_path):
    paint_film(made([Fraction(n, 25) for n in range(120)]), tmp_path / "a.mp4", Inverting())
    with av.open(os.fspath(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert keys == [0, 50, 100]
    assert len(packets) == 120
    assert not (tmp_path / "a.mp4.parts").exists()


LUMA = {
    1: (0.2126, 0.0722),
    4: (0.3, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


def to_yuv(rgb, matrix, full_range):
    """The definition of Y'CbCr, (H, W, 3) in 0..255 to three planes."""
    kr, kb = LUMA[matrix]
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = ((blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr))
    if full_range:
        return np.stack([luma * 255, *(255 * part + 128 for part in chroma)])
    return np.stack([16 + 219 * luma, *(128 + 224 * part for part in chroma)])


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_colours_become_numbers_as_the_standard_says(matrix, full_range):
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    pixels = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
    film = made([], colour=Colour(matrix, full_range))
    planes = Encoding.of(film, CODECS["h264"], 18).frame(pixels).to_ndarray()
    height, width = pixels.shape[:2]
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    expected_luma, *expected_chroma = to_yuv(pixels, matrix, full_range)
    assert np.abs(luma - expected_luma).max() < 0.51
    # Inside of blocks: at their edges it matters where chroma is measured.
    off = np.abs(chroma[:, 3::8, 3::8] - np.stack(expected_chroma)[:, 6::16, 6::16])
    assert off.max() <= (1.1 if full_range else 0.6)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("colour", [Colour(6, False, 6, 6), Colour(1, True, 1, 13)])
def test_what_the_colours_mean_is_written_and_true(tmp_path, name, colour):
    film = made([Fraction(n, 25) for n in range(3)], colour=colour, pixel_aspect=Fraction(1))
    written = painted(film, tmp_path / name, crf=4)
    assert written.colour == colour
    found = np.stack([frame.pixels for frame in written.read()]).astype(float)
    assert np.abs(found[0] - (255 - film.pixels[0].astype(float))).mean() < 4


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1"])
def test_pixels_stay_as_wide_as_they_are(tmp_path, codec):
    film = made([Fraction(0), Fraction(1, 25)], pixel_aspect=Fraction(16, 11))
    assert painted(film, tmp_path / "a.mp4", codec=codec).pixel_aspect == Fraction(16, 11)


def test_pixels_that_are_not_square_are_told_where_they_would_become_so(tmp_path):
    film = made([Fraction(0)], pixel_aspect=Fraction(16, 11))
    (note,) = output_of(tmp_path / "a.webm").check(film)
    assert "vp9" in note
    assert output_of(tmp_path / "a.mkv").check(film) == []
    assert painted(film, tmp_path / "a.mkv").pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize("size", [(47, 63), (47, 64), (48, 63)])
def test_odd_sides_become_even_where_they_must(tmp_path, size):
    film = made([Fraction(n, 25) for n in range(3)], size=size)
    result = paint_film(film, tmp_path / "a.mp4", Inverting(), crf=1)
    assert "h264 needs even sides" in result.notes[0]
    written = open_film(tmp_path / "a.mp4")
    height, width = size
    assert result.size == written.size == (height + height % 2, width + width % 2) == (48, 64)
    (first, *_) = written.read()
    padded = np.pad(film.pixels[0], ((0, 48 - height), (0, 64 - width), (0, 0)), "edge")
    assert np.abs(first.pixels - (255.0 - padded)).mean() < 4
    result = paint_film(film, tmp_path / "a.webm", Inverting())
    assert (result.size, result.notes) == (size, ())


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("sound_start", [0, 0.3])
def test_sound_is_copied_bit_by_bit(tmp_path, name, sound_start):
    frames = [photo_array()] * 60
    source = write_film(tmp_path / "in.mp4", frames, sound=2.7, sound_start=sound_start)
    film = open_film(source)
    paint_film(film, tmp_path / name, Inverting())
    before, after = packets_of(source, "audio"), packets_of(tmp_path / name, "audio")
    assert [data for *_, data in after] == [data for *_, data in before]
    pictures_before = packets_of(source, "video")[0][1]
    pictures_after = packets_of(tmp_path / name, "video")[0][1]
    for (_, old, _), (_, new, _) in zip(before, after, strict=True):
        off = (new - pictures_after) - (old - pictures_before)
        assert abs(off) <= (0.0011 if name == "a.mkv" else 0)


def test_sound_of_a_part_stays_in_step(tmp_path):
    source = write_film(tmp_path / "in.mp4", [photo_array()] * 60, sound=2.4)
    film = open_film(source, 0.5, 1.5)
    paint_film(film, tmp_path / "a.mp4", Inverting())
    before = [(time, data) for _, time, data in packets_of(source, "audio")]
    after = [(time + film.start, data) for _, time, data in packets_of(tmp_path / "a.mp4", "audio")]
    assert after == [(time, data) for time, data in before if 0.5 <= time < 1.5]
    assert len(list(open_film(tmp_path / "a.mp4").read())) == 25


def test_a_container_that_cannot_hold_the_sound_is_refused_with_the_fix(tmp_path):
    source = write_film(tmp_path / "in.mp4", [photo_array()] * 3, sound=0.2)
    with pytest.raises(
        OutputError, match=r"cannot hold the film's sound \(aac\); use .*\.mkv"
    ) as e:
        output_of(tmp_path / "a.webm").check(open_film(source))
    assert ".webm cannot" in str(e.value)
    assert ".webm" not in str(e.value).split("use ")[1]


def test_metadata_is_kept_and_the_recipe_put_in(tmp_path):
    film = made([Fraction(0)], metadata={"title": "Lake", "comment": "mine"})
    written = painted(film, tmp_path / "a.mp4", recipe={"strength": 0.5})
    assert written.metadata["title"] == "Lake"
    assert written.metadata["comment"] == "mine"
    assert written.metadata["description"] == '{"strength": 0.5}'


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_animations_come_out(tmp_path, name, plays):
    times = [Fraction(stamp, 100) for stamp in (0, 10, 15, 35, 40, 47, 60)]
    film = made(times, time_base=Fraction(1, 100), plays=plays)
    film.length = Fraction(85, 100)
    written = painted(film, tmp_path / name)
    assert written.plays == plays
    assert [frame.time for frame in written.read()] == times
    assert written.length == film.length
    for frame, pixels in zip(written.read(), expected(film), strict=True):
        assert np.abs(frame.pixels[..., :3] - pixels).mean() < (9 if name == "a.gif" else 6)


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_a_single_frame_becomes_a_picture(tmp_path, name, transparent):
    film = made([Fraction(0)], transparent=transparent)
    paint_film(film, tmp_path / name, Inverting())
    with Image.open(tmp_path / name) as image:
        assert np.abs(np.asarray(image.convert("RGB")) - expected(film)[0]).mean() < 9


class Copying:
    """A painter that leaves frames as they are, with their alpha."""

    def __init__(self):
        self.memory = {}

    def paint(self, film_frames, scout, done=0, memory=None):
        yield from (frame.pixels for frame in film_frames)


@pytest.fixture
def holey(tmp_path):
    """An animated PNG of a square that wanders over nothing, after a frame that is full."""
    frames = [np.full((48, 64, 4), (200, 90, 60, 255), np.uint8)]
    for number in range(3):
        frame = np.zeros((48, 64, 4), np.uint8)
        frame[8:24, 16 * number : 16 * number + 16] = 40, 90, 160, 255
        frames.append(frame)
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(
        tmp_path / "in.png", save_all=True, append_images=pictures[1:], duration=100, blend=0
    )
    return tmp_path / "in.png"


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "frames"])
def test_transparency_is_kept_where_it_can_be(holey, name):
    # In a GIF by FFmpeg what a full frame shows cannot become transparent in the next.
    film = open_film(holey, 0.1 if name == "a.gif" else 0)
    output = holey.with_name(name)
    assert [frame.pixels.shape[2] for frame in open_film(holey).read()] == [3, 4, 4, 4]
    assert output_of(output).check(film) == []
    paint_film(film, output, Copying())
    for one, other in zip(film.read(), open_film(output).read(), strict=True):
        full = np.full((*one.pixels.shape[:2], 1), 255, np.uint8)
        before, after = (np.dstack([frame.pixels, full])[..., :4] for frame in (one, other))
        assert np.array_equal(before[..., 3], after[..., 3])
        seen = before[..., 3] == 255
        assert np.abs(before[seen] - after[seen].astype(float)).mean() < 6


def test_transparency_that_is_left_out_is_told(holey):
    film = open_film(holey)
    assert output_of(holey.with_name("a.mp4")).check(film) == [
        f"{holey}: its transparency is left out"
    ]
    assert output_of(holey.with_name("a.mkv"), "ffv1").check(film) == []


def expected(film):
    """What the stand-in paints."""
    return [pixels.astype(float) for pixels in Inverting().paint(film.read(), None)]


def test_browsers_show_no_more_than_fifty_frames_a_second(tmp_path):
    film = made([Fraction(n, 120) for n in range(24)], time_base=Fraction(1, 120))
    film.rate = Fraction(120)
    (note,) = output_of(tmp_path / "a.gif").check(film)
    assert "50 frames" in note
    times = [frame.time for frame in painted(film, tmp_path / "a.gif").read()]
    steps = np.diff([float(time) for time in times])
    assert steps.min() >= 0.0199
    assert steps.max() <= 0.0301


def test_a_folder_of_pictures_comes_out(tmp_path):
    film = made([Fraction(n, 25) for n in range(4)])
    paint_film(film, tmp_path / "frames", Inverting())
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == [f"00000{n}.png" for n in range(1, 5)]
    for file, pixels in zip(files, expected(film), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), pixels)
    with pytest.raises(OutputError, match="is not empty; choose a new folder"):
        paint_film(film, tmp_path / "frames", Inverting())


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("a.avi", {}, OutputError, "cannot write '.avi' films; use .mp4"),
        ("none/a.mp4", {}, OutputError, "there is no folder"),
        (
            "a.webm",
            {"codec": "h264"},
            ControlError,
            "use .mp4 or .m4v or .mov or .mkv, or one of vp9",
        ),
        ("a.mp4", {"crf": 60}, ControlError, "use 0 (best) to 51 with h264"),
        ("a.mkv", {"codec": "ffv1", "crf": 3}, ControlError, "ffv1 loses nothing"),
        ("a.gif", {"crf": 3}, ControlError, "leave it out"),
        ("a.mp4", {"codec": "divx"}, ControlError, "codec is divx"),
    ],
)
def test_what_cannot_be_written_is_said_before_painting(tmp_path, name, options, error, text):
    with pytest.raises(error) as caught:
        paint_film(made([Fraction(0)]), tmp_path / name, None, **options)
    assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_containers_hold_what_they_say(tmp_path):
    for suffix, (_, names) in CONTAINERS.items():
        for codec in names:
            film = made([Fraction(n, 25) for n in range(2)])
            assert len(list(painted(film, tmp_path / f"{codec}{suffix}", codec=codec).read())) == 2
