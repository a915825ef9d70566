"""Several photos in one style, as a zip."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from impasto.app import parts
from impasto.app.jobs import Job
from impasto.app.wish import Chosen, Upload, Wish, paint
from impasto.errors import ControlError, ImageError, TooLargeError
from impasto.style import Controls
from impasto.stylizer import Stylizer

MOST_PHOTOS = 20
_PAGE = "batch"


@dataclass(frozen=True)
class Batch:
    """What became of several photos."""

    archive: bytes
    painted: int
    failures: tuple[str, ...]
    """A sentence for each photo that could not be painted."""


def page() -> None:
    """The page."""
    left, right = st.columns([8, 5], gap="large")
    with right:
        styles = tuple(parts.pick_styles("batch"))
        st.subheader("Controls", anchor=False)
        options = parts.knobs(Controls, "batch", without=("tile",))
    with left:
        st.title("Paint many photos in one style", anchor=False)
        photos = parts.upload_pictures("Drop photos here", "batch_files", several=True)
        if len(photos) > MOST_PHOTOS:
            st.error(f"These are {len(photos)} photos: give {MOST_PHOTOS} at a time.")
        parts.failure(_PAGE)
        parts.watch(_PAGE, _keep)
        st.button(
            f"Paint {len(photos)} photos" if photos else "Paint",
            type="primary",
            icon=":material/brush:",
            disabled=not styles or not 0 < len(photos) <= MOST_PHOTOS,
            on_click=_begin,
            args=(photos, styles, options),
            help=None if styles else "Choose a style first.",
        )
        _show(st.session_state.get("batch"))


def _show(batch: Batch | None) -> None:
    if batch is None:
        return
    for failure in batch.failures:
        st.error(parts.sentence(failure), icon=":material/error:")
    parts.download(f"Download {batch.painted} pictures", batch.archive, "painted.zip")


def _begin(photos: list[Upload], styles: tuple[Chosen, ...], options: dict[str, Any]) -> None:
    painter = parts.stylizer("auto")
    parts.begin(
        Job(lambda job: paint_all(photos, styles, options, painter, job), quick=False), "batch"
    )


def paint_all(
    photos: list[Upload],
    styles: tuple[Chosen, ...],
    options: dict[str, Any],
    painter: Stylizer,
    job: Job,
) -> Batch:
    """Paints each photo; one that fails does not keep the others from being painted."""
    file, failures, names = io.BytesIO(), list[str](), set[str]()
    job.steps = len(photos)
    with zipfile.ZipFile(file, "w") as archive:  # pictures are compressed already
        for photo in photos:
            try:
                painted = paint(Wish(photo, styles, options), painter, lambda _: job.check())
                name = _unused(Path(photo.name).stem, names)
                names.add(name)
                archive.writestr(f"{name}.png", painted.encode(".png"))
                job.show(painted.image)
            except (ImageError, TooLargeError) as error:
                failures.append(str(error))
            job.step += 1
            if job.unwanted:
                break
            job.check()
    if not names:
        raise ControlError(" ".join(failures))
    return Batch(file.getvalue(), len(names), tuple(failures))


def _unused(stem: str, names: set[str]) -> str:
    numbers = (f"{stem}-{n}" for n in range(2, len(names) + 3))
    return stem if stem not in names else next(name for name in numbers if name not in names)


def _keep(job: Job) -> None:
    st.session_state.batch = job.result
