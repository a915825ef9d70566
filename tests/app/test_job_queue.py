"""The app's jobs: who paints when, and what a visitor is told meanwhile."""

import threading
import time
from functools import partial

import pytest
from PIL import Image

from impasto.app import job_queue
from impasto.app.job_queue import BusyError, Job, JobQueue, Tiles
from impasto.errors import ImageError, Stop
from impasto.methods import Progress

WAIT_S = 60


def done(job):
    end = time.monotonic() + WAIT_S
    while not job.finished and time.monotonic() < end:
        job.wait(0.1)
    assert job.finished
    return job


@pytest.fixture
def jobs():
    made = JobQueue()
    yield made
    assert made.close()


def progress(step, steps, photo):
    losses = {"total": 1 / step, "style": 1 / step}
    return Progress(step, steps, losses, lambda: photo, step / steps)


def steps(count, photo):
    """Work of so many steps, or until it is stopped; its result is how many."""

    def work(job):
        for step in range(1, count + 1):
            try:
                job.on_step(progress(step, count, photo))
            except Stop:
                break
            time.sleep(0.005)
        return job.step

    return work


def test_one_job_at_a_time_the_quick_ones_first(photo, jobs):
    order, threads, at_work = [], set(), threading.Lock()
    begun = threading.Event()

    def paints(name, steps):
        def work(job):
            for step in range(steps):
                assert at_work.acquire(blocking=False)
                order.append(name)
                threads.add(threading.get_ident())
                begun.set()
                time.sleep(0.01)
                at_work.release()
                job.on_step(progress(step + 1, steps, photo))
            return name

        return work

    slow = Job(paints("slow", 60), quick=False)
    jobs.submit(slow)
    begun.wait(WAIT_S)
    quick = [Job(paints(f"quick {n}", 1), quick=True) for n in range(3)]
    for job in quick:
        jobs.submit(job)
    assert [done(job).result for job in quick] == ["quick 0", "quick 1", "quick 2"]
    assert not slow.finished
    assert done(slow).result == "slow"
    assert [name for name in order if name != "slow"] == ["quick 0", "quick 1", "quick 2"]
    assert len(threads) == 1  # a second one would make both slower: see the module


def blocked(jobs, *, quick):
    """Fills the thread of a queue with a job; returns it, and the event that lets it end."""
    release = threading.Event()
    job = Job(lambda _: release.wait(WAIT_S), quick=quick)
    jobs.submit(job)
    while not job.started:
        time.sleep(0.01)
    return job, release


def test_places_are_limited_and_those_who_leave_make_room():
    jobs = JobQueue(places={"quick": 3, "long": 1})
    _, release = blocked(jobs, quick=True)
    second, third, late = (Job(lambda _: "painted", quick=True) for _ in range(3))
    jobs.submit(second)
    jobs.submit(third)
    with pytest.raises(BusyError, match="try again"):
        jobs.submit(late)
    jobs.submit(Job(lambda _: None, quick=False))  # another lane
    second.stop()
    jobs.submit(late)
    release.set()
    assert done(late).result == "painted"
    assert jobs.close()


@pytest.mark.parametrize("quick", [True, False])
def test_a_job_that_waits_is_stopped_at_once(jobs, quick):
    first, release = blocked(jobs, quick=quick)
    second, third = (Job(lambda _: "painted", quick=quick) for _ in range(2))
    jobs.submit(second)
    jobs.submit(third)
    assert [jobs.position(job) for job in (first, second, third)] == [0, 1, 2]
    told = threading.Thread(target=second.wait, args=(WAIT_S,))
    told.start()
    second.stop()
    told.join(1)
    assert not told.is_alive()
    assert (second.finished, second.stopped, second.result) == (True, True, None)
    assert [jobs.position(job) for job in (second, third)] == [0, 1]
    release.set()
    assert done(third).result == "painted"
    assert not second.started


def test_eleven_visitors_at_once_all_get_their_picture(jobs):
    _, release = blocked(jobs, quick=False)
    crowd = [Job(partial(lambda n, _: n, n), quick=True) for n in range(11)]
    visitors = [threading.Thread(target=jobs.submit, args=(job,)) for job in crowd]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert sorted(map(jobs.position, crowd)) == list(range(11))
    release.set()
    assert [done(job).result for job in crowd] == list(range(11))


def test_what_goes_wrong_becomes_a_sentence(caplog, jobs):
    def fails(error):
        def work(_):
            raise error

        job = Job(work, quick=True)
        jobs.submit(job)
        return done(job)

    assert fails(ImageError("a.jpg: broken")).error == "a.jpg: broken"
    assert "server's log" in fails(ZeroDivisionError("secret")).error
    assert "secret" in caplog.text
    assert fails(Stop()).error is None


def test_a_job_ends_when_told_to(photo, jobs):
    job = Job(steps(10_000, photo), quick=False)
    jobs.submit(job)
    job.wait(WAIT_S)
    job.stop()
    assert done(job).result < 10_000
    assert job.stop_after == job.result
    assert job.fraction == job.result / 10_000
    whole = Job(steps(3, photo), quick=False)
    jobs.submit(whole)
    assert done(whole).stop_after is None


def test_a_job_ends_when_nobody_looks(photo, jobs, monkeypatch):
    monkeypatch.setattr(job_queue, "ABANDONED_S", 0.5)
    kept = Job(steps(10_000, photo), quick=False)
    jobs.submit(kept)
    for _ in range(15):
        time.sleep(0.1)
        kept.seen()
    assert not kept.finished
    kept.stop()
    abandoned, waiting = (Job(steps(10_000, photo), quick=False) for _ in range(2))
    jobs.submit(abandoned)
    jobs.submit(waiting)
    time.sleep(0.6)
    assert jobs.position(waiting) == 0
    assert (waiting.finished, waiting.stopped, waiting.started) == (True, True, False)
    end = time.monotonic() + WAIT_S
    while not abandoned.finished and time.monotonic() < end:
        time.sleep(0.05)  # and does not look
    assert abandoned.stopped
    assert abandoned.result < 1000


def test_the_time_left_is_told_and_leaves_out_what_others_take(photo, jobs):
    """Steps of which each takes longer than the one before, as its share of the work says."""
    lengths = [0.02 * step for step in range(1, 21)]
    told = []

    def work(job):
        for step, length in enumerate(lengths, 1):
            time.sleep(length)
            fraction = sum(lengths[:step]) / sum(lengths)
            job.on_step(Progress(step, 20, {}, lambda: photo, fraction))
            told.append((job.seconds_left, sum(lengths[step:])))
            if step == 10:
                jobs.submit(Job(lambda _: time.sleep(3), quick=True))

    job = Job(work, quick=False)
    jobs.submit(job)
    done(job)
    assert told[0][0] is None
    known = [(left, true) for left, true in told if left is not None]
    assert len(known) > 10
    for left, true in known:
        assert left == pytest.approx(true, rel=0.3, abs=0.1)


def test_steps_leave_losses_snapshots_and_a_preview(photo, monkeypatch):
    monkeypatch.setattr(job_queue, "_PREVIEW_EVERY_S", 0)

    def work(job):
        for step in range(6):
            job.on_step(progress(step + 1, 6, photo.repeat(1, 1, 1, 30)))

    job = Job(work, quick=True, snapshot_every=2)
    job.run()
    assert [row["step"] for row in job.history.rows] == [1, 2, 3, 4, 5, 6]
    assert sorted(job.snapshots) == [2, 4, 6]
    assert job.snapshots[2].size == (1920, 48)
    assert max(job.preview.size) == job_queue.PREVIEW_SIDE


def test_snapshots_are_thinned_out(photo, monkeypatch):
    monkeypatch.setattr(job_queue, "SNAPSHOT_PIXELS", 4 * 48 * 64)

    def work(job):
        for step in range(30):
            job.on_step(progress(step + 1, 30, photo))

    job = Job(work, quick=True, snapshot_every=2)
    job.run()
    assert sorted(job.snapshots) == [8, 16, 24]


def test_when_all_ends_so_does_the_job_in_hand(photo):
    before = set(threading.enumerate())
    jobs = JobQueue()
    job, waiting, late = (Job(steps(10_000, photo), quick=False) for _ in range(3))
    jobs.submit(job)
    jobs.submit(waiting)
    job.wait(WAIT_S)
    assert jobs.close()
    assert job.finished
    assert job.result < 10_000
    assert set(threading.enumerate()) <= before
    assert waiting.finished
    assert not waiting.started
    jobs.submit(late)  # by a page that is still being shown
    assert late.finished
    assert late.stopped


def test_closing_does_not_wait_for_a_long_step(monkeypatch):
    monkeypatch.setattr(job_queue, "_LAST_STEP_S", 0.2)
    jobs = JobQueue()
    _, release = blocked(jobs, quick=False)
    began = time.monotonic()
    assert not jobs.close()
    assert time.monotonic() - began < 5
    release.set()
    assert jobs.close()


def test_a_server_has_one_queue(monkeypatch):
    monkeypatch.setattr(job_queue, "_queue", None)
    made = []
    visitors = [threading.Thread(target=lambda: made.append(job_queue.queue())) for _ in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len(made) == 20
    assert len(set(made)) == 1
    assert job_queue.close()


def test_a_long_job_makes_room_in_the_end_if_others_wait(photo, jobs, monkeypatch):
    monkeypatch.setattr(job_queue, "LONGEST_S", 0.1)
    work = steps(100, photo)
    alone = Job(work, quick=False)
    jobs.submit(alone)
    assert done(alone).result == 100
    first, second = Job(work, quick=False), Job(work, quick=False)
    jobs.submit(first)
    jobs.submit(second)
    assert done(first).result < 100
    assert first.stopped
    assert done(second).result == 100


# Tiles


@pytest.fixture
def asked(jobs, monkeypatch):
    """Asks for a tile as a server does that has a browser waiting for it."""
    monkeypatch.setattr(job_queue, "queue", lambda: jobs)
    return Tiles(kept=3, waiting=2).get


def test_a_tile_is_painted_once_for_all_who_ask(jobs, asked):
    _, release = blocked(jobs, quick=True)
    picture = Image.new("RGB", (3, 2))
    tile = asked("a", lambda: picture)
    assert asked("a", lambda: None) is tile
    release.set()
    assert done(tile).result is picture
    assert asked("a", lambda: None) is tile
    for name in "bcd":
        done(asked(name, lambda: picture))
    assert asked("a", lambda: picture) is not tile  # the oldest has gone


def test_a_tile_that_failed_is_told_and_painted_again(asked, caplog):
    def fails():
        raise ZeroDivisionError

    assert "server's log" in done(asked("a", fails)).error
    assert "ZeroDivisionError" in caplog.text
    picture = Image.new("RGB", (3, 2))
    assert done(asked("a", lambda: picture)).result is picture


def test_a_visitor_waits_for_two_tiles_at_most(jobs, asked):
    _, release = blocked(jobs, quick=True)
    first, second = asked("a", Image.Image), asked("b", Image.Image)
    with pytest.raises(BusyError, match="try again"):
        asked("c", Image.Image)
    release.set()
    assert done(first).result
    assert done(second).result
    assert done(asked("c", Image.Image)).result


def test_tiles_that_no_browser_waits_for_are_not_painted(jobs, asked, monkeypatch):
    monkeypatch.setattr(job_queue, "GONE_S", 0.2)
    _, release = blocked(jobs, quick=True)
    gone, other = asked("a", Image.Image), asked("b", Image.Image)
    time.sleep(0.3)
    third, again = asked("c", Image.Image), asked("b", Image.Image)  # they have made room
    release.set()
    assert done(third).result
    assert done(again).result
    assert gone.result is other.result is None
    assert not gone.started


def test_clicks_come_before_tiles(jobs, asked):
    order = []
    _, release = blocked(jobs, quick=True)
    tile = asked("a", lambda: order.append("tile"))
    clicks = [Job(lambda _: order.append("click"), quick=True) for _ in range(3)]
    for job in clicks:
        jobs.submit(job)
    release.set()
    done(tile)
    assert order == ["click"] * 3 + ["tile"]


def test_tiles_come_while_somebody_refines_and_take_a_third_of_the_time(photo, jobs):
    long = Job(steps(10_000, photo), quick=False)
    jobs.submit(long)
    while not long.step:
        time.sleep(0.01)
    tiles = [job_queue.Tile(lambda: time.sleep(0.1) or Image.Image()) for _ in range(6)]
    for tile in tiles:
        jobs.submit(tile)
    began = time.monotonic()
    for tile in tiles:
        while not tile.finished:
            tile.wait(0.01)
            for other in tiles:
                other.seen()
    took = time.monotonic() - began
    assert all(tile.result for tile in tiles)
    assert not long.finished
    assert 1.55 < took < 6  # six tiles, and between them twice their time for the other
    long.stop()
    done(long)


def test_a_crowd_of_tiles_keeps_no_long_job_from_its_beginning(photo, jobs):
    _, release = blocked(jobs, quick=True)
    tiles = [job_queue.Tile(lambda: time.sleep(0.05)) for _ in range(20)]
    for tile in tiles:
        jobs.submit(tile)
    long = Job(steps(3, photo), quick=False)
    jobs.submit(long)
    release.set()
    assert done(long).result == 3
    assert sum(tile.finished for tile in tiles) < 5
