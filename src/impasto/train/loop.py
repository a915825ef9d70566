"""The training loop, the same for every network: Lightning Fabric around a plain PyTorch step."""

from __future__ import annotations

import io
import json
import math
import signal
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from impasto import files, images
from impasto.errors import (
    ControlError,
    ImageError,
    ImpastoError,
    OutputError,
    SetupError,
    TrainingError,
)
from impasto.history import History
from impasto.images import Picture
from impasto.interrupt import interruptible
from impasto.methods import Progress
from impasto.metrics import Judge
from impasto.networks import Network, description, save_network
from impasto.networks.vgg import load_encoder
from impasto.train.config import TrainConfig
from impasto.train.data import (
    Crops,
    Looks,
    Places,
    check_readable,
    collate,
    cut_square,
    find_pictures,
    hold_out,
)

Batches = Iterator[tuple[Tensor, Tensor, list[str]]]

_LOG_EVERY = 20
_SAY_SECONDS, _CHECKPOINT_SECONDS = 10, 300
_JUDGED_PAIRS = 24
_SHOWN_PAIRS = 6
_JUDGED_SIDE = 256
_COUNTERS = ("step", "seconds", "best", "broken")
_MAY_CHANGE = {"steps", "validate_every", "workers"}
"""Settings that a run may be resumed with other values of."""


class Task(ABC):
    """What is trained, and by which losses.

    Args:
        config: settings of its own.
        run: where photos and styles lie.
        init: weights, by name or file, of an earlier network to start from.
    """

    Config: ClassVar[type[Any]]
    """Settings of its own: a frozen dataclass of `impasto.settings.setting` fields."""

    config: Any
    network: Network
    """What is trained."""
    origin: str = ""
    """What tells the network it began as from others."""
    in_stages: ClassVar[bool] = False
    """Whether some parameters take no part in some of the steps."""
    styles: Sequence[Tensor] = ()
    """Pictures (1, 3, h, w) of the styles, if these are few, all trained on, and known to the
    network by their number, which then stands for crops of them."""

    @abstractmethod
    def __init__(self, config: Any, run: Run, init: str | None = None) -> None: ...

    @abstractmethod
    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) that a network, of the kind of `network`, paints of these: photos
        and styles (N, 3, H, W), or the styles' numbers (N,).
        """

    @abstractmethod
    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Weighted losses of a network on a batch, by name; their sum is minimised.

        Args:
            network: of the kind of `network`.
            content, style: as for `paint`.
            step: of the training, from 0; decides whatever is random.
        """

    @abstractmethod
    def usage(self, out: Path) -> str:
        """The command that paints with the weights file ``out``."""

    @abstractmethod
    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:
        """Called before the first step: photos to train on, and where."""


@dataclass(frozen=True)
class Run:
    """Where a training run reads and writes."""

    content: Path
    """Folder of photos, through all levels."""
    style: Path
    """Folder of styles, likewise."""
    out: Path
    """The weights file: always the best network so far by the validation score."""

    @property
    def folder(self) -> Path:
        """Beside it: checkpoint, histories, plots, samples, TensorBoard's log."""
        return self.out.with_name(f"{self.out.stem}-training")

    def check(self, *, resume: bool = False) -> None:
        """Finds out, before networks are loaded, whether there is something to train on, and a
        place for the result.

        Args:
            resume: whether an earlier run is to go on.

        Raises:
            ImageError: no pictures, or none that can be read.
            OutputError: ``out`` cannot be written, there is no run to resume, or one is in the way.
        """
        if self.out.suffix != ".safetensors":
            raise OutputError(f"{self.out}: weights are kept in .safetensors files")
        files.check_writable(self.out)
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is in the way of the run's folder; move it")
        there = self.checkpoint.exists()
        if resume and not there:
            raise OutputError(f"{self.checkpoint}: no run to resume; leave out --resume")
        if there and not resume:
            raise OutputError(
                f"{self.folder}: holds an earlier run; add --resume, or delete the folder"
            )
        for source in (self.content, self.style):
            check_readable(find_pictures(source))
            if self.out.resolve().is_relative_to(source.resolve()):
                raise OutputError(
                    f"{self.out}: lies in {source}, whose pictures are trained on; choose another "
                    "place, since samples are written beside it"
                )

    @property
    def checkpoint(self) -> Path:
        """All that it takes to go on."""
        return self.folder / "checkpoint.pt"


class Trainer:
    """One training run.

    Args:
        task: what to train.
        config: for how long, on what crops, how fast.
        run: folders and files.
        resume: go on from the checkpoint of an earlier run with the same settings.
        devices: how many on this machine.
        nodes: how many machines; see Fabric for how they find each other.
        accelerator: ``auto``, ``cpu``, ``cuda``, ``mps``.
        say: told what happens, a line at a time.

    Raises:
        ImageError: no pictures.
        OutputError: as `Run.check`; or the run to resume is damaged.
        ControlError: the run to resume has other settings.
        SetupError: no such devices.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        run: Run,
        *,
        resume: bool = False,
        devices: int = 1,
        nodes: int = 1,
        accelerator: str = "auto",
        say: Callable[[str], None] = print,
    ) -> None:
        self.task, self.config, self.run = task, config, run
        run.check(resume=resume)
        self.pictures = [find_pictures(source) for source in (run.content, run.style)]
        self.settings = {
            "devices": devices * nodes,
            "photos": len(self.pictures[0]),
            "styles": len(self.pictures[1]),
            **asdict(config),
            **asdict(task.config),
            **description(task.network),
            **_family(task),
        }
        # What can be wrong is found before other processes are started, so that it is said once.
        state = self._read() if resume else None
        self.fabric = _fabric(accelerator, devices, nodes, config.precision, task.in_stages)
        self.fabric.launch()
        self.say = say if self.fabric.is_global_zero else lambda _: None
        parameters = [p for p in task.network.parameters() if p.requires_grad]
        mean = partial(_running_mean, config.ema)
        self.average = AveragedModel(task.network, multi_avg_fn=mean).to(self.fabric.device)
        self.network, self.optimizer = self.fabric.setup(
            task.network, torch.optim.Adam(parameters, lr=config.learning_rate)
        )
        self.step, self.seconds, self.best = 0, 0.0, float("inf")
        self.losses, self.scores = History(), History()
        self.broken: list[str] = []
        self.unsaid: list[str] = []
        self.said = 0.0
        if state is not None:
            self._restore(state)

    def train(self) -> bool:
        """Trains to the end, or until Ctrl-C, which leaves a checkpoint to resume from.

        Returns:
            Whether it came to the end.

        Raises:
            ImageError: no picture can be read.
            OutputError: a file cannot be written.
            TrainingError: the losses are no longer finite, or another process ended the training.
        """
        holdout, seed = self.config.holdout, self.config.seed
        contents, photos = hold_out(self.pictures[0], holdout, seed)
        styles, paintings = hold_out(self.pictures[1], 0 if self.task.styles else holdout, seed)
        # Before the workers start, which must not be ended by a Ctrl-C.
        with interruptible() as stop, self._board() as board, _readers():
            if not self.fabric.is_global_zero:
                photos, paintings = [], []  # only the first process judges
            validation = _Validation(self.task, photos, paintings, self.fabric.device, self.unsaid)
            self.say(
                f"training on {len(contents)} photos and {len(styles)} styles, "
                f"{len(validation.pairs)} pairs held out; "
                f"from step {self.step} to {self.config.steps}"
            )
            self._say_broken()
            self.task.prepare(contents, self.fabric.device)
            batches = self._batches(contents, styles)
            started, saved = time.monotonic() - self.seconds, time.monotonic()
            while self.step < self.config.steps and not self._any(stop.is_set()):
                losses = self._step(batches)
                self.seconds = time.monotonic() - started
                last = self.step == self.config.steps
                if self.step % _LOG_EVERY == 0 or last:
                    self._log(losses, board)
                if self.step % self.config.validate_every == 0 or last:
                    self._alone(partial(self._validate, validation, board))
                elif not self._any(time.monotonic() - saved > _CHECKPOINT_SECONDS):
                    continue
                self._alone(self._save)
                saved = time.monotonic()
            finished = self.step == self.config.steps
            if not finished:
                self._say_broken()
                self._alone(self._save)
        if self.broken:
            self.say(f"{len(self.broken)} broken pictures were skipped")
        if not finished:
            self.say(f"stopped after step {self.step}; --resume goes on from there")
        return finished

    def _board(self) -> Any:
        """TensorBoard's log, without what an interrupted run wrote after its last checkpoint."""
        if not self.fabric.is_global_zero:
            return nullcontext()
        self.run.folder.mkdir(exist_ok=True)
        return SummaryWriter(self.run.folder / "tensorboard", purge_step=self.step + 1)

    def _batches(self, contents: Sequence[Path], styles: Sequence[Path]) -> Batches:
        config = self.config
        kind = Looks if self.task.styles else Crops
        crops = kind(contents, styles, config.crop, config.resize, config.style_resize, config.seed)
        places = Places(
            self.step * config.accumulate,
            config.steps * config.accumulate,
            config.batch,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        loader: DataLoader[Any] = DataLoader(
            crops,
            batch_size=config.batch,
            sampler=places,
            num_workers=config.workers,
            collate_fn=collate,
            worker_init_fn=_ignore_interrupts,
            pin_memory=self.fabric.device.type == "cuda",
        )
        return iter(loader)

    def _step(self, batches: Batches) -> dict[str, Tensor]:
        """One step of the optimiser; returns the losses, averaged over its batches."""
        config = self.config
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        sums: dict[str, Tensor] = {}
        for number, (*pictures, broken) in enumerate(islice(batches, config.accumulate), 1):
            self.unsaid += broken
            content, style = self.fabric.to_device(pictures)
            with self.fabric.no_backward_sync(self.network, enabled=number < config.accumulate):
                losses = self.task.losses(self.network, content, style, self.step)
                total = torch.stack(tuple(losses.values())).sum()
                self.fabric.backward(total / config.accumulate)
            for name, value in {**losses, "total": total}.items():
                sums[name] = sums.get(name, 0) + value.detach() / config.accumulate
        norm: Any = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=config.clip, error_if_nonfinite=False
        )
        # float16 overflows now and then; its scaler then leaves out the step.
        if getattr(self.fabric.strategy.precision, "scaler", None) is None:
            self._check_finite([float(norm)])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        self.step += 1
        return sums

    def _say_broken(self) -> None:
        """Names the pictures that were skipped in any process."""
        found: list[Any] = [self.unsaid]
        if self.fabric.world_size > 1:
            found = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(found, self.unsaid)
        for message in [message for several in found for message in several]:
            if message not in self.broken:
                self.broken.append(message)
                self.say(f"skipped ({len(self.broken)} so far): {message}")
        self.unsaid.clear()

    def _check_finite(self, values: Sequence[float]) -> None:
        """Ends the training if a value, the same in all processes, is no longer finite."""
        if not all(map(math.isfinite, values)):
            self._end(TrainingError("the training diverged: start again, with less learning_rate"))

    def _end(self, error: ImpastoError | None) -> NoReturn:
        """Ends all processes; the first one says why."""
        if error is not None and self.fabric.is_global_zero:
            raise error
        raise TrainingError("another process ended the training")

    def _alone(self, act: Callable[[], None]) -> None:
        """Lets the first process do what is done once; if it fails, all of them end."""
        failed = None
        if self.fabric.is_global_zero:
            try:
                act()
            except ImpastoError as error:
                failed = error
        if self._any(failed is not None):
            self._end(failed)

    def _any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, so that all of them stop at the same step."""
        if self.fabric.world_size == 1:
            return flag
        count = torch.tensor(float(flag), device=self.fabric.device)
        found: Any = self.fabric.all_reduce(count, reduce_op="sum")
        return bool(found > 0)

    def _log(self, latest: Mapping[str, Tensor], board: Any) -> None:
        """Takes down the losses, averaged over all processes."""
        self._say_broken()
        mean: Any = self.fabric.all_reduce(torch.stack(tuple(latest.values())), reduce_op="mean")
        losses = dict(zip(latest, mean.tolist(), strict=True))
        self._check_finite(list(losses.values()))
        if not self.fabric.is_global_zero:
            return
        self.losses(Progress(self.step, self.config.steps, losses, lambda: torch.empty(0)))
        for name, value in losses.items():
            board.add_scalar(f"loss/{name}", value, self.step)
        if time.monotonic() - self.said < _SAY_SECONDS:
            return
        self.said = time.monotonic()
        parts = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        left = self.seconds / self.step * (self.config.steps - self.step) / 60
        self.say(f"step {self.step} of {self.config.steps}: {parts}; {left:.0f} minutes left")

    def _validate(self, validation: _Validation, board: Any) -> None:
        """Judges the averaged network; the best so far is written to the weights file."""
        self.average.eval()
        found = validation.judge(self.average.module)
        score = found.get("score", -float(self.step))  # without validation, the latest is best
        if found:
            self.scores(Progress(self.step, self.config.steps, found, lambda: torch.empty(0)))
            for name, value in found.items():
                board.add_scalar(f"validation/{name}", value, self.step)
            self.say("validation: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()))
            sheet = validation.sheet(self.average.module)
            images.write(self.run.folder / f"sample-{self.step:06}.png", Picture(sheet))
            board.add_images("samples", sheet, self.step)
        if score < self.best:
            self.best = score
            trained = {
                "step": self.step,
                "minutes": round(self.seconds / 60),
                **asdict(self.config),
                **asdict(self.task.config),
            }
            network: Any = self.average.module
            about = {**_family(self.task), "trained": json.dumps(trained)}
            save_network(self.run.out, network, about)

    def _save(self) -> None:
        """Writes checkpoint, histories and plots, each whole or not at all."""
        state = {
            "settings": self.settings,
            "origin": self.task.origin,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "losses": self.losses.rows,
            "scores": self.scores.rows,
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        stored = io.BytesIO()
        torch.save(state, stored)
        files.replace(self.run.checkpoint, stored.getvalue())
        for name, history in (("losses", self.losses), ("scores", self.scores)):
            history.write_csv(self.run.folder / f"{name}.csv")
            history.write_plot(self.run.folder / f"{name}.png")

    def _read(self) -> dict[str, Any]:
        """The checkpoint, if it belongs to these settings."""
        path = self.run.checkpoint
        try:
            with zipfile.ZipFile(path) as parts:  # torch does not look at the check sums
                if parts.testzip() is not None:
                    raise zipfile.BadZipFile
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            settings, step = state["settings"], state["step"]
        except Exception as error:  # many kinds, according to what is damaged
            raise OutputError(
                f"{path}: damaged, or of another version; delete {self.run.folder}, and start "
                "again with --init from the weights so far"
            ) from error
        for name, value in self.settings.items():
            if settings.get(name) != value and name not in _MAY_CHANGE:
                raise ControlError(
                    f"{path}: {name} was {settings.get(name)} and is {value}; resume with what it "
                    "was, or start another run with --init"
                )
        if step > self.config.steps:
            raise ControlError(f"{path}: is at step {step} already; use more than that as steps")
        return state

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.task.origin = state["origin"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.losses.rows, self.scores.rows = state["losses"], state["scores"]
        for name in _COUNTERS:
            setattr(self, name, state[name])


def _family(task: Task) -> dict[str, str]:
    """What the weights file tells of the network that training began with."""
    return {"family": task.origin} if task.origin else {}


def _fabric(accelerator: str, devices: int, nodes: int, precision: Any, in_stages: bool) -> Fabric:
    if devices < 1 or nodes < 1:
        raise ControlError(f"devices is {devices}, nodes is {nodes}: use at least 1")
    several = devices * nodes > 1
    try:
        return Fabric(
            accelerator=accelerator,
            strategy="ddp_find_unused_parameters_true" if several and in_stages else "auto",
            devices=devices,
            num_nodes=nodes,
            precision=precision,
        )
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SetupError(f"cannot train on {devices} x {accelerator}: {reason}") from error


def _running_mean(decay: float, means: list[Tensor], latest: list[Tensor], number: Tensor) -> None:
    """Moves the means of the weights towards the latest ones, faster at first: the random ones of
    the start would otherwise stay in for thousands of steps.
    """
    decay = min(decay, (1 + float(number)) / (10 + float(number)))
    torch._foreach_lerp_(means, latest, 1 - decay)


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; when to stop is for the first one to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _readers() -> Iterator[None]:
    """While open, what goes wrong in a process that reads pictures is told in one line."""
    try:
        yield
    except ImageError as error:  # with the other process's traceback before it
        raise ImageError(str(error).rpartition("ImageError: ")[-1].strip()) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that reads pictures died, perhaps for want of memory: use fewer workers"
        ) from error


class _Validation:
    """Held-out pairs, and how well they are painted.

    Each is a photo, the style as the network is given it, and the style's picture.
    """

    def __init__(
        self,
        task: Task,
        photos: Sequence[Path],
        paintings: Sequence[Path],
        device: torch.device,
        broken: list[str],
    ) -> None:
        self.task = task
        squares = _squares(photos, broken)
        if task.styles:
            turns = range(max(len(squares), len(task.styles)) if squares else 0)
            squares = [squares[n % len(squares)] for n in turns]
            numbers = [n % len(task.styles) for n in turns]
            shown = [task.styles[number] for number in numbers]
            given = [torch.tensor([number]) for number in numbers]
        else:
            given = shown = _squares(paintings, broken)
        self.pairs = [
            tuple(part.to(device) for part in pair)
            for pair in zip(squares, given, shown, strict=False)
        ]
        self.jury: Judge | None = None
        if self.pairs:
            self.jury = Judge(load_encoder("vgg19", precision="auto"))
            self.jury.encoder.to(device)
            self.jury.vit.to(device)

    @torch.no_grad()
    def _paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        return self.task.paint(network, content, style).clamp(0, 1)

    def judge(self, network: nn.Module) -> dict[str, float]:
        """Mean content distance, style distance and score; empty if nothing was held out."""
        if self.jury is None:
            return {}
        found = [
            self.jury(self._paint(network, photo, style), photo, shown)
            for photo, style, shown in self.pairs
        ]
        names = ("content", "style", "score")
        return {name: sum(getattr(s, name) for s in found) / len(found) for name in names}

    def sheet(self, network: nn.Module) -> Tensor:
        """Photos, paintings and results, one above the other, (1, 3, H, W)."""
        columns = [
            torch.cat(
                (photo, cut_square(shown, _JUDGED_SIDE), self._paint(network, photo, style)), -2
            )
            for photo, style, shown in self.pairs[:_SHOWN_PAIRS]
        ]
        return torch.cat(columns, -1).cpu()


def _squares(pictures: Sequence[Path], broken: list[str]) -> list[Tensor]:
    """The first pictures that can be read; the others are noted."""
    squares: list[Tensor] = []
    for path in pictures:
        if len(squares) == _JUDGED_PAIRS:
            break
        try:
            squares.append(cut_square(images.read(path).pixels, _JUDGED_SIDE))
        except ImageError as error:
            broken.append(str(error))
    return squares
