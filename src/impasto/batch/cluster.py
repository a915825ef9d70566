"""Batches on a Ray cluster: read, paint and write are stages of a pipeline of Ray Data."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.data import ActorPoolStrategy, DataContext

from impasto.batch.painter import Kit, Outcome, Painter, failed
from impasto.batch.plan import Task
from impasto.errors import ImpastoError, SetupError, TooLargeError, WeightsError, reason

_BLOCK_BYTES = 8 * 2**20
"""Pictures travel between the stages in blocks of about so many bytes."""
_MOST_BYTES = 2**31 - 1
"""The largest value that a block can hold."""
_MOST_PHOTOS = 32
"""So many photos at most are read at once, and again if their machine dies."""
_BLOCKS_PER_CORE = 8
_PATIENCE_S = 10
_POLL_S = 0.2
"""How often it is looked whether to stop."""
_PAINTING, _OTHER = 0.9, 0.1
"""Shares of a core: each has room for a worker that paints, and for reading and writing beside it,
which would otherwise wait for ever for cores that the workers have taken.
"""


def paint_on_cluster(
    kit: Kit,
    tasks: Sequence[Task],
    *,
    workers: int | tuple[int, int] | None,
    gpus: float | None,
    stopped: Callable[[], bool],
) -> Iterator[Outcome]:
    """Paints on the cluster that is connected.

    Args:
        kit: what to paint, and how.
        tasks: each photo's.
        workers: how many paint at once, or a range; None for as many as the cluster has room for.
        gpus: GPUs of each; None for 1 if there are any.
        stopped: whether to stop.

    Yields:
        What became of each painting, as it comes.

    Raises:
        SetupError: the cluster failed.
        ImpastoError: something is wrong whatever the photo.
    """
    with _reported():
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if gpus is None:
            gpus = float(kit.device != "cpu" and resources.get("GPU", 0) > 0)
        room = int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1))
        rows = _pipeline(_sent(kit), tasks, _pool(workers, max(room, 1)), gpus, max(room, 1))
        for row in _until(stopped, rows.iter_rows()):
            yield pickle.loads(row["outcome"])


def _until(stopped: Callable[[], bool], rows: Iterable[Any]) -> Iterator[Any]:
    """Rows as they come, up to when work is to stop: that is not waited for with the next row."""
    arrived: queue.Queue[Any] = queue.Queue()
    end = object()

    def fetch() -> None:
        try:
            for row in rows:
                arrived.put(row)
            arrived.put(end)
        except BaseException as error:  # of the cluster, or since it is shut down
            arrived.put(error)

    threading.Thread(target=fetch, daemon=True).start()
    while not stopped():
        with suppress(queue.Empty):
            row = arrived.get(timeout=_POLL_S)
            if row is end:
                return
            if isinstance(row, BaseException):
                raise row
            yield row


def _pipeline(
    kit: Kit, tasks: Sequence[Task], pool: ActorPoolStrategy, gpus: float, room: int
) -> Any:
    """The stages; what they pass on are rows of bytes."""
    few = -(-room // 2)
    per_block = max(1, min(_MOST_PHOTOS, len(tasks) // (_BLOCKS_PER_CORE * room)))
    # Each process that reads or writes loads PyTorch: a few are enough for painters without a GPU.
    other: dict[str, Any] = {"num_cpus": 1} if gpus else {"num_cpus": _OTHER, "concurrency": few}
    painting: dict[str, Any] = {"num_gpus": gpus, "num_cpus": 0 if gpus else _PAINTING}
    items = [{"task": pickle.dumps(task)} for task in tasks]
    return (
        ray.data.from_items(items, override_num_blocks=-(-len(tasks) // per_block))
        .map(partial(_read, kit), **other)
        .map_batches(
            _Worker,
            fn_constructor_args=(kit,),
            batch_size=1,
            compute=pool,
            **painting,
        )
        .map(partial(_write, kit), **other)
    )


def _pool(workers: int | tuple[int, int] | None, room: int) -> ActorPoolStrategy:
    if workers is None:
        return ActorPoolStrategy(min_size=1, max_size=room, initial_size=room)
    if isinstance(workers, int):
        return ActorPoolStrategy(size=workers)
    return ActorPoolStrategy(min_size=workers[0], max_size=workers[1])


def _read(kit: Kit, row: dict[str, Any]) -> dict[str, Any]:
    """A task with its photo, or with what went wrong."""
    torch.set_num_threads(1)
    task: Task = pickle.loads(row["task"])
    try:
        photo, error = _packed(kit.read(task.photo)), b""
    except Exception as caught:  # whatever it is, the other photos are painted
        photo, error = b"", pickle.dumps(failed(task, "", caught, len(task.styles)))
    return {"task": row["task"], "photo": photo, "error": error}


class _Worker:
    """Paints a photo in its styles, one after the other."""

    def __init__(self, kit: Kit) -> None:
        self.painter = Painter(kit)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        packed, error = batch["task"][0], batch["error"][0]
        if error:
            yield _row(packed, error=error)
            return
        task: Task = pickle.loads(packed)
        photo = pickle.loads(batch["photo"][0])
        for style in task.styles:
            try:
                painted = self.painter.paint(task, photo, style)
                yield _row(packed, style, painted=_packed(painted))
            except (WeightsError, SetupError):
                raise
            except Exception as caught:
                label = self.painter.kit.styles[style].label
                yield _row(packed, style, error=pickle.dumps(failed(task, label, caught)))


def _row(task: bytes, style: int = -1, *, painted: bytes = b"", error: bytes = b"") -> Any:
    return {"task": [task], "style": [style], "painted": [painted], "error": [error]}


def _write(kit: Kit, row: dict[str, Any]) -> dict[str, Any]:
    """What became of a painting, once it is written."""
    torch.set_num_threads(1)
    if row["error"]:
        return {"outcome": row["error"]}
    task: Task = pickle.loads(row["task"])
    label = kit.styles[row["style"]].label
    try:
        kit.write(task, row["style"], pickle.loads(row["painted"]))
    except Exception as caught:
        return {"outcome": pickle.dumps(failed(task, label, caught))}
    return {"outcome": pickle.dumps(Outcome(task.photo, label))}


def _packed(picture: Any) -> bytes:
    packed = pickle.dumps(picture, pickle.HIGHEST_PROTOCOL)
    if len(packed) > _MOST_BYTES:
        raise TooLargeError("too large to be sent between the stages; give a smaller size")
    return packed


def _sent(kit: Kit) -> Kit:
    """The kit for workers that do not see the driver's files, which are put into Ray's store."""
    named = [str(value) for style in kit.styles for value in style.settings.values()]
    for style in kit.styles:
        named += [style.source.partition("#")[0], style.look or ""]
    found = {name for name in named if name and Path(name).is_file()}
    files: dict[str, Any] = {
        name: partial(ray.get, ray.put(Path(name).read_bytes())) for name in sorted(found)
    }
    return replace(kit, photos=kit.photos.absolute(), output=kit.output.absolute(), files=files)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a cluster, and silence: what matters comes as an error. A connection that is
    there already is used and kept.

    Args:
        address: of the cluster; ``auto`` for the one that this machine belongs to, ``local`` for
            one of its own.

    Raises:
        SetupError: there is no such cluster.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_answers(address)
        with _unheard():
            ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False, **local)
    except Exception as error:
        raise SetupError(
            f"no Ray cluster at {address} ({reason(error)}); start one with `ray start --head`, or "
            "use --ray local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises `OSError` if nobody answers at an address, at which Ray itself would end the process
    after minutes.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), _PATIENCE_S).close()


@contextmanager
def _unheard() -> Iterator[None]:
    """Closes stderr to what is no Python: Ray tells there how much it is going to tell."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _reported() -> Iterator[None]:
    """Turns errors of the pipeline into the one that they come from, or into a line.

    Raises:
        ImpastoError: what a worker raised.
        SetupError: the cluster failed.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            inner = getattr(cause, "cause", None)
            for one in (inner, cause):
                if type(one).__module__ == ImpastoError.__module__ and isinstance(
                    one, ImpastoError
                ):
                    raise one from None
            cause = cause.__cause__ or inner
        raise SetupError(f"the Ray cluster failed: {reason(error)}") from error
