"""A visitor's session: the job that it waits for, and what there is to do with the picture."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import altair as alt
import streamlit as st
from PIL import Image

from impasto.app.job_queue import PREVIEW_SIDE, Job, JobQueue, queue
from impasto.app.wish import Painted, as_url, command, python
from impasto.errors import ImpastoError
from impasto.stylizer import Stylizer

_TICK_S = 0.5


@st.cache_resource(show_spinner=False)
def studio() -> JobQueue:
    """The one that paints for all visitors; the network that most will use is warmed up."""
    made = queue()

    def warm_up(_: Job) -> None:
        grey = Image.new("RGB", (64, 64), "grey")
        stylizer("auto").stylize(grey, grey)
        # Streamlit collects garbage after every run of a page. What is loaded by now is none, and
        # to look through it each time would take longer than all the rest of the run.
        gc.freeze()

    made.submit(Job(warm_up, quick=True))
    return made


@st.cache_resource(show_spinner=False, max_entries=4)
def stylizer(method: str, **settings: Any) -> Stylizer:
    """A method, loaded once for all visitors."""
    return Stylizer(method, **settings)


def sentence(error: object) -> str:
    """What went wrong, for people without a command line, in Markdown."""
    text = re.sub(r"(?<!\S)--(?=[a-z])", "", str(error))
    if re.match("[a-z]+ ", text):  # and no file's name
        text = text[0].upper() + text[1:]
    return re.sub(r"([\\`*_{}\[\]<>$#:~|])", r"\\\1", text)


def begin(job: Job, page: str) -> None:
    """Starts a job of that page in place of the session's last one."""
    end()
    try:
        studio().submit(job)
        st.session_state.update({"job": job, "job_page": page, f"{page}.failed": None})
    except ImpastoError as error:
        fail(page, error)


def end() -> None:
    """Stops the session's job and forgets it."""
    job: Job | None = st.session_state.get("job")
    if job:
        job.stop()
    st.session_state.job = None


def running(page: str) -> Job | None:
    """The session's job, if it is that page's."""
    mine = st.session_state.get("job_page") == page
    return st.session_state.get("job") if mine else None


def watch_elsewhere(page: str, line: Any, titles: Mapping[str, str]) -> None:
    """Shows the progress of another page's job, and keeps the job from being stopped as deserted.

    Args:
        page: that is looked at.
        line: an empty place to tell it.
        titles: of the pages.
    """
    job: Job | None = st.session_state.get("job")
    if job is None or running(page):
        return
    where = titles[st.session_state.job_page]
    while not job.finished:
        line.info(f"On the page {where}: {_progress(job)}.", icon=":material/brush:")
        job.wait(_TICK_S)
    line.info(f"On the page {where}: ready.", icon=":material/brush:")


def watch(page: str, finish: Callable[[Job], None]) -> None:
    """Shows the job of a page, if there is one, until it is done; then runs the page anew.

    Args:
        page: which was told to `begin`.
        finish: what to do with the job, if it has a result.
    """
    job = running(page)
    if job is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        line = st.empty()
        if not job.quick:
            st.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key="stop")
    picture = st.empty()
    if not job.quick:
        st.caption("Changes that you make now apply to the next picture.")
    shown = None
    if job.quick:  # done before there is anything to tell
        job.wait(_TICK_S)
    while not job.finished:
        line.progress(job.step / max(job.steps, 1), _progress(job))
        if job.preview is not None and job.preview is not shown:
            shown = job.preview
            width = f"min(100%, calc(72vh * {shown.width / shown.height}))"
            url = as_url(shown, PREVIEW_SIDE)
            picture.html(f'<img class="preview" src="{url}" style="width: {width}" alt="So far">')
        job.wait(_TICK_S)
    st.session_state.job = None
    fail(page, job.error)
    if job.result is not None:
        finish(job)
    st.rerun()


def _progress(job: Job) -> str:
    ahead = studio().position(job)
    if ahead and not job.started:
        return f"Waiting: {ahead} ahead of you"
    if job.stopped:
        return "Stopping after this step"
    if not job.steps:
        return "Painting"
    losses = job.history.rows[-1] if job.history.rows else {}
    told = [f"{name} {losses[name]:.3g}" for name in ("content", "style", "tv") if losses.get(name)]
    return ", ".join([f"Step {job.step} of {job.steps}", *told])


def fail(page: str, error: object | None) -> None:
    """Records what went wrong on a page; None if nothing did."""
    st.session_state[f"{page}.failed"] = None if error is None else sentence(error)


def failure(page: str) -> None:
    """Tells what went wrong last on a page, if anything did."""
    told = st.session_state.get(f"{page}.failed")
    if told:
        st.error(told, icon=":material/error:")


def button(name: str, label: str, icon: str, **options: Any) -> None:
    """A button; whether it was clicked is for `clicked` to tell.

    What is handed to a button's callback is as old as the button: a number that was typed right
    before the click would be missing. So the callback only records the click.

    Args:
        name: for `clicked`.
        label: on the button.
        icon: the same.
        options: of `streamlit.button`.
    """

    def click() -> None:
        st.session_state[f"{name}.clicked"] = True

    st.button(label, type="primary", icon=f":material/{icon}:", on_click=click, **options)


def clicked(name: str) -> bool:
    """Whether the `button` of that name was clicked since this was asked last."""
    return bool(st.session_state.pop(f"{name}.clicked", False))


def download(label: str, data: Callable[[], bytes] | bytes, name: str) -> None:
    """A button for a file, made when it is clicked."""
    st.download_button(label, data, name, icon=":material/download:", on_click="ignore")


def share(painted: Painted) -> None:
    """Downloads, and how to make the same picture without the app."""
    wish = painted.wish
    download("PNG", partial(painted.encode, ".png"), f"{wish.title}.png")
    download("JPEG", partial(painted.encode, ".jpg"), f"{wish.title}.jpg")
    if wish.masks:
        download("Masks", wish.zip_masks, "masks.zip")
    with st.popover("As code", icon=":material/code:"):
        st.caption("On the command line")
        st.code(command(wish), "bash", wrap_lines=True)
        st.caption("In Python")
        st.code(python(wish), "python", wrap_lines=True)


def left_behind(job: Job) -> None:
    """What the optimiser gave besides the picture: losses and snapshots."""
    if job.stopped and job.step < job.steps:
        st.caption(f"Stopped after step {job.step} of {job.steps}.")
    if job.history.rows:
        losses = st.expander("Losses", icon=":material/show_chart:", on_change="rerun")
        if losses.open:
            with losses:
                plot_losses(job.history.rows)
    if job.snapshots:
        snapshots = st.expander("Snapshots", icon=":material/animation:", on_change="rerun")
        if snapshots.open:
            columns = snapshots.columns(3)
            for n, (step, image) in enumerate(job.snapshots.items()):
                columns[n % 3].image(image, f"Step {step}")


def plot_losses(rows: Sequence[Mapping[str, float]]) -> None:
    """The losses against the steps; interactive."""
    points = [
        {"step": row["step"], "loss": name, "weighted": value}
        for row in rows
        for name, value in row.items()
        if name != "step" and value > 0
    ]
    chart = (
        alt.Chart({"values": points})
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("weighted:Q", title="weighted loss", scale=alt.Scale(type="log")),
            color=alt.Color("loss:N", title=None),
            tooltip=["loss:N", "step:Q", alt.Tooltip("weighted:Q", format=".4g")],
        )
        .interactive()
    )
    st.altair_chart(chart, alt="The losses at each step")
