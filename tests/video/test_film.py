"""Films are painted in segments: what is done is never lost, and work goes on where it ended."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import av
import numpy as np
import pytest

from impasto.errors import FilmError, OutputError, Stop
from impasto.video import film as film_module
from impasto.video.film import paint_film
from impasto.video.prefetch import prefetch
from impasto.video.reader import open_film
from tests.helpers.film_files import write_film
from tests.helpers.painter import Inverting
from tests.helpers.pictures import photo_array

FRAMES = 60
SCRIPT = """
import time
from pathlib import Path
from impasto.video.film import paint_film
from impasto.video.reader import open_film
from tests.helpers.painter import Inverting

def slowly(progress):
    print(progress.done, flush=True)
    time.sleep(0.01)

film, output = open_film(Path("in.mp4")), Path("out.mkv")
paint_film(film, output, Inverting(), codec="ffv1", on_frame=slowly)
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A film of 60 frames with sound, in the working folder."""
    frames = [np.roll(photo_array(), 3 * number, 1) for number in range(FRAMES)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(film_module, "SEGMENT_SECONDS", Fraction(1, 2))  # of 12 frames
    return write_film(tmp_path / "in.mp4", frames, sound=2.4)


def paint(output, **options):
    painter = options.pop("painter", Inverting())
    return paint_film(open_film(Path("in.mp4")), Path(output), painter, **options)


def frames_of(path):
    with av.open(os.fspath(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def packets_of(path):
    """All that is encoded, with its place and its time."""
    with av.open(path) as container:
        return [
            (packet.stream_index, packet.pts, packet.dts, packet.duration, bytes(packet))
            for packet in container.demux()
            if packet.size
        ]


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def same(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def stopping_after(number):
    def on_frame(progress):
        if progress.done == number:
            raise Stop

    return on_frame


def test_progress_is_told(source):
    seen = []
    result = paint("out.mp4", on_frame=seen.append)
    assert [progress.done for progress in seen] == list(range(1, FRAMES + 1))
    assert {progress.count for progress in seen} == {FRAMES}
    assert [progress.second for progress in seen] == [float(Fraction(n, 25)) for n in range(FRAMES)]
    assert all(progress.rate > 0 for progress in seen)
    assert seen[29].fraction == 0.5
    assert seen[29].seconds_left == pytest.approx(30 / seen[29].rate)
    assert seen[-1].seconds_left == 0
    painted = list(Inverting().paint(open_film(source).read(), None))
    assert all(np.array_equal(one.image(), two) for one, two in zip(seen, painted, strict=True))
    assert (result.frames, result.size, result.stopped) == (FRAMES, (48, 64), False)
    assert result.seconds == 2.4
    assert result.output == Path("out.mp4")


def test_a_film_that_is_stopped_can_be_watched_and_gone_on_with(source):
    whole = paint("whole.mkv", codec="ffv1")
    result = paint("out.mkv", codec="ffv1", on_frame=stopping_after(20))
    assert result.stopped
    assert result.frames == 20
    assert result.seconds == 0.8
    whole = frames_of("whole.mkv")
    assert same(frames_of("out.mkv"), whole[:20])
    with av.open("out.mkv") as container:
        heard = [p.pts * p.time_base for p in container.demux(audio=0) if p.size]
    assert 0.75 < max(heard) < 0.8 + 0.022  # Matroska begins with the silence before the sound
    calls = []
    result = paint("out.mkv", codec="ffv1", resume=True, on_frame=calls.append)
    assert [progress.done for progress in calls] == list(range(21, FRAMES + 1))
    assert not result.stopped
    assert same(frames_of("out.mkv"), whole)
    assert not Path("out.mkv.parts").exists()


def test_after_a_kill_it_goes_on_as_if_nothing_had_been(source):
    """At any moment: with each try it is another. What libx264 makes of the same frames is not
    always the same, and Matroska gives each file a number of its own.
    """
    paint("whole.mkv", codec="ffv1")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    script = "import impasto.video.film as f; from fractions import Fraction\n"
    script += "f.SEGMENT_SECONDS = Fraction(1, 2)\n" + SCRIPT
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    ) as process:
        reached = int(np.random.default_rng().integers(13, FRAMES - 5))
        for _ in islice(process.stdout, reached):
            pass
        time.sleep(np.random.default_rng().uniform(0, 0.01))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not Path("out.mkv").exists()
    done = []
    paint("out.mkv", codec="ffv1", resume=True, on_frame=done.append)
    assert done[0].done > 12  # the frames of a segment, at least, were kept
    assert (done[0].done - 1) % 12 == 0
    assert packets_of("out.mkv") == packets_of("whole.mkv")


def test_slow_work_is_kept_in_shorter_segments(source, monkeypatch):
    whole = paint("whole.mkv", codec="ffv1")
    monkeypatch.setattr(film_module, "SEGMENT_WORK", -1)  # each frame takes too long

    def interrupted(progress):
        if progress.done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint("out.mkv", codec="ffv1", on_frame=interrupted)
    calls = []
    paint("out.mkv", codec="ffv1", resume=True, on_frame=calls.append)
    assert calls[0].done == 17
    assert same(frames_of("out.mkv"), frames_of(whole.output))


def test_parts_of_an_earlier_run_are_neither_lost_nor_mixed_with_others(source):
    paint("out.mp4", recipe={"strength": 1.0}, on_frame=stopping_after(20))
    with pytest.raises(FilmError, match=r"out.mp4.parts: holds 20 frames of .* --resume"):
        paint("out.mp4", recipe={"strength": 1.0})
    with pytest.raises(FilmError, match=r"with another strength \(1.0 then, 0.5 now\)"):
        paint("out.mp4", recipe={"strength": 0.5}, resume=True)
    with pytest.raises(FilmError, match=r"with another crf \(18 then, 30 now\)"):
        paint("out.mp4", recipe={"strength": 1.0}, crf=30, resume=True)
    write_film(source, [photo_array()] * FRAMES)
    with pytest.raises(FilmError, match="with another film;"):
        paint("out.mp4", recipe={"strength": 1.0}, resume=True)
    for text in ("{", "[]", "{}"):
        Path("out.mp4.parts/film.json").write_text(text)
        with pytest.raises(FilmError, match="is damaged; delete this folder"):
            paint("out.mp4", resume=True)
    assert len(frames_of("out.mp4")) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot lock folders")
@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_into_one_output_are_refused(source, resume):
    refusals = []

    def again(progress):
        if progress.done in (1, 20):
            with pytest.raises(FilmError, match="another run is painting into it") as caught:
                paint("out.mp4", resume=resume)
            refusals.append(caught)

    assert paint("out.mp4", on_frame=again).frames == FRAMES
    assert len(refusals) == 2
    assert names_in(".") == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) * 9 // 10],
        lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[-(len(data) // 3) :],
        lambda data: b"garbage" * 99,
    ],
)
def test_a_damaged_segment_is_named_before_painting(source, number, name, damage):
    paint(name, on_frame=stopping_after(40))
    part = Path(f"{name}.parts/00000{number}.nut")
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(FilmError) as caught:
        paint(name, resume=True, painter=None)
    assert str(caught.value) == (
        f"{part}: is damaged; delete the folder {name}.parts to begin anew"
    )


def test_resume_without_parts_begins_at_the_beginning(source):
    assert paint("out.mp4", resume=True).frames == FRAMES


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a:c.mp4", "12:30.gif", "12:30"])
def test_a_colon_in_a_name_is_no_protocol(source, name):
    assert paint(name).frames == FRAMES
    assert names_in(".") == sorted(["in.mp4", name])


def test_what_was_painted_before_an_error_is_written(source):
    with pytest.raises(FilmError) as caught:
        paint("out.mp4", painter=Inverting(fails_at=30))
    text = str(caught.value)
    assert text.startswith(
        "ValueError: the brush broke; what was painted before, 30 frames, is in out"
    )
    assert "--resume" in text
    assert len(frames_of("out.mp4")) == 30
    assert paint("out.mp4", resume=True).frames == FRAMES


def test_an_error_at_the_first_frame_leaves_nothing(source):
    with pytest.raises(ValueError, match="the brush broke"):
        paint("out.mp4", painter=Inverting(fails_at=0))
    assert names_in(".") == ["in.mp4"]


def test_a_second_interrupt_keeps_whole_segments(source):
    def interrupted(progress):
        if progress.done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint("out.mp4", on_frame=interrupted)
    assert not Path("out.mp4").exists()
    calls = []
    paint("out.mp4", resume=True, on_frame=calls.append)
    assert calls[0].done == 25


@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind are Unix's")
def test_a_full_disk_is_told_and_what_was_painted_is_kept(source):
    """Noise, of which a segment of 12 frames takes some 110 kB."""
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 48, 64, 3)).astype(np.uint8)
    write_film(source, noise, options={"crf": "0"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    done = []

    def fill(progress):
        done.append(progress.done)
        if progress.done == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(FilmError) as caught:
            paint("out.mkv", codec="ffv1", on_frame=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot be written (File too large); free space or choose another place" in str(
        caught.value
    )
    assert "what is painted, 24 frames, is kept in out.mkv.parts: add --resume" in str(caught.value)
    assert done[-1] < FRAMES
    assert names_in(".") == ["in.mp4", "out.mkv.parts"]
    assert paint("out.mkv", codec="ffv1", resume=True).frames == FRAMES


def test_a_folder_that_cannot_be_made_is_told(source):
    Path("out.mp4.parts").write_text("mine")
    with pytest.raises(OutputError, match="cannot be created"):
        paint("out.mp4")
    assert Path("out.mp4.parts").read_text() == "mine"


def test_what_others_keep_in_the_folder_of_parts_stays(source):
    Path("out.mp4.parts").mkdir()
    Path("out.mp4.parts/mine.txt").write_text("mine")
    paint("out.mp4")
    assert names_in("out.mp4.parts") == ["mine.txt"]


def test_parts_take_little_room_beside_the_film(source):
    paint("out.mp4", recipe={"seed": 1}, on_frame=stopping_after(40))
    names = names_in("out.mp4.parts")
    assert names == [f"00000{n}.nut" for n in range(3)] + [
        "000003.nut",
        "000003.safetensors",
        "film.json",
    ]
    assert json.loads(Path("out.mp4.parts/film.json").read_text())["seed"] == 1


def test_items_come_in_order_and_ahead():
    made = []

    def items():
        for number in range(6):
            made.append(number)
            yield number

    ahead = prefetch(items(), 3)
    assert next(ahead) == 0
    until = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < until:
        time.sleep(0.001)
    assert made == [0, 1, 2, 3]
    assert list(ahead) == [1, 2, 3, 4, 5]


def test_an_exception_comes_where_its_item_would_have():
    def items():
        yield 1
        raise KeyError("two")

    ahead = prefetch(items(), 2)
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="two"):
        next(ahead)


def test_a_closed_iterator_goes_no_further():
    before = threading.active_count()
    made = []
    ahead = prefetch((made.append(number) for number in count()), 2)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
    assert len(made) <= 4
