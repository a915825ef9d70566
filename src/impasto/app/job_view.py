"""A job as the page shows it: progress, the button that stops it, what it left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import altair as alt
import streamlit as st

from impasto.app import job_queue
from impasto.app.components import Busy
from impasto.app.job_queue import Job
from impasto.app.request import Result
from impasto.app.session import Session, current

_TICK_S = 0.7
"""How often the page looks at a job that takes long."""
_QUICK_S = 5.0
"""How long the page is not drawn until a quick job is done."""


def failure(page: str) -> None:
    """Tells what went wrong last on a page, if anything did."""
    told = current().failures.get(page)
    if told:
        st.error(told, icon=":material/error:")


def wait_for_quick(session: Session) -> None:
    """Waits until the job is done, if that is soon, so that the page is drawn only once."""
    line, job, began = st.empty(), session.job, time.monotonic()
    told = ""
    while job and not job.finished and time.monotonic() < began + _QUICK_S:
        job.wait(0.25)
        # To look there lets Streamlit turn to what the visitor did in the meantime.
        _ = "session" in st.session_state
        # Each news makes the browser draw the page, which takes from the painting.
        if told != (told := "Painting" if job.started else progress(job)):
            line.html(f'<div class="painting" role="status">{told} ...</div>')
    if told:
        line.empty()
    session.settle()


def live(draw: Callable[[], object], job: Job | None) -> None:
    """Draws a part of the page, again and again as long as a job runs; then the whole page."""
    if job is None:  # what the visitor does in this part is then news for the whole page
        draw()
        return

    def tick() -> None:
        if job.finished:
            st.rerun()
        draw()

    st.fragment(tick, run_every=_TICK_S)()


def elsewhere(session: Session, page: str, titles: Mapping[str, str]) -> None:
    """Shows the progress of another page's job.

    Args:
        session: the visitor's.
        page: that is looked at.
        titles: of the pages.
    """
    job = session.job
    if job is None or session.running(page) or job.quick:
        return
    title = titles[session.job_page]
    live(lambda: st.info(f"On the page {title}: {progress(job)}.", icon=":material/brush:"), job)


def busy(session: Session, page: str, told: Callable[[Job], str] | None = None) -> Busy | None:
    """What the viewer shows of a job; None if there is none.

    Args:
        session: the visitor's.
        page: the page that the job was begun on.
        told: says how far it is; `progress` if None.
    """
    job = session.running(page)
    if job is None:
        return None
    preview = session.url(f"job-{job.id}-{job.step}") if job.preview else None
    return Busy((told or progress)(job), job.fraction if job.started else None, preview)


def progress(job: Job, unit: str = "Step") -> str:
    """How far a job is, in a sentence."""
    ahead = job_queue.queue().position(job)
    if job.stopped:
        return "Stopping after this step"
    if ahead:
        return f"Waiting: {ahead} before you"
    if not job.steps:
        return "Painting"
    told = [f"{unit} {job.step} of {job.steps}"]
    if job.seconds_left is not None:
        told.append(duration(job.seconds_left))
    return ", ".join(told)


def duration(seconds: float) -> str:
    """How long something will take."""
    if seconds < 50:
        return f"about {max(5, round(seconds / 5) * 5)} seconds left"
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} minute{'s' * (minutes > 1)} left"


def stop_button(session: Session, page: str) -> None:
    """The button that ends a long job, with the picture so far."""
    job = session.running(page)
    if job and not job.quick:
        st.button(
            "Stop",
            icon=":material/stop_circle:",
            on_click=job.stop,
            disabled=job.stopped,
            key=f"stop-{page}",
            help="What is painted by then is kept.",
        )


def button(
    label: str,
    icon: str,
    *,
    primary: bool = False,
    disabled: bool = False,
    on_click: Callable[[], None] | None = None,
) -> bool:
    """A button; returns whether it was clicked."""
    kind: Literal["primary", "secondary"] = "primary" if primary else "secondary"
    name = f":material/{icon}:"
    return st.button(label, type=kind, icon=name, disabled=disabled, on_click=on_click)


def download(
    label: str, data: Callable[[], bytes] | bytes, name: str, *, primary: bool = False
) -> None:
    """A button for a file, which is made when it is clicked."""
    st.download_button(
        label,
        data,
        name,
        icon=":material/download:",
        on_click="ignore",
        type="primary" if primary else "secondary",
    )


def finished(result: Result, job: Job) -> Result:
    """Returns a picture with what its job noted on the way."""
    result.losses, result.snapshots = job.history.rows, job.snapshots
    if job.stop_after is not None:
        result.recipe["stop_after"], result.steps = job.stop_after, job.steps
    return result


def as_code(result: Result) -> None:
    """How to make a picture without the app."""
    st.markdown("**The same picture on the command line**")
    st.code(result.command(), None, wrap_lines=True)
    st.markdown("**and in Python**")
    st.code(result.python(), None, wrap_lines=True)
    if result.request.masks:
        st.caption("Save the masks in the folder where you run this.")


def downloads(result: Result) -> None:
    """Buttons for a picture's file, and how to make it without the app."""
    with st.container(horizontal=True):
        download("Download PNG", partial(result.encode, ".png"), f"{result.file}.png", primary=True)
        download("JPEG", partial(result.encode, ".jpg"), f"{result.file}.jpg")
        with st.popover("As code", icon=":material/code:"):
            as_code(result)


def left_behind(session: Session, result: Result) -> None:
    """What the optimiser gave besides the picture: losses and snapshots."""
    if result.steps:
        st.caption(f"Stopped after step {result.stop_after} of {result.steps}.")
    if result.losses:
        losses = st.expander("How it came closer", icon=":material/show_chart:", on_change="rerun")
        if losses.open:
            with losses:
                plot_losses(result.losses)
    if result.snapshots:
        snapshots = st.expander("Snapshots", icon=":material/animation:", on_change="rerun")
        if snapshots.open:
            shown = [
                f'<figure><img src="{session.url(f"{result.id}-step-{step}")}" alt="">'
                f"<figcaption>Step {step}</figcaption></figure>"
                for step in result.snapshots
            ]
            snapshots.html(f'<div class="snapshots">{"".join(shown)}</div>')


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
