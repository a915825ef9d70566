"""Who paints when: one picture at a time for all visitors, in three lanes.

- ``quick``: what a visitor has just clicked on; it comes before all the others
- ``long``: what takes minutes; between two steps it lets the others go first
- ``tile``: small pictures that show what styles do; they are painted when nobody waits for a quick
  one, and take a third of a long one's time at most

Painting takes all processors and much memory, so two at once are slower than one after the other.
And one thread paints them all: OpenMP's threads wait for their next piece of work by spinning,
which is quick. But as soon as there are more of them than processors, that is, as soon as a second
thread has painted anything, they go to sleep in between.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

from PIL import Image

from impasto import images
from impasto.errors import ImpastoError, Stop
from impasto.history import History
from impasto.methods import Progress

PLACES = {"quick": 64, "long": 8, "tile": 32}
"""How many jobs there may be in each lane."""
PREVIEW_SIDE = 1000
_PREVIEW_EVERY_S = 0.7
ABANDONED_S = 20.0
"""A job that nobody has looked at for this long is stopped."""
GONE_S = 2.0
"""The same for a tile: its browser asks for news many times a second."""
_LONG_SHARE = 2.0
"""How many seconds a long job gets for each one that a tile took of its time."""
LONGEST_S = 600.0
"""A job that has taken this long is stopped if others are waiting."""
_LAST_STEP_S = 5.0
"""How long closing waits for the current step to end."""
_PATIENCE_S = 10.0
"""How long the quick jobs may hold up a long one between two steps."""
_PACE_STEPS = 32
"""The time left is reckoned from so many of the last steps."""
_PACE_S = 1.0
"""How much of the work must have been seen before the time left is told."""
SNAPSHOT_PIXELS = 12e6
"""How many pixels the snapshots of a job may have; beyond that, every second one is dropped."""
_ids = itertools.count(1)
_log = logging.getLogger(__name__)


class BusyError(ImpastoError):
    """Too many visitors wait already."""


class Job:
    """Work that a visitor waits for: done in one thread, watched from another.

    Args:
        work: is given the job, whose `on_step` it calls after each step.
        quick: a second or so, and not to be held up by the long ones.
        snapshot_every: keep the picture of every so many steps; 0 for none.
        watched: whether somebody looks at it right now, even if nobody asks for news.
    """

    def __init__(
        self,
        work: Callable[[Job], Any],
        *,
        quick: bool,
        snapshot_every: int = 0,
        watched: Callable[[], bool] = lambda: False,
    ) -> None:
        self.id = next(_ids)
        """Number that no other job of this server has."""
        self._watched = watched
        self.work, self.quick, self.snapshot_every = work, quick, snapshot_every
        self.step = self.steps = 0
        self.fraction = 0.0
        """How much of the work is done, 0..1."""
        self.history = History()
        """The losses of each step; empty if a network paints."""
        self.snapshots: dict[int, Image.Image] = {}
        self.preview: Image.Image | None = None
        self.result: Any = None
        self.error: str | None = None
        """What went wrong, as a sentence."""
        self.stopped = False
        """Whether the job was told to end early: by its visitor, by closing, or for others."""
        self.finished = False
        """Whether the job is over: done, stopped or failed."""
        self.began = math.inf
        """When the work began, in seconds of `time.monotonic`; infinite before that."""
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._shown = 0.0
        self._seen = time.monotonic()
        self._paused = 0.0
        self._pace: deque[tuple[float, float]] = deque(maxlen=_PACE_STEPS)
        self._yield: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Ends the job: at once if it waits; else after this step, its result being the picture so
        far.
        """
        with self._lock:
            self.stopped = True
            if not self.started:
                self.finished = True
        self._news.set()

    def seen(self) -> None:
        """Tells the job that somebody still looks at it."""
        self._seen = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Waits for news, at most so long; the job is seen."""
        self.seen()
        if not self.finished:
            self._news.wait(seconds)
            self._news.clear()

    def run(self, yield_to_others: Callable[[], None] = lambda: None) -> None:
        """Does the work, unless the job is over; errors become sentences.

        Args:
            yield_to_others: called after each step.
        """
        with self._lock:
            if self.finished:
                return
            self.began = self._shown = time.monotonic()
        self._yield = yield_to_others
        try:
            self.result = self.work(self)
        except Stop:
            pass
        except ImpastoError as error:
            self.error = str(error)
        except Exception:  # whatever it is, the next visitor is to be served
            _log.exception("a job failed")
            self.error = "Something went wrong here; the server's log has the details."
        self.work = _nothing  # and what it holds
        self.finished = True
        self._news.set()

    def on_step(self, progress: Progress) -> None:
        """Records a step of a painting.

        Raises:
            Stop: the job is to end.
        """
        image = partial(_image, progress)
        if progress.losses:
            self.history(progress)
        if self.snapshot_every and progress.step % self.snapshot_every == 0:
            self._take_snapshot(progress.step, image())
        self.report(progress.step, progress.steps, progress.fraction, image)

    def report(
        self, step: int, steps: int, fraction: float, image: Callable[[], Image.Image]
    ) -> None:
        """Records a step, and now and then what it looks like.

        Args:
            step: steps done.
            steps: steps in all.
            fraction: the share of the work that is done, 0..1.
            image: returns how far the picture is.

        Raises:
            Stop: the job is to end.
        """
        self.advance(step, steps, fraction)
        now = time.monotonic()
        if now - self._shown > _PREVIEW_EVERY_S:
            self._shown = now
            self.show(image())
        self._news.set()
        self.check()

    def advance(self, step: int, steps: int, fraction: float) -> None:
        """Records how far the work has come: steps done, steps in all, and the share, 0..1."""
        self.step, self.steps, self.fraction = step, steps, fraction
        self._pace.append((self._worked(), fraction))

    def _take_snapshot(self, step: int, image: Image.Image) -> None:
        self.snapshots[step] = image
        if len(self.snapshots) * image.width * image.height > SNAPSHOT_PIXELS:
            self.snapshot_every *= 2
            for other in [one for one in self.snapshots if one % self.snapshot_every]:
                del self.snapshots[other]

    def show(self, image: Image.Image) -> None:
        """Makes this the preview of the work."""
        preview = image.copy()
        preview.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
        self.preview = preview

    def check(self) -> None:
        """Between two steps: ends the job if nobody wants it any more; lets quick jobs go first.

        Raises:
            Stop: the job is to end.
        """
        self.stopped |= self.abandoned
        if self.stopped and self.step < max(self.steps, 1):
            raise Stop
        before = time.monotonic()
        self._yield()
        self._paused += time.monotonic() - before

    def _worked(self) -> float:
        """Seconds of work so far, without those that were given to other jobs."""
        return time.monotonic() - self.began - self._paused

    @property
    def started(self) -> bool:
        """Whether the work has begun."""
        return self.began < math.inf

    @property
    def lane(self) -> str:
        """The lane of the queue that it waits in."""
        return "quick" if self.quick else "long"

    @property
    def patience(self) -> float:
        """For how many seconds nobody need look at it."""
        return ABANDONED_S

    @property
    def abandoned(self) -> bool:
        """Whether nobody has looked at the job for long."""
        if self._watched():
            self.seen()
        return time.monotonic() - self._seen > self.patience

    @property
    def stop_after(self) -> int | None:
        """The step after which the painting ended early, as `impasto.Controls.stop_after` takes it;
        None if all steps were done.
        """
        return self.step if 0 < self.step < self.steps else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest of the work will take, without other jobs in between; None as long as
        that is not known.
        """
        speed = self._speed()
        return None if speed is None else (1 - self.fraction) / speed

    @property
    def steps_a_second(self) -> float | None:
        """How many steps are done in a second of work, where all take as long; None as long as that
        is not known.
        """
        speed = self._speed()
        return None if speed is None else speed * self.steps

    def _speed(self) -> float | None:
        """The share of the work that is done in a second of it; None if not enough was seen."""
        pace = list(self._pace)
        if len(pace) < 2:
            return None
        (since, before), (until, now) = pace[0], pace[-1]
        if until - since < _PACE_S or now <= before:
            return None
        return (now - before) / (until - since)


class Tile(Job):
    """A small picture that shows what a style does, for as long as a browser asks for it.

    Args:
        paint: paints it, in a second or so.
    """

    def __init__(self, paint: Callable[[], Image.Image]) -> None:
        super().__init__(lambda _: paint(), quick=True)

    @property
    def lane(self) -> str:
        """The last lane."""
        return "tile"

    @property
    def patience(self) -> float:
        """As long as it takes to see that the browser has gone."""
        return GONE_S


class Tiles:
    """Tiles that are painted when they are first asked for, and kept.

    Args:
        kept: how many there may be; the oldest go.
        waiting: how many of them may be unfinished at a time.
    """

    def __init__(self, kept: int, waiting: int = 2) -> None:
        self.kept, self.waiting = kept, waiting
        self._tiles: dict[Hashable, Tile] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, paint: Callable[[], Image.Image]) -> Tile:
        """Returns a tile: the one that is there or on its way, or else a new one.

        Args:
            key: says which.
            paint: paints it.

        Raises:
            BusyError: there are too many already.
        """
        with self._lock:
            tile = self._tiles.get(key)
            if tile and (tile.result is not None or not (tile.finished or tile.abandoned)):
                tile.seen()
                return tile
            unfinished = [one for one in self._tiles.values() if not one.finished]
            if sum(not one.abandoned for one in unfinished) >= self.waiting:
                raise BusyError("Your other pictures come first: try again in a moment.")
            tile = Tile(paint)
            queue().submit(tile)
            self._tiles[key] = tile
            for oldest in list(self._tiles)[: -self.kept]:
                del self._tiles[oldest]
            return tile


class JobQueue:
    """Does the jobs of all visitors.

    Args:
        places: how many jobs there may be at a time, by their lane.
    """

    def __init__(self, places: Mapping[str, int] = PLACES) -> None:
        self.places = places
        self._lanes: dict[str, list[Job]] = {lane: [] for lane in PLACES}
        self._next_tile = 0.0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def submit(self, job: Job) -> None:
        """Puts a job at the end of its lane; if the queue is closed, the job is stopped.

        Raises:
            BusyError: there is no place.
        """
        with self._changed:
            lane = self._unfinished(job.lane)
            if self._closed:
                job.stop()
            elif len(lane) >= self.places[job.lane]:
                raise BusyError("Many pictures are being painted right now: try again in a minute.")
            lane.append(job)
            self._changed.notify_all()

    def position(self, job: Job) -> int:
        """How many jobs come before this one in its lane: 0 if it is its turn, or it is over."""
        with self._changed:
            lane = self._unfinished(job.lane)
            return lane.index(job) if job in lane else 0

    def close(self) -> bool:
        """Stops all jobs, the current one after its step, and then the thread.

        Python must not end before the thread has: PyTorch would abort the process.

        Returns:
            Whether the thread has ended; else the current step takes longer than can be waited for.
        """
        with self._changed:
            self._closed = True
            for job in itertools.chain(*self._lanes.values()):
                job.stop()
            self._changed.notify_all()
        self._thread.join(_LAST_STEP_S)
        return not self._thread.is_alive()

    def _unfinished(self, name: str) -> list[Job]:
        """The lane without the jobs that are over, or that nobody waits for any more."""
        lane = self._lanes[name]
        for job in lane:
            if job.abandoned and not job.started:
                job.stop()
        lane[:] = [job for job in lane if not job.finished]
        return lane

    def _first(self, lane: str) -> Job | None:
        with self._changed:
            return next(iter(self._unfinished(lane)), None)

    def _serve(self) -> None:
        while not self._closed:
            if job := self._first("quick"):
                job.run()
            elif job := self._first("long"):
                job.run(partial(self._yield_to_others, job))
            elif job := self._first("tile"):
                job.run()
            else:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or any(self._lanes.values()))

    def _yield_to_others(self, job: Job) -> None:
        """Does the quick jobs first, if there are any, or else a tile; and makes room after a long
        time.

        Raises:
            Stop: it is the others' turn.
        """
        with self._changed:
            others_wait = len(self._unfinished("long")) > 1
        if time.monotonic() - job.began > LONGEST_S and others_wait:
            job.stop()
            raise Stop
        end = time.monotonic() + _PATIENCE_S
        while (quick := self._first("quick")) and time.monotonic() < end:
            quick.run()
        if time.monotonic() > self._next_tile and not quick and (tile := self._first("tile")):
            tile.run()
            now = time.monotonic()
            self._next_tile = now + _LONG_SHARE * (now - tile.began)


_lock = threading.Lock()
_queue: JobQueue | None = None


def queue() -> JobQueue:
    """Returns the queue of this server, which is made when it is first asked for."""
    global _queue  # noqa: PLW0603 - of the process, where no visitor can clear it
    with _lock:
        _queue = _queue or JobQueue()
        return _queue


def close() -> bool:
    """Closes the queue of this server, if there is one; see `JobQueue.close`."""
    return _queue is None or _queue.close()


def _nothing(_: Job) -> None:
    """What a job that is over has to do."""


def _image(progress: Progress) -> Image.Image:
    return images.to_pil(images.Picture(progress.image().cpu()))
