"""Sessions: what a visitor has, how much of it, and who else gets to see it."""

import gc
import threading

import pytest
from PIL import Image

from impasto import Stylizer, gallery
from impasto.app import job_queue, request, session
from impasto.app.job_queue import Job, JobQueue
from impasto.app.pages.batch import Batch
from impasto.app.request import Request, Result, StyleChoice, Upload
from impasto.app.session import Session
from impasto.errors import ImageError, ImpastoError
from tests.helpers.app import upload
from tests.helpers.pictures import painting_array

SIZE = (40, 30)


def result(*, kept=False, photo=None, styles=("udnie",), **more):
    asked = Request(photo or upload(), tuple(StyleChoice(style) for style in styles), {})
    return Result(asked, Image.new("RGB", SIZE), {}, kept=kept, **more)


def filled(*kept):
    """A session with so many pictures, of which some took long."""
    visitor = Session()
    for one in kept:
        visitor.add(result(kept=one))
    return visitor


# The history


def test_the_newest_picture_is_looked_at():
    visitor = filled(False, False)
    assert (visitor.shown, list(visitor.results)) == ("2", ["1", "2"])
    assert visitor.result is visitor.results["2"]
    assert Session().result is None


def test_pictures_that_came_by_themselves_go_the_oldest_first(monkeypatch):
    monkeypatch.setattr(session, "MOST_KEPT", 3)
    visitor = filled(False, True, False)
    visitor.add(result())
    assert list(visitor.results) == ["2", "3", "4"]
    visitor.add(result())
    assert list(visitor.results) == ["2", "4", "5"]
    assert (visitor.shown, visitor.result.id) == ("5", "5")


def test_what_took_long_is_never_dropped(monkeypatch):
    monkeypatch.setattr(session, "MOST_KEPT", 3)
    visitor = filled(True, True, True)
    assert not visitor.has_room
    for _ in range(4):
        visitor.add(result())
    assert list(visitor.results) == ["1", "2", "3", "7"]  # and the one that is looked at
    visitor.delete("2")
    assert visitor.has_room


def test_a_pin_keeps_a_picture_and_its_end_lets_it_go(monkeypatch):
    monkeypatch.setattr(session, "MOST_KEPT", 2)
    visitor = filled(False, False)
    visitor.results["1"].kept = True
    visitor.add(result())
    assert list(visitor.results) == ["1", "3"]
    visitor.results["1"].kept = False
    visitor.add(result())
    assert list(visitor.results) == ["3", "4"]


def test_the_history_has_an_end_in_bytes(monkeypatch):
    each = 3 * SIZE[0] * SIZE[1]
    monkeypatch.setattr(session, "MOST_BYTES", 3 * each + upload().memory)
    visitor = filled(False, False, False)
    assert not visitor.full  # they are of one photo
    visitor.add(result(snapshots={5: Image.new("RGB", SIZE)}))
    assert list(visitor.results) == ["3", "4"]


@pytest.mark.parametrize("use", [{"photo": 1}, {"styles": 1}])
def test_photos_and_paintings_count(use, monkeypatch):
    monkeypatch.setattr(session, "MOST_BYTES", 2.5 * upload().memory)
    visitor = Session()
    for number in range(4):
        other = upload(f"{number}.png")
        visitor.add(result(photo=other) if "photo" in use else result(styles=[other]))
    assert len(visitor.results) <= 2
    visitor = Session()
    for number in range(4):
        visitor.add(result(photo=upload(f"{number}.png"), kept=True))
    assert not visitor.has_room


def test_pictures_that_are_deleted_are_not_looked_at_any_more():
    visitor = filled(False, True, False)
    visitor.compared = "2"
    visitor.delete("3")
    assert (visitor.shown, visitor.compared) == ("2", "2")
    visitor.delete("2")
    assert (visitor.shown, visitor.compared) == ("1", None)
    visitor.delete("1")
    assert (visitor.shown, visitor.results) == (None, {})
    visitor.add(result())
    assert list(visitor.results) == ["4"]  # no number, and so no address, is used twice


def test_all_that_is_painted_has_a_number_of_its_own():
    visitor = filled(False)
    visitor.keep_texture(result())
    visitor.keep_batch(Batch(b"", {}, (), "", ""))
    visitor.add(result())
    assert [visitor.texture.id, visitor.batch.id, *visitor.results] == ["2", "3", "1", "4"]


# Pictures by name


@pytest.fixture
def visitor():
    visitor = Session()
    visitor.photo = upload()
    snapshots = {5: Image.new("RGB", SIZE, "red")}
    visitor.add(
        Result(
            Request(visitor.photo, (StyleChoice("udnie"),), {}),
            Image.new("RGB", (2000, 1000)),
            {},
            snapshots=snapshots,
        )
    )
    return visitor


def test_pictures_have_names(visitor):
    painting = upload("p.png", painting_array())
    visitor.own[painting.id] = painting
    sizes = {
        "1": (1600, 800),
        "1-full": (2000, 1000),
        "1-small": (288, 144),
        "1-step-5": SIZE,
        f"upload-{visitor.photo.id}": (64, 48),
        f"upload-{painting.id}-small": (40, 56),
    }
    assert {name: visitor.picture(name).size for name in sizes} == sizes
    visitor.keep_texture(result())
    visitor.keep_batch(Batch(b"", {"b.png": Image.new("RGB", (3, 4))}, (), "", ""))
    assert (visitor.picture("2").size, visitor.picture("3-0").size) == (SIZE, (3, 4))


def test_photos_of_the_history_are_there_when_another_is_painted(visitor):
    before, visitor.photo = visitor.photo, upload("other.png")
    assert visitor.picture(f"upload-{before.id}") == before.shown
    visitor.delete("1")
    assert visitor.picture(f"upload-{before.id}") is None


def test_many_photos_are_not_kept_unpacked():
    visitor, photo = Session(), upload()
    visitor.photos[photo.id] = photo
    assert visitor.picture(f"upload-{photo.id}-small").size == (64, 48)
    assert "_opened" not in vars(photo)
    bad = Upload("bad.png", b"no")
    visitor.photos[bad.id] = bad
    with pytest.raises(ImageError, match="bad"):
        visitor.picture(f"upload-{bad.id}-small")


HOSTILE = [
    "", "-", "--", "0", "2", "-1", "1.0", "01", "7-step-x", "1-step-", "1-step-x", "1-step-6",
    "1-step--5", "step-5", "../1", "..", "../../etc/passwd", "/etc/passwd", "1/..", "1\0", "١",
    "sheet", "sheet-", "sheet--", "sheet--udnie", "sheet-x-udnie", "sheet-1-udnie", "upload",
    "upload-", "upload--small", "upload-1", "job", "job-", "job-1-1", "job-x", "bundled",
    "__class__", "results", "画" * 50, "x" * 100_000, "%s{0}", "None",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_other_name_has_a_picture(name, visitor):
    assert visitor.picture(name) is None
    assert visitor.tile(name) is None


@pytest.mark.parametrize("style", ["", "../udnie", "nothing", "udnie-", "-udnie", "Udnie", "auto"])
def test_no_other_style_is_painted(style, visitor):
    assert visitor.tile(f"sheet-{visitor.photo.id}-{style}") is None


def test_the_picture_so_far_is_of_that_job_alone(visitor):
    done, release = threading.Event(), threading.Event()

    def work(job):
        job.show(Image.new("RGB", (7, 5)))
        done.set()
        release.wait(60)

    first, second = Job(work, quick=True), Job(lambda _: None, quick=True)
    visitor.begin(first, "paint", lambda _: None)
    assert done.wait(60)
    assert visitor.picture(f"job-{first.id}-0").size == (7, 5)
    assert visitor.picture(f"job-{second.id}-0") is None
    release.set()
    visitor.end()
    assert visitor.picture(f"job-{first.id}-0") is None
    assert first.id != second.id


# Photos in all styles


@pytest.fixture
def painted(monkeypatch):
    """The sources of what is painted small, in turn."""
    sources = []
    paint_small = request.paint_small

    def paint(photo, source):
        sources.append(source)
        return paint_small(photo, source)

    monkeypatch.setattr("impasto.app.session.paint_small", paint)
    return sources


def in_style(visitor, style):
    tile = visitor.tile(f"sheet-{visitor.photo.id}-{style}")()
    while not tile.finished:
        tile.wait(1)
    return tile.result


def test_photos_in_styles_are_painted_once_and_as_by_the_library(visitor, painted):
    own = upload("p.png", painting_array())
    visitor.own[own.id] = own
    photo = visitor.photo.shown
    mine = {style: in_style(visitor, style) for style in ("udnie", "lion-hunt", own.id)}
    again = in_style(visitor, "lion-hunt")
    assert painted == ["udnie", "lion-hunt", own]
    quick = Stylizer("adain.small", device="cpu")
    assert again == mine["lion-hunt"] == quick.stylize(photo, "lion-hunt")
    assert mine["udnie"] == Stylizer(device="cpu").stylize(photo, "udnie")
    assert mine[own.id] == quick.stylize(photo, Image.fromarray(painting_array()))


def test_photos_in_styles_have_an_end(painted, monkeypatch):
    monkeypatch.setattr(session, "_MOST_IN_STYLE", 2)
    visitor = Session(photo=upload())
    names = list(gallery.paintings())[:3]
    for name in (*names, *names):
        assert in_style(visitor, name).size == (64, 48)
    assert painted == [*names, *names]  # and is painted again when it is asked for


def test_what_goes_wrong_is_painted_again(visitor, monkeypatch):
    full = JobQueue({"tile": 0})
    with monkeypatch.context() as patch:
        patch.setattr(job_queue, "queue", lambda: full)
        with pytest.raises(ImpastoError, match="try again"):
            in_style(visitor, "udnie")
    assert full.close()
    assert in_style(visitor, "udnie")


# Memory


def test_all_that_a_visitor_has_is_counted_once(visitor):
    before = visitor.memory
    photo, painting = upload("q.png"), upload("p.png", painting_array())
    visitor.photos[photo.id] = visitor.photo
    assert visitor.memory == before
    visitor.photos[photo.id] = photo
    visitor.bring(painting)
    visitor.set_masks({"udnie": "x" * 1000})
    visitor.keep_batch(Batch(b"z" * 500, {}, (), "", ""))
    made = result(photo=visitor.photo)
    visitor.add(made)
    expected = before + len(photo.data) + painting.memory + 1500 + made.memory
    assert visitor.memory == expected
    visitor.delete(made.id)
    assert visitor.memory == expected  # it can be put back
    assert session.memory_of_all() >= expected
    assert made.memory == 3 * SIZE[0] * SIZE[1]


def test_own_paintings_have_an_end_in_bytes(monkeypatch):
    visitor, first, second = Session(), *(upload(n, painting_array()) for n in ("a.png", "b.png"))
    visitor.bring(first)
    monkeypatch.setattr(session, "MOST_OWN_BYTES", 2 * first.memory - 1)
    with pytest.raises(ImpastoError, match="no room"):
        visitor.bring(second)
    assert list(visitor.own) == [first.id]


# Visitors


def test_two_sessions_share_nothing():
    one, other = Session(), Session()
    for name in vars(one):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert not isinstance(mine, dict | set | list) or mine is not theirs, name
    assert len({one.token, other.token, one.key, other.key}) == 4
    assert min(map(len, (one.token, one.key))) >= 32
    one.photo = upload()
    one.add(result())
    assert one.url("1") != other.url("1")
    assert one.picture("1")
    assert other.picture("1") is None
    assert other.picture(f"upload-{one.photo.id}") is None
    assert one.tile(f"sheet-{one.photo.id}-udnie")
    assert other.tile(f"sheet-{one.photo.id}-udnie") is None


def test_sessions_that_ended_are_forgotten():
    visitor = Session()
    token, key = visitor.token, visitor.key
    job = Job(lambda _: result(), quick=True, watched=visitor.is_connected)
    visitor.begin(job, "paint", visitor.add)
    while not job.finished:
        job.wait(1)
    visitor.settle()
    assert session.find(token) is visitor
    assert visitor.results
    del visitor, job
    gc.collect()  # as the server does when sessions have ended
    assert session.find(token) is None
    assert session.find(key) is None


@pytest.fixture
def state(monkeypatch):
    """What Streamlit keeps of a visitor."""
    kept = {}
    monkeypatch.setattr("streamlit.session_state", kept)
    return kept


def test_a_reloaded_page_finds_its_session_by_the_key_alone(state):
    mine, lost = session.current(), Session()
    assert session.current() is mine
    for wrong in ("", "x", lost.token, mine.token, mine.key):
        assert not session.adopt(wrong)
        assert session.current() is mine
    assert session.adopt(lost.key)
    assert session.current() is lost
    assert lost.key not in lost.url("1")


# Jobs


def begun(visitor, work, page="paint"):
    got = []
    job = Job(work, quick=True)
    visitor.begin(job, page, got.append)
    while not job.finished:
        job.wait(1)
    visitor.settle()
    return got


def test_a_result_is_taken_once():
    visitor = Session()
    assert begun(visitor, lambda _: "painted") == ["painted"]
    visitor.settle()
    assert (visitor.job, visitor.failures) == (None, {})


def test_a_failure_belongs_to_its_page_and_goes_with_the_next_job():
    def fails(_):
        raise ImageError("--size is_odd")

    visitor = Session()
    assert begun(visitor, fails) == []
    assert visitor.failures == {"paint": r"Size is\_odd"}
    begun(visitor, lambda _: 1, "texture")
    assert list(visitor.failures) == ["paint"]
    begun(visitor, lambda _: 1)
    assert visitor.failures == {}


def test_another_job_takes_the_place_of_the_one_before():
    visitor, begun_, release = Session(), threading.Event(), threading.Event()

    def work(job):
        begun_.set()
        release.wait(60)
        return "late"

    got = []
    first, second = Job(work, quick=True), Job(lambda _: "new", quick=True)
    visitor.begin(first, "paint", got.append)
    assert begun_.wait(60)
    visitor.begin(second, "texture", got.append)
    assert first.stopped
    assert (visitor.running("paint"), visitor.running("texture")) == (None, second)
    release.set()
    while not second.finished:
        second.wait(1)
    visitor.settle()
    assert got == ["new"]


def test_what_a_long_job_has_painted_is_not_lost_when_another_takes_its_place():
    visitor, painting, release = Session(photo=upload()), threading.Event(), threading.Event()

    def work(job):
        painting.set()
        release.wait(60)
        return result(kept=True)

    long, texture = Job(work, quick=False), Job(lambda _: result(), quick=False)
    visitor.begin(long, "paint", visitor.add)
    assert painting.wait(60)
    visitor.begin(texture, "texture", visitor.keep_texture)
    visitor.photo = upload("other.png")
    visitor.add(result(photo=visitor.photo))
    visitor.settle()
    assert list(visitor.results) == ["1"]
    release.set()
    while not texture.finished:
        texture.wait(1)
    for _ in range(2):
        visitor.settle()
        assert list(visitor.results) == ["1", "2"]
    assert visitor.results["2"].kept
    assert visitor.shown == "1"  # which is of the photo that is being painted
    assert visitor.texture.id == "3"


def test_sentences_are_no_markdown():
    assert session.sentence("a_*b[c]--d.png: use --size") == r"a\_\*b\[c\]--d.png\: use size"
    assert session.sentence("there is no room") == "There is no room"
    assert session.sentence("beach.png: broken") == r"beach.png\: broken"
    for character in r"\`*_{}[]<>$#:~|":
        assert session.sentence(f"1{character}") == rf"1\{character}"
