"""The training loop, the same for every network: Lightning Fabric around a plain PyTorch step."""

from __future__ import annotations

import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from impasto import files, images
from impasto.encoders import load_encoder
from impasto.errors import ControlError, OutputError
from impasto.history import History
from impasto.images import Picture
from impasto.interrupt import interruptible
from impasto.methods import Progress
from impasto.metrics import Judge
from impasto.train.config import TrainConfig
from impasto.train.data import Crops, Places, collate, cut_square, find_pictures, hold_out

_LOG_EVERY = 20
_SAY_SECONDS, _CHECKPOINT_SECONDS = 10, 300
_JUDGED_PAIRS = 24
_SHOWN_PAIRS = 6
_JUDGED_SIDE = 256


class Task(ABC):
    """What is trained, and by which losses.

    Args:
        config: settings of its own.
        init: weights, by name or file, of an earlier network to start from.
    """

    Config: ClassVar[type[Any]]
    """Settings of its own: a frozen dataclass of `impasto.style.setting` fields."""

    config: Any
    network: nn.Module
    """What is trained. Called with batches of photos and styles, (N, 3, H, W), it paints."""

    @abstractmethod
    def __init__(self, config: Any, init: str | None = None) -> None: ...

    @abstractmethod
    def losses(self, painted: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        """Weighted losses of a batch, by name; their sum is minimised."""

    @abstractmethod
    def save(self, network: nn.Module, path: Path, trained: Mapping[str, Any]) -> None:
        """Writes a weights file that describes itself.

        Args:
            network: the weights to save, of the kind of `network`.
            path: where to.
            trained: how it was trained, for the file's metadata.
        """


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

    def check(self) -> None:
        """Finds out, before networks are loaded, whether there is something to train on, and a
        place for the result.

        Raises:
            ImageError: no pictures.
            OutputError: ``out`` cannot be written.
        """
        if self.out.suffix != ".safetensors":
            raise OutputError(f"{self.out}: weights are kept in .safetensors files")
        files.check_writable(self.out)
        find_pictures(self.content)
        find_pictures(self.style)

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
        devices: how many on this machine.
        nodes: how many machines; see Fabric for how they find each other.
        accelerator: ``auto``, ``cpu``, ``cuda``, ``mps``.
        say: told what happens, a line at a time.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        run: Run,
        *,
        devices: int = 1,
        nodes: int = 1,
        accelerator: str = "auto",
        say: Callable[[str], None] = print,
    ) -> None:
        self.task, self.config, self.run = task, config, run
        self.fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, precision=config.precision
        )
        self.fabric.launch()
        self.say = say if self.fabric.is_global_zero else lambda _: None
        parameters = [p for p in task.network.parameters() if p.requires_grad]
        mean = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(task.network, multi_avg_fn=mean).to(self.fabric.device)
        self.network, self.optimizer = self.fabric.setup(
            task.network, torch.optim.Adam(parameters, lr=config.learning_rate)
        )
        self.step, self.seconds, self.best = 0, 0.0, float("inf")
        self.losses, self.scores = History(), History()
        self.broken: set[str] = set()
        self.said = 0.0

    def train(self, *, resume: bool = False) -> bool:
        """Trains to the end, or until Ctrl-C, which leaves a checkpoint to resume from.

        Args:
            resume: go on from the checkpoint of an earlier run with the same settings.

        Returns:
            Whether it came to the end.

        Raises:
            ImageError: no pictures.
            OutputError: there is no run to resume, or one is in the way.
            ControlError: the losses are no longer finite.
        """
        pictures = [find_pictures(self.run.content), find_pictures(self.run.style)]
        parted = [hold_out(found, self.config.holdout, self.config.seed) for found in pictures]
        (contents, photos), (styles, paintings) = parted
        self._open(resume)
        self.say(
            f"training on {len(contents)} photos and {len(styles)} styles, "
            f"{min(len(photos), len(paintings))} pairs held out; "
            f"from step {self.step} to {self.config.steps}"
        )
        validation = _Validation(photos, paintings, self.fabric.device)
        batches = self._batches(contents, styles)
        with interruptible() as stop, SummaryWriter(self.run.folder / "tensorboard") as board:
            started, saved = time.monotonic() - self.seconds, time.monotonic()
            while self.step < self.config.steps and not self._any(stop.is_set()):
                losses = self._step(batches)
                self.seconds = time.monotonic() - started
                last = self.step == self.config.steps
                if self.step % _LOG_EVERY == 0 or last:
                    self._log(losses, board)
                if self.step % self.config.validate_every == 0 or last:
                    self._validate(validation, board)
                elif time.monotonic() - saved < _CHECKPOINT_SECONDS:
                    continue
                self._save()
                saved = time.monotonic()
            self._save()
        finished = self.step == self.config.steps
        if not finished:
            self.say(f"stopped after step {self.step}; --resume goes on from there")
        return finished

    def _open(self, resume: bool) -> None:
        """Makes the run's folder, or goes on with what is in it."""
        there = self.run.checkpoint.exists()
        if resume and not there:
            raise OutputError(f"{self.run.checkpoint}: no run to resume; leave out --resume")
        if there and not resume:
            raise OutputError(
                f"{self.run.folder}: holds an earlier run; add --resume, or delete the folder"
            )
        if resume:
            self._load()
        self.fabric.barrier()
        self.run.folder.mkdir(exist_ok=True)

    def _batches(
        self, contents: Sequence[Path], styles: Sequence[Path]
    ) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
        config = self.config
        crops = Crops(
            contents, styles, config.crop, (config.resize_min, config.resize_max), config.seed
        )
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
            pin_memory=self.fabric.device.type == "cuda",
        )
        return iter(loader)

    def _step(self, batches: Iterator[tuple[Tensor, Tensor, list[str]]]) -> dict[str, float]:
        """One step of the optimiser; returns the losses, averaged over its batches."""
        config = self.config
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        sums: dict[str, Tensor] = {}
        for number, (*pictures, broken) in enumerate(islice(batches, config.accumulate), 1):
            self._note_broken(broken)
            content, style = self.fabric.to_device(pictures)
            with self.fabric.no_backward_sync(self.network, enabled=number < config.accumulate):
                losses = self.task.losses(self.network(content, style), content, style)
                total = torch.stack(tuple(losses.values())).sum()
                self.fabric.backward(total / config.accumulate)
            for name, value in {**losses, "total": total}.items():
                sums[name] = sums.get(name, 0) + value.detach() / config.accumulate
        self.fabric.clip_gradients(self.network, self.optimizer, max_norm=config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        self.step += 1
        return {name: float(value) for name, value in sums.items()}

    def _note_broken(self, broken: Sequence[str]) -> None:
        for message in broken:
            if message not in self.broken:
                self.broken.add(message)
                self.say(f"skipped ({len(self.broken)} so far): {message}")

    def _any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, so that all of them stop at the same step."""
        if self.fabric.world_size == 1:
            return flag
        found: Any = self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum")
        return bool(found > 0)

    def _log(self, losses: Mapping[str, float], board: SummaryWriter) -> None:
        if not all(map(math.isfinite, losses.values())):
            raise ControlError("the training diverged: use a smaller learning_rate, and --resume")
        self.losses(Progress(self.step, self.config.steps, losses, lambda: torch.empty(0)))
        for name, value in losses.items():
            board.add_scalar(f"loss/{name}", value, self.step)
        if time.monotonic() - self.said < _SAY_SECONDS:
            return
        self.said = time.monotonic()
        parts = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        left = self.seconds / self.step * (self.config.steps - self.step) / 60
        self.say(f"step {self.step} of {self.config.steps}: {parts}; {left:.0f} minutes left")

    def _validate(self, validation: _Validation, board: SummaryWriter) -> None:
        """Judges the averaged network; the best so far is written to the weights file."""
        if not self.fabric.is_global_zero:
            return
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
                "steps": self.step,
                "minutes": round(self.seconds / 60),
                **asdict(self.config),
                **asdict(self.task.config),
            }
            self.task.save(self.average.module, self.run.out, trained)

    def _save(self) -> None:
        """Writes checkpoint, histories and plots, each whole or not at all."""
        if not self.fabric.is_global_zero:
            return
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses.rows,
            "scores": self.scores.rows,
            **{name: getattr(self, name) for name in ("step", "seconds", "best")},
        }
        stored = io.BytesIO()
        torch.save(state, stored)
        files.replace(self.run.checkpoint, stored.getvalue())
        for name, history in (("losses", self.losses), ("scores", self.scores)):
            history.write_csv(self.run.folder / f"{name}.csv")
            history.write_plot(self.run.folder / f"{name}.png")

    def _load(self) -> None:
        state = torch.load(self.run.checkpoint, map_location=self.fabric.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses.rows, self.scores.rows = state["losses"], state["scores"]
        for name in ("step", "seconds", "best"):
            setattr(self, name, state[name])


class _Validation:
    """Held-out pairs, and how well they are painted."""

    def __init__(
        self, photos: Sequence[Path], paintings: Sequence[Path], device: torch.device
    ) -> None:
        self.pairs = [
            tuple(cut_square(images.read(path).pixels, _JUDGED_SIDE).to(device) for path in pair)
            for pair in zip(photos[:_JUDGED_PAIRS], paintings, strict=False)
        ]
        self.jury = Judge(load_encoder("vgg19", precision="auto")) if self.pairs else None

    @torch.no_grad()
    def _paint(self, network: nn.Module, pair: Sequence[Tensor]) -> Tensor:
        painted: Tensor = network(*pair)
        return painted.clamp(0, 1)

    def judge(self, network: nn.Module) -> dict[str, float]:
        """Mean content distance, style distance and score; empty if nothing was held out."""
        if self.jury is None:
            return {}
        found = [self.jury(self._paint(network, pair), *pair) for pair in self.pairs]
        names = ("content", "style", "score")
        return {name: sum(getattr(s, name) for s in found) / len(found) for name in names}

    def sheet(self, network: nn.Module) -> Tensor:
        """Photos, paintings and results, one above the other, (1, 3, H, W)."""
        columns = [
            torch.cat((*pair, self._paint(network, pair)), -2) for pair in self.pairs[:_SHOWN_PAIRS]
        ]
        return torch.cat(columns, -1).cpu()
