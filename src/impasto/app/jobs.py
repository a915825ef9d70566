"""Who paints when: one picture at a time for all visitors, the quick ones first.

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
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

from impasto import images
from impasto.errors import ImpastoError, Stop
from impasto.history import History
from impasto.methods import Progress

PLACES = 8
"""How many jobs of a kind there may be."""
PREVIEW_SIDE = 1000
_PREVIEW_EVERY_S = 0.7
DESERTED_S = 20.0
"""A job that nobody has looked at for this long is stopped."""
LONGEST_S = 600.0
"""A job that has taken this long is stopped if others are waiting."""
_LAST_STEP_S = 20
"""How long closing waits for the current step to end."""
_PATIENCE_S = 10.0
"""How long the quick jobs may hold up a long one between two steps."""
SNAPSHOT_PIXELS = 12e6
"""How many pixels the snapshots of a job may have; beyond that, every second one is dropped."""
_log = logging.getLogger(__name__)


class BusyError(ImpastoError):
    """Too many visitors wait already."""


class Job:
    """Work that a visitor waits for: done in one thread, watched from another.

    Args:
        work: is given the job, whose `on_step` it calls after each step.
        quick: a second or so, and not to be held up by the long ones.
        snapshot_every: keep the picture of every so many steps; 0 for none.
    """

    def __init__(self, work: Callable[[Job], Any], *, quick: bool, snapshot_every: int = 0) -> None:
        self.work, self.quick, self.snapshot_every = work, quick, snapshot_every
        self.step = self.steps = 0
        self.history = History()
        self.snapshots: dict[int, Image.Image] = {}
        self.preview: Image.Image | None = None
        self.result: Any = None
        self.error: str | None = None
        self.stopped = self.finished = False
        self.began = math.inf
        """When the work began, in seconds of `time.monotonic`; infinite before that."""
        self._news = threading.Event()
        self._shown = 0.0
        self._seen = time.monotonic()
        self._give_way: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Asks the job to end after this step; the picture so far is then the result."""
        self.stopped = True

    def wait(self, seconds: float) -> None:
        """Waits for news, at most so long."""
        self._seen = time.monotonic()
        if not self.finished:
            self._news.wait(seconds)
            self._news.clear()

    def run(self, give_way: Callable[[], None]) -> None:
        """Does the work; errors become sentences.

        Args:
            give_way: called after each step.
        """
        self._give_way = give_way
        try:
            if not self.unwanted:
                self.result = self.work(self)
        except Stop:
            pass
        except ImpastoError as error:
            self.error = str(error)
        except Exception:  # whatever it is, the next visitor is to be served
            _log.exception("a job failed")
            self.error = "Something went wrong here; the server's log has the details."
        self.finished = True
        self._news.set()

    def on_step(self, progress: Progress) -> None:
        """Records a step of a painting."""
        self.step, self.steps = progress.step, progress.steps
        if progress.losses:
            self.history(progress)
        if self.snapshot_every and progress.step % self.snapshot_every == 0:
            self._take_snapshot(_image(progress))
        now = time.monotonic()
        if now - self._shown > _PREVIEW_EVERY_S:
            self._shown = now
            self.show(_image(progress))
        self._news.set()
        self.check()

    def _take_snapshot(self, image: Image.Image) -> None:
        self.snapshots[self.step] = image
        if len(self.snapshots) * image.width * image.height > SNAPSHOT_PIXELS:
            self.snapshot_every *= 2
            for step in [step for step in self.snapshots if step % self.snapshot_every]:
                del self.snapshots[step]

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
        if self.unwanted and self.step < max(self.steps, 1):
            raise Stop
        self._give_way()

    @property
    def started(self) -> bool:
        """Whether the work has begun."""
        return self.began < math.inf

    @property
    def unwanted(self) -> bool:
        """Whether the job was told to stop, or nobody is looking at it any more."""
        return self.stopped or time.monotonic() - self._seen > DESERTED_S


class Studio:
    """Does the jobs of all visitors.

    Args:
        places: how many quick jobs there may be at a time, and how many long ones.
    """

    def __init__(self, places: int = PLACES) -> None:
        self.places = places
        self._lanes: dict[bool, deque[Job]] = {True: deque(), False: deque()}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Stops the current job at its next step, and the thread: Python aborts if one is left."""
        with self._changed:
            self._closed = True
            for job in itertools.chain(*self._lanes.values()):
                job.stop()
            self._changed.notify_all()
        self._thread.join(_LAST_STEP_S)

    def take(self, job: Job) -> None:
        """Puts a job at the end of its lane.

        Raises:
            BusyError: there is no place.
        """
        with self._changed:
            lane = self._lanes[job.quick]
            for left in [other for other in lane if other.unwanted and not other.started]:
                lane.remove(left)
                left.run(lambda: None)  # ends at once
            if len(lane) >= self.places:
                raise BusyError("Many pictures are being painted right now: try again in a minute.")
            lane.append(job)
            self._changed.notify_all()

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        with self._changed:
            lane = self._lanes[job.quick]
            return lane.index(job) if job in lane else 0

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(self._lanes.values()))
                if self._closed:
                    return
            self._do_first(quick=bool(self._lanes[True]))

    def _do_first(self, *, quick: bool) -> None:
        """Does the first job of a lane."""
        lane = self._lanes[quick]
        with self._changed:
            job = lane[0]
            job.began = time.monotonic()
        job.run((lambda: None) if quick else partial(self._give_way, job))
        with self._changed:
            lane.popleft()

    def _give_way(self, job: Job) -> None:
        """Does the quick jobs first, if there are any; and makes room after a long time.

        Raises:
            Stop: it is the others' turn.
        """
        if time.monotonic() - job.began > LONGEST_S and len(self._lanes[False]) > 1:
            job.stop()
            raise Stop
        end = time.monotonic() + _PATIENCE_S
        while self._lanes[True] and time.monotonic() < end:
            self._do_first(quick=True)


def _image(progress: Progress) -> Image.Image:
    return images.to_pil(images.Picture(progress.image().cpu()))
