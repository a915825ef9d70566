"""Photos to begin with, and what they look like when they are painted."""

from __future__ import annotations

from functools import cache
from importlib import resources

from PIL import Image, ImageDraw

from impasto.app import job_queue
from impasto.app.job_queue import Job
from impasto.app.request import Upload, stylizer
from impasto.app.server import picture_url

EXAMPLES = {
    "chelsea.jpg": ("Chelsea the cat, as The Starry Night", "starry-night"),
    "coffee.jpg": ("Coffee, as The Great Wave", "great-wave"),
    "astronaut.jpg": ("Eileen Collins, as The Scream", "the-scream"),
}
"""Titles and styles of the examples, by the photo's file."""
TOKEN = "examples"
"""What the addresses of the examples have in place of a session's token."""
_SIDE = 480
_UNCOVERED = 0.38
"""How much of a painted example shows the photo."""


@cache
def photo(name: str) -> Upload:
    """Returns an example photo."""
    data = resources.files("impasto") / "data" / "photos" / name
    return Upload(name, data.read_bytes())


class Gallery:
    """The painted examples, as the server asks for them."""

    def picture(self, name: str) -> Image.Image | None:
        """Returns an example by its number, None if there is none."""
        numbered = {str(number): name for number, name in enumerate(EXAMPLES)}
        return painted(numbered[name]) if name in numbered else None


def url(name: str) -> str:
    """Returns the address of a painted example."""
    return picture_url(TOKEN, str(list(EXAMPLES).index(name)))


@cache
def painted(name: str) -> Image.Image | None:
    """Returns an example, half photo and half painting; None if it could not be painted."""
    before = photo(name).shown.copy()
    side = min(before.size)
    left, top = (before.width - side) // 2, (before.height - side) // 2
    before = before.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
    style = EXAMPLES[name][1]

    def work(job: Job) -> Image.Image:
        return stylizer("auto").stylize(before, style, on_step=lambda _: job.check())

    job = Job(work, quick=True)
    job_queue.queue().submit(job)
    while not job.finished:
        job.wait(1)
    image: Image.Image | None = job.result
    if image is None:
        return None
    edge = round(_UNCOVERED * _SIDE)
    image.paste(before.crop((0, 0, edge, _SIDE)), (0, 0))
    ImageDraw.Draw(image).line((edge, 0, edge, _SIDE), "white", 3)
    return image
