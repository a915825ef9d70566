"""Batches: any number of photos, each in each of several styles, on one machine or on many.

`folders` has places of pictures, `plan` what is to be painted and how it is called, `styles` what
is measured beforehand, and `painter` what each worker does. `processes` runs workers on this
machine, `cluster` on those of a Ray cluster; `report` says what became of all.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from impasto.batch.folders import AnyFolder, folder_of, pictures_of
from impasto.batch.painter import Kit, Outcome
from impasto.batch.plan import Names, Task, labels_of, tasks_of
from impasto.batch.processes import paint_here
from impasto.batch.report import FAILED, REPORT, Report
from impasto.batch.styles import found, prepare
from impasto.errors import ControlError, ImageError, OutputError, SetupError
from impasto.formats import FORMATS
from impasto.recipes import Recipe
from impasto.stylizer import find_device
from impasto.weights import sha256_of

__all__ = ["Report", "Workers", "paint"]

Workers = int | tuple[int, int] | None
"""How many workers paint: a number, a range, or as many as there is room for."""


def paint(
    photos: str | os.PathLike[str],
    styles: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    strength: float | tuple[float, float] = 1.0,
    format: str = "png",
    strip_metadata: bool = False,
    workers: Workers = None,
    ray: str | None = None,
    gpus_per_worker: float | None = None,
    device: str = "auto",
    method: str = "auto",
    refine: str | int | None = None,
    on_progress: Callable[[Report], None] = lambda _: None,
    stopped: Callable[[], bool] = bool,
    **options: Any,
) -> Report:
    """Paints each photo of a folder in each of several styles.

    What the output folder holds already is not painted again, so that the same call goes on where
    it was stopped. Several workers on this machine are processes: call it under
    ``if __name__ == "__main__":`` then.

    Args:
        photos: folder of the photos, or a single one, as a path or URL.
        styles: one or several, as pictures, names of bundled styles, saved looks, weights files and
            folders of pictures, by path or URL.
        output: folder for the paintings, as a path or URL.
        strength: how much of the style there is, 0 to 1; or a range, from which the strength of
            each painting is drawn by the seed and the names of photo and style.
        format: of the paintings, as the extension of their files.
        strip_metadata: whether to leave out what the photos' files say about them.
        workers: how many paint at once; with ``ray`` also a range. None for one for each core, or
            for each GPU.
        ray: the Ray cluster that paints: its address, ``auto`` for the one that this machine
            belongs to, ``local`` for one of this machine alone. None for no cluster.
        gpus_per_worker: GPUs of each worker on a cluster, or the share of one; None for 1 if the
            cluster has any.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        method: as of `impasto.stylize`.
        refine: as of `impasto.stylize`.
        on_progress: called with the report so far.
        stopped: whether to stop; what is not done by then is left out.
        **options: fields of `impasto.Controls`, and settings of the method.

    Returns:
        What became of all, which is also written to ``report.json`` in the output folder. What
        could not be painted is listed in ``failed.csv`` there.

    Raises:
        ControlError: a value is not allowed, or a style cannot be painted so.
        ImageError: there are no photos, or a style cannot be read.
        OutputError: the output folder cannot be written, or holds paintings of other settings.
        SetupError: there is no such device or cluster, or a package is missing.
        WeightsError: weights are missing or damaged.
    """
    strengths = strength if isinstance(strength, tuple) else (strength, strength)
    recipe = Recipe.of({"method": method, "refine": refine, **options})
    _check(recipe, strengths, format)
    _check_workers(workers, ray, gpus_per_worker)
    target = folder_of(output)
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder, _cluster(ray):
        scratch = Path(folder)
        source, names_of_photos = pictures_of(photos)
        if source == folder_of(photos):
            _check_apart(source, target)
        given = [styles] if isinstance(styles, (str, os.PathLike)) else styles
        sources = found(given, scratch)
        names = Names(labels_of(sources), f".{format}")
        _check_not_over(source, names_of_photos, target, names)
        there = target.names()
        before = _earlier(target, there)
        tasks = tasks_of(names_of_photos, names, there)
        total = len(names_of_photos) * len(sources)
        report = Report(
            input=source.identity,
            output=str(output),
            styles=dict(zip(names.endings, map(_identity, sources), strict=True)),
            recipe={
                **recipe.options,
                "strength": strength,
                "format": format,
                "strip_metadata": strip_metadata,
            },
            total=total,
            skipped=total - _paintings(tasks),
        )
        on_progress(report)
        looks = "cpu" if ray else device  # where they are measured
        ready = prepare(sources, recipe, looks, scratch, stopped) if tasks else ()
        if there - {REPORT, FAILED}:
            _check_same(target, report, before)
            report.styles = {**(before or {}).get("styles", {}), **report.styles}
        report.stopped = bool(tasks) and len(ready) < len(sources)
        if ready and not report.stopped:
            kit = Kit(
                source,
                target,
                ready,
                names,
                recipe.given,
                strengths,
                strip_metadata,
                device,
            )
            report.stopped = True  # unless it comes to its end
            _write(target, report)
            report.workers, outcomes = _set_to_work(
                kit, tasks, workers=workers, ray=ray, gpus=gpus_per_worker, stopped=stopped
            )
            started = time.monotonic()
            for outcome in outcomes:
                report.add(outcome, time.monotonic() - started)
                on_progress(report)
            report.seconds = time.monotonic() - started
            report.stopped = report.painted + report.failed < _paintings(tasks)
    if report.stopped:  # some may have been painted that nobody told of any more
        report.painted = _paintings(tasks) - _paintings(
            tasks_of(names_of_photos, names, target.names())
        )
    if tasks or before is None or before["stopped"] or FAILED in there:
        _write(target, report)
    if report.failures:
        target.write(FAILED, report.failures_csv())
    elif FAILED in there:
        target.remove(FAILED)
    return report


def _paintings(tasks: Sequence[Task]) -> int:
    return sum(len(task.styles) for task in tasks)


def _set_to_work(
    kit: Kit,
    tasks: Sequence[Task],
    *,
    workers: Workers,
    ray: str | None,
    gpus: float | None,
    stopped: Callable[[], bool],
) -> tuple[str, Iterator[Outcome]]:
    """What paints, in words, and what becomes of each painting."""
    if ray is None:
        assert not isinstance(workers, tuple)
        count = min(workers or _room_here(kit.device), len(tasks))
        return f"{count} process{'es' * (count > 1)}", paint_here(kit, tasks, count, stopped)
    from impasto.batch.cluster import paint_on_cluster

    outcomes = paint_on_cluster(kit, tasks, workers=workers, gpus=gpus, stopped=stopped)
    return f"Ray ({ray})", outcomes


def _cluster(address: str | None) -> AbstractContextManager[None]:
    """A connection to a Ray cluster, if one is asked for."""
    if address is None:
        return nullcontext()
    # What is left of a pipeline that was stopped must not start Ray anew.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        from impasto.batch.cluster import connected
    except ModuleNotFoundError as error:
        raise SetupError(
            f"--ray needs the package '{error.name}': pip install 'impasto[cluster]'"
        ) from error
    return connected(address)


def _room_here(device: str) -> int:
    """How many processes can paint on this machine: one for each core that has a gigabyte."""
    if find_device(device).type != "cpu":
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")  # the cores that this process may use
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // 2**30))


def _check(recipe: Recipe, strengths: tuple[float, float], format: str) -> None:
    """Raises `ControlError` if a value is not allowed."""
    for strength in strengths:
        replace(recipe.controls, strength=strength)  # which checks it
    if strengths[0] > strengths[1]:
        raise ControlError(
            f"strength is {strengths[0]}..{strengths[1]}: write the smaller number first"
        )
    if f".{format}" not in FORMATS:
        known = ", ".join(sorted(suffix.removeprefix(".") for suffix in FORMATS))
        raise ControlError(f"format is '{format}': use {known}")


def _check_workers(workers: Workers, ray: str | None, gpus: float | None) -> None:
    """Raises `ControlError` if there cannot be such workers."""
    if ray is None and isinstance(workers, tuple):
        raise ControlError("a range of workers is for --ray: give a single number")
    if ray is None and gpus is not None:
        raise ControlError("gpus_per_worker is for --ray: leave it out")
    low, high = workers if isinstance(workers, tuple) else (workers or 1, workers or 1)
    if workers == 0 or not 1 <= low <= high:
        raise ControlError(f"workers is {workers}: use at least 1, or a range such as 2..8")
    if gpus is not None and not gpus >= 0:
        raise ControlError(f"gpus_per_worker is {gpus}: use 0 or more")


def _check_apart(source: AnyFolder, target: AnyFolder) -> None:
    """Raises `OutputError` if paintings would be among the photos of the next run."""
    if PurePosixPath(target.identity).is_relative_to(source.identity):
        raise OutputError(f"{target}: is in the folder that is painted; choose another place")


def _check_not_over(
    source: AnyFolder, photos: Sequence[str], target: AnyFolder, names: Names
) -> None:
    """Raises `OutputError` if a painting would have the place of a photo."""
    if source.identity != target.identity:
        return
    every = range(len(names.labels))
    paintings = {names.of(stem, style) for stem in names.stems(photos) for style in every}
    for name in sorted(paintings.intersection(photos)):
        raise OutputError(f"{target}/{name}: would be painted over; choose another folder")


def _identity(source: str) -> dict[str, str]:
    """What a style is known by again."""
    name, path = Path(source).name, Path(source.partition("#")[0])
    return {"source": name, "sha256": sha256_of(path)} if path.is_file() else {"source": name}


def _earlier(target: AnyFolder, there: Set[str]) -> dict[str, Any] | None:
    """What the report of an earlier run says; None if there was none.

    Raises:
        OutputError: what would be overwritten is not of a batch.
    """
    if not {REPORT, FAILED} & there:
        return None
    with suppress(ValueError, FileNotFoundError, ImageError):
        told = json.loads(target.read(REPORT))
        kinds = {"input": str, "styles": dict, "recipe": dict, "stopped": bool}
        if isinstance(told, dict) and all(isinstance(told.get(k), kinds[k]) for k in kinds):
            return told
    name = REPORT if REPORT in there else FAILED
    raise OutputError(
        f"{target}/{name}: is not of a batch, and would be overwritten; move it away, or choose "
        "another folder"
    )


def _check_same(target: AnyFolder, report: Report, before: Mapping[str, Any] | None) -> None:
    """Raises `OutputError` if an earlier run painted other photos or with other settings into the
    folder, or nobody knows: what is there would be taken for what this run paints.
    """
    if before is None:
        if report.skipped:
            raise OutputError(
                f"{target}: holds {report.skipped} pictures of these names, and no {REPORT} that "
                "says how they were painted; choose another folder, or remove them"
            )
        return
    now = json.loads(json.dumps(report.as_dict()))
    if now["input"] != before["input"]:
        raise OutputError(
            f"{target}: holds paintings of the photos in {before['input']}; choose another folder "
            f"for those in {now['input']}, or change 'input' in {REPORT} if it was moved"
        )
    recipes = now["recipe"], before["recipe"]
    changed = {
        name for one in recipes for name in one if len({repr(r.get(name)) for r in recipes}) > 1
    }
    styles, were = now["styles"], before["styles"]
    if any(styles[ending] != were[ending] for ending in styles.keys() & were.keys()):
        changed.add("style")
    if changed:
        raise OutputError(
            f"{target}: holds pictures painted with another {min(changed)}; choose another folder, "
            "or remove them"
        )


def _write(target: AnyFolder, report: Report) -> None:
    target.write(REPORT, json.dumps(report.as_dict(), indent=2).encode())
