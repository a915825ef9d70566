"""Several photos in one style, as a zip."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from impasto.app import controls, pictures, visit
from impasto.app.job_queue import Job
from impasto.app.wish import Chosen, Upload, Wish, paint
from impasto.controls import Controls
from impasto.errors import ControlError, Stop, reason_with
from impasto.naming import distinct
from impasto.stylizer import Stylizer

MOST_PHOTOS, MOST_BYTES = 20, 200_000_000
_PAGE, _THUMBNAIL = "batch", 160


@dataclass(frozen=True)
class Batch:
    """The results of painting several photos."""

    archive: bytes
    thumbnails: dict[str, Image.Image]
    """Of those that were painted, by name."""
    failures: tuple[str, ...]
    """A sentence for each photo that could not be painted."""


def page() -> None:
    """The page."""
    left, right = st.columns([8, 5], gap="large")
    with right:
        styles = tuple(pictures.pick_styles(_PAGE))
        st.subheader("Controls", anchor=False)
        without = ["stop_after", *(["style_size"] if any(s.trained for s in styles) else [])]
        options = controls.knobs(Controls, _PAGE, without=without, limits=controls.STYLE_SIDES)
    with left:
        st.title("Paint many photos in one style", anchor=False)
        photos = pictures.upload_pictures("Drop photos here", "batch_files", several=True)
        if len(photos) > MOST_PHOTOS:
            st.error(f"These are {len(photos)} photos; the limit is {MOST_PHOTOS} at a time.")
        ready = bool(styles) and 0 < len(photos) <= MOST_PHOTOS
        if visit.clicked(_PAGE) and ready:
            _begin(photos, styles, options)
        visit.failure(_PAGE)
        visit.watch(_PAGE, _keep)
        label = f"Paint {len(photos)} photos" if photos else "Paint"
        visit.button(_PAGE, label, "brush", disabled=not ready)
        if not styles:
            st.caption("Choose a style first.")
        _show(st.session_state.get("batch"))


def _show(batch: Batch | None) -> None:
    if batch is None:
        return
    for failure in batch.failures:
        st.error(visit.sentence(failure), icon=":material/error:")
    visit.download(
        f"Download {len(batch.thumbnails)} pictures", lambda: batch.archive, "painted.zip"
    )
    st.image(list(batch.thumbnails.values()), list(batch.thumbnails))


def _begin(photos: list[Upload], styles: tuple[Chosen, ...], options: dict[str, Any]) -> None:
    def work(job: Job) -> Batch:
        return paint_all(photos, styles, options, visit.stylizer("auto"), job)

    visit.begin(Job(work, quick=False), _PAGE)


def paint_all(
    photos: list[Upload],
    styles: tuple[Chosen, ...],
    options: dict[str, Any],
    painter: Stylizer,
    job: Job,
) -> Batch:
    """Paints each photo; one that fails does not keep the others from being painted."""
    file, failures, small = io.BytesIO(), list[str](), dict[str, Image.Image]()
    job.steps = len(photos)
    encoded = painter.encode([style.style() for style in styles])
    with zipfile.ZipFile(file, "w") as archive:  # pictures are compressed already
        names = distinct(f"{Path(photo.name).stem}.png" for photo in photos)
        for job.step, (photo, name) in enumerate(zip(photos, names, strict=True)):
            try:
                job.check()
                wish = Wish(photo, styles, options)
                painted = paint(wish, painter, lambda _: job.check(), encoded)
                job.check()  # it may be half painted
            except Stop:
                failures.append(f"Stopped after {job.step} of {job.steps} photos.")
                break
            except Exception as error:  # whatever it is, the other photos are painted
                failures.append(reason_with(photo.name, error))
                continue
            archive.writestr(name, painted.encode(".png"))
            job.show(painted.image)
            small[name] = painted.image.copy()
            small[name].thumbnail((_THUMBNAIL, _THUMBNAIL))
            if file.tell() > MOST_BYTES:
                failures.append(f"The archive is full after {job.step + 1} photos.")
                break
    if not small:
        raise ControlError(" ".join(failures))
    return Batch(file.getvalue(), small, tuple(failures))


def _keep(job: Job) -> None:
    st.session_state.batch = job.result
