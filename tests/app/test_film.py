"""The page for films without a browser, and the files behind it."""

import gc
import io
import os
import shlex
import tempfile

import av
import numpy as np
import pytest
from PIL import Image

import impasto.app
from impasto.app import films, session
from impasto.app.films import BroughtFilm, paint_preview, paint_whole
from impasto.app.job_queue import Job
from impasto.app.pages import film as film_page
from impasto.app.request import Request, StyleChoice
from impasto.app.session import Session
from impasto.errors import OutputError
from impasto.video.painting import FilmPainter
from impasto.video.reader import open_film
from impasto.video.writer import FilmOutput
from tests.app.test_pages import (
    buttons,
    choose,
    errors,
    labels,
    mine,
    new_page,
    press,
    ran,
    waited,
)
from tests.helpers import cli
from tests.helpers.app import upload
from tests.helpers.film_files import write_film
from tests.helpers.pictures import photo_array

SIZE = (48, 64)
COUNT, RATE = 6, 25
UDNIE = Request(None, (StyleChoice("udnie"),), {})


def film_bytes(tmp_path, name="beach.mp4", seconds=COUNT / RATE, sound=0.0):
    """A film that pans over a photo."""
    count = round(seconds * RATE)
    frames = [np.roll(photo_array(*SIZE), n, 1) for n in range(count)]
    return write_film(tmp_path / name, frames, sound=sound).read_bytes()


def gif_bytes(count=COUNT):
    pictures = [Image.fromarray(np.roll(photo_array(*SIZE), n, 1)) for n in range(count)]
    encoded = io.BytesIO()
    pictures[0].save(encoded, "GIF", save_all=True, append_images=pictures[1:], duration=40)
    return encoded.getvalue()


def give(test, name, data):
    test.get("file_uploader")[0].upload(name, data, "video/mp4")
    return ran(test)


def painted(work, brought, request=UDNIE):
    """What a job paints."""
    job = Job(lambda job: work(brought, request, job), quick=False)
    job.run()
    assert job.error is None, job.error
    return job.result


def frames_of(path):
    with av.open(os.fspath(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def pixels_of(path):
    with av.open(os.fspath(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def links(test):
    return {link.proto.label: link.proto.url for link in test.get("link_button")}


def html(test):
    return " ".join(one.proto.body for one in test.get("html"))


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The page with a film on it, whose beginning is painted."""
    test = give(new_page(monkeypatch, "film"), "b_ch.mp4", film_bytes(tmp_path))
    return waited(choose(test, "udnie", key="film"))


# The page


def test_the_beginning_is_painted_at_once_and_the_rest_when_it_is_wanted(page):
    brought = mine(page).brought_film
    assert (brought.size, brought.seconds) == (SIZE[::-1], COUNT / RATE)
    assert (brought.preview.frames, brought.painted) == (COUNT, None)
    assert f"/film/{mine(page).token}/{brought.preview.name}" in html(page)
    press(page, "Paint the whole film")
    whole = brought.painted
    assert (whole.frames, whole.stopped) == (COUNT, "")
    assert frames_of(whole.path) == COUNT
    assert "Paint the whole film" not in buttons(page)
    (url,) = links(page).values()
    assert url == f"/film/{mine(page).token}/{whole.name}?download=b_ch-painted.mp4"
    assert "<video" in html(page)
    assert page.code[0].value == "impasto video b_ch.mp4 udnie -o b_ch-painted.mp4"
    assert "data-impasto-unsaved" in html(page)


def test_what_was_painted_otherwise_is_told_and_stays(page):
    press(page, "Paint the whole film")
    brought = mine(page).brought_film
    before, whole = brought.preview, brought.painted
    labels(page)["Stability"].set_value(0.5)
    waited(ran(page))
    assert brought.preview.request.options == {"stability": 0.5}
    assert not before.path.exists()
    assert whole.path.exists()
    assert any("with other settings" in caption.value for caption in page.caption)
    press(page, "Paint the whole film")
    assert brought.painted.request.options == {"stability": 0.5}
    assert not whole.path.exists()


def test_the_longer_side_is_chosen(page, monkeypatch):
    monkeypatch.setitem(film_page.SIZES, "Small", 50)
    labels(page)["Size"].set_value("Small")
    waited(ran(page))
    assert mine(page).brought_film.wanted.options == {"size": 50}


def test_a_film_that_is_stopped_can_be_had_and_goes_on(page, monkeypatch):
    report = Job.report

    def stop_at_third(job, step, *given):
        if step == 3:
            job.stop()
        report(job, step, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "report", stop_at_third)
        press(page, "Paint the whole film")
    brought = mine(page).brought_film
    first = brought.painted
    assert [info.value for info in page.info] == [f"Stopped after 3 of {COUNT} frames."]
    assert frames_of(first.path) == 3
    assert len(links(page)) == 1
    press(page, "Paint the rest")
    assert (brought.painted.path, frames_of(first.path)) == (first.path, COUNT)
    assert brought.painted.name != first.name
    assert not page.info


def test_bad_films_are_told_in_a_sentence_without_folders(monkeypatch, tmp_path):
    page = new_page(monkeypatch, "film")
    still = io.BytesIO()
    Image.fromarray(photo_array(*SIZE)).save(still, "GIF")
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    for data, name, told in (
        (b"no film", "a.mp4", r"a.mp4\: "),
        (b"", "a.mp4", r"a.mp4\: is empty"),
        (still.getvalue(), "a.gif", r"a.gif\: is a picture and not a film; take it to the page"),
        ((tmp_path / "sound.mp4").read_bytes(), "a.mp4", "sound but no pictures"),
        (film_bytes(tmp_path)[:2000], "../b.mp4", r"b.mp4\: "),
    ):
        give(page, name, data)
        (error,) = errors(page)
        assert told in error
        assert tempfile.gettempdir() not in error
        assert mine(page).brought_film is None


def test_films_have_limits(monkeypatch, tmp_path):
    data = film_bytes(tmp_path, seconds=1.2)
    page = new_page(monkeypatch, "film")
    with monkeypatch.context() as patch:
        patch.setattr(films, "MOST_SECONDS", 1)
        give(page, "a.mp4", data)
        assert "painted here" in errors(page)[0]
    with monkeypatch.context() as patch:
        patch.setenv("IMPASTO_APP_MEGAPIXELS", "0.003")
        give(page, "a.mp4", data)
        assert "64 x 48 pixels, which is more than the 0.003 megapixels" in errors(page)[0]
    with monkeypatch.context() as patch:
        patch.setattr(film_page, "FILM_MB", 1)
        ran(page)
        give(page, "a.mp4", data + bytes(2**20))  # which no browser would send
        assert mine(page).brought_film is None
    give(ran(page), "a.mp4", data)
    assert errors(page) == []
    assert mine(page).brought_film.seconds == pytest.approx(1.2)


def test_without_the_extra_there_is_no_such_page(monkeypatch):
    def menu(test):
        return [link.proto.label for link in test.get("page_link")]

    assert "Film" in menu(new_page(monkeypatch))
    monkeypatch.setattr(impasto.app, "HAS_VIDEO", False)
    assert menu(new_page(monkeypatch)) == ["Paint", "Many photos", "Texture"]


# The files


def test_the_beginning_is_small_and_repeats(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "PREVIEW_SECONDS", 0.2)
    monkeypatch.setattr(films, "PREVIEW_SIDE", 40)
    brought = BroughtFilm("beach.mp4", film_bytes(tmp_path, sound=0.24))
    preview = painted(paint_preview, brought).path
    with Image.open(preview) as picture:
        assert (picture.format, picture.size, picture.info["loop"]) == ("WEBP", (40, 30), 0)
    assert open_film(preview).frames == 5


@pytest.mark.parametrize(
    ("name", "kind"), [("a.gif", "gif"), ("a.mp4", "mov,mp4"), ("a.mkv", "mov,mp4")]
)
def test_what_a_film_is_written_as(tmp_path, name, kind):
    data = gif_bytes() if kind == "gif" else film_bytes(tmp_path, name, sound=0.24)
    brought = BroughtFilm(name, data)
    whole = painted(paint_whole, brought)
    with av.open(os.fspath(whole.path)) as container:
        assert container.format.name.startswith(kind)
        assert len(container.streams.audio) == (kind != "gif")
    assert frames_of(whole.path) == COUNT


def test_the_command_line_paints_the_same_film(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = film_bytes(tmp_path)
    asked = Request(None, (StyleChoice("udnie"),), {"stability": 0.5, "size": 50})
    brought = BroughtFilm("beach.mp4", data)
    theirs = painted(paint_whole, brought, asked)
    command = theirs.command("beach.mp4")
    assert cli.run(*shlex.split(command)[1:])[0] == 0
    pixels = [pixels_of(path) for path in (theirs.path, tmp_path / "beach-painted.mp4")]
    np.testing.assert_array_equal(*pixels)


def test_sound_that_no_mp4_holds_is_kept_all_the_same(tmp_path, monkeypatch):
    brought = BroughtFilm("a.mp4", film_bytes(tmp_path, sound=0.24))
    refuse = FilmOutput._check_holds

    def check(self, stream):
        if self.path.suffix == ".mp4":
            raise OutputError("no")
        refuse(self, stream)

    monkeypatch.setattr(FilmOutput, "_check_holds", check)
    assert painted(paint_whole, brought).path.suffix == ".mkv"


def test_what_was_painted_before_a_failure_is_kept(tmp_path, monkeypatch):
    brought = BroughtFilm("a.mp4", film_bytes(tmp_path))
    paint = FilmPainter.paint

    def failing(self, *given):
        for number, frame in enumerate(paint(self, *given)):
            if number == 4:
                raise OSError(28, "No space left on device", str(brought.folder / "x"))
            yield frame

    monkeypatch.setattr(FilmPainter, "paint", failing)
    made = painted(paint_whole, brought)
    assert (frames_of(made.path), made.frames) == (4, 4)
    assert made.stopped == "x: No space left on device"


def test_films_end_when_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "MOST_BYTES", 1)
    made = painted(paint_whole, BroughtFilm("a.mp4", film_bytes(tmp_path)))
    assert made.stopped == f"There is no room for more: stopped after 1 of {COUNT} frames."


def test_quick_jobs_come_between_two_frames(tmp_path):
    yielded = []
    brought = BroughtFilm("a.mp4", film_bytes(tmp_path))
    job = Job(lambda job: paint_whole(brought, UDNIE, job), quick=False)
    job.run(lambda: yielded.append(job.step))
    assert yielded == list(range(1, COUNT + 1))


def test_files_go_with_their_session_and_count_as_its_memory(tmp_path):
    visitor = Session()
    brought = visitor.brought_film = BroughtFilm("a.mp4", film_bytes(tmp_path))
    before = visitor.memory
    assert before >= brought.path.stat().st_size
    brought.wanted = UDNIE
    brought.keep_preview(painted(paint_preview, brought))
    assert visitor.memory > before
    folder, token = brought.folder, visitor.token
    assert session.find(token).film(brought.preview.name) == brought.preview.path
    assert session.find(token).film("../../a.mp4") is None
    assert Session().film(brought.preview.name) is None
    del visitor, brought
    gc.collect()
    assert not folder.exists()
    assert session.find(token) is None


def test_a_session_that_ends_lets_go_although_streamlit_refers_to_it(tmp_path):
    visitor = Session(photo=upload(), connections={"a", "b"})
    visitor.brought_film = BroughtFilm("a.mp4", film_bytes(tmp_path))
    job = visitor.job = Job(lambda _: None, quick=False)
    folder, key = visitor.brought_film.folder, visitor.key
    session.forget(["a", "other"])
    assert folder.exists()
    session.forget(["b"])
    assert not folder.exists()
    assert (visitor.memory, visitor.photo, visitor.job, job.stopped) == (0, None, None, True)
    assert not session.adopt(key)
