"""Trainer: the training loop of every network, plain PyTorch on Lightning Fabric."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from impasto.interrupt import interruptible
from impasto.networks import description, save_network
from impasto.train.config import TrainConfig
from impasto.train.data import Batch, Crops, LabelledCrops, StepSampler, collate, hold_out
from impasto.train.fabric import Processes, clear_errors, quiet_libraries, start_fabric
from impasto.train.log import OnMessage, TrainingLog
from impasto.train.run import Run
from impasto.train.task import Task
from impasto.train.validation import Validation

LOG_EVERY = 20
"""Number of steps between two notes of the losses."""
CHECKPOINT_SECONDS = 300
"""Longest time between two checkpoints."""


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    step: int
    """Number of steps done, with those of earlier runs that it resumed."""
    finished: bool
    """Whether all steps were done; if not, the run can be resumed."""
    scores: Mapping[str, float]
    """The scores of the last validation by name; empty if nothing was held out."""
    skipped: Sequence[str]
    """A message for each picture or folder that could not be read."""


class Trainer:
    """Trains a network.

    Args:
        task: what to train, and by which losses.
        config: how long to train, on what crops, at what rate.
        run: the folders and files.
        resume: whether to continue from the checkpoint of an earlier run with the same settings.
        devices: number of devices of this machine.
        nodes: number of machines; Fabric's documentation says how they find each other.
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        on_message: is called with what happens, a line at a time.

    Raises:
        ImageError: there are no pictures.
        OutputError: as in `Run.check`; or the run to resume is damaged.
        ControlError: the run to resume has other settings.
        SetupError: there are no such devices.
        TooLargeError: the network does not fit into memory.
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
        on_message: OnMessage = lambda _: None,
    ) -> None:
        self.task, self.config, self.run = task, config, run
        run.check(resume=resume)
        self.settings = {
            "architecture": task.network.architecture,
            "devices": devices * nodes,
            "photos": len(run.photos),
            "styles": len(run.styles),
            **asdict(config),
            **asdict(task.config),
            **description(task.network),
            **_family(task),
        }
        # What can be wrong is found before other processes are started, so that it is said once.
        state = run.read_checkpoint(self.settings) if resume else None
        with quiet_libraries(on_message), clear_errors(config):
            self.fabric = start_fabric(
                accelerator, devices, nodes, config.precision, in_stages=task.in_stages
            )
            self.processes = Processes(self.fabric)
            mean = partial(_running_mean, config.ema_decay)
            self.average = AveragedModel(task.network, multi_avg_fn=mean).to(self.fabric.device)
            parameters = [p for p in task.network.parameters() if p.requires_grad]
            self.network, self.optimizer = self.fabric.setup(
                task.network, torch.optim.Adam(parameters, lr=config.learning_rate)
            )
        self.on_message = on_message if self.processes.is_main else lambda _: None
        self.log = TrainingLog(run, config.steps, self.on_message)
        self.step, self.seconds, self.best_score = 0, 0.0, math.inf
        self.skipped: list[str] = []
        self._unreported = list(run.unreadable) if self.processes.is_main else []
        if state is not None:
            self._restore(state)

    def train(self) -> TrainingResult:
        """Trains to the end, or until Ctrl-C, which leaves a checkpoint to resume from.

        Raises:
            ImageError: no picture can be read.
            OutputError: a file cannot be written.
            TooLargeError: there is not enough memory; the message names the settings to lower.
            TrainingError: the losses are no longer finite, or another process ended the training.
        """
        config = self.config
        with (
            # Before the reading processes start, which must not be ended by a Ctrl-C.
            interruptible() as stop,
            quiet_libraries(self.on_message),
            clear_errors(config),
            self._open_log(),
        ):
            contents, styles, validation = self._split()
            self.task.prepare(contents, self.fabric.device)
            batches = self._batches(contents, styles)
            started, saved = time.monotonic() - self.seconds, time.monotonic()
            while self.step < config.steps and not self.processes.any(stop.is_set()):
                losses = self._train_step(batches)
                self.seconds = time.monotonic() - started
                last = self.step == config.steps
                if self.step % LOG_EVERY == 0 or last:
                    self._log(losses)
                if self.step % config.validate_every == 0 or last:
                    self.processes.on_main(partial(self._validate, validation))
                elif not self.processes.any(time.monotonic() - saved > CHECKPOINT_SECONDS):
                    continue
                self.processes.on_main(self._save)
                saved = time.monotonic()
            if self.step < config.steps:
                self._report_skipped()
                self.processes.on_main(self._save)
        return self._result()

    def _open_log(self) -> AbstractContextManager[None]:
        return self.log.open(self.step) if self.processes.is_main else nullcontext()

    def _split(self) -> tuple[list[Path], list[Path], Validation]:
        """The photos and the styles to train on, and the validation with the others."""
        size, seed = self.config.val_size, self.config.seed
        contents, val_contents = hold_out(self.run.photos, size, seed)
        styles, val_styles = hold_out(self.run.styles, 0 if self.task.styles else size, seed)
        if not self.processes.is_main:
            val_contents, val_styles = [], []  # the first process alone validates
        validation = Validation(
            self.task, val_contents, val_styles, self.fabric.device, self._unreported
        )
        self.on_message(
            f"training on {len(contents)} photos and {len(styles)} styles, "
            f"{len(validation.pairs)} pairs held out; from step {self.step} to {self.config.steps}"
        )
        self._report_skipped()
        return contents, styles, validation

    def _batches(self, contents: Sequence[Path], styles: Sequence[Path]) -> Iterator[Batch]:
        config, fabric = self.config, self.fabric
        kind = LabelledCrops if self.task.styles else Crops
        loader: DataLoader[Any] = DataLoader(
            kind(contents, styles, config.crop, config.resize, config.style_resize, config.seed),
            batch_size=config.batch_size,
            sampler=StepSampler(
                self.step * config.gradient_accumulation,
                config.steps * config.gradient_accumulation,
                config.batch_size,
                fabric.global_rank,
                fabric.world_size,
            ),
            num_workers=config.workers,
            collate_fn=collate,
            worker_init_fn=_ignore_interrupts,
            pin_memory=fabric.device.type == "cuda",
        )
        return iter(loader)

    def _train_step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the losses by name, averaged over its batches."""
        config, accumulation = self.config, self.config.gradient_accumulation
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(self.step)
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(islice(batches, accumulation), 1):
            self._unreported += batch.skipped
            content, style = self.fabric.to_device((batch.content, batch.style))
            # Devices exchange gradients only with the last of the batches.
            with self.fabric.no_backward_sync(self.network, enabled=number < accumulation):
                losses = self.task.losses(self.network, content, style, self.step)
                total = torch.stack(tuple(losses.values())).sum()
                self.fabric.backward(total / accumulation)
            for name, value in {**losses, "total": total}.items():
                sums[name] = sums.get(name, 0) + value.detach() / accumulation
        norm: Any = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=config.max_grad_norm, error_if_nonfinite=False
        )
        # float16 overflows now and then; its scaler then leaves out the step.
        if getattr(self.fabric.strategy.precision, "scaler", None) is None:
            self.processes.check_finite([float(norm)])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        self.step += 1
        return sums

    def _log(self, latest: Mapping[str, Tensor]) -> None:
        """Notes the losses, averaged over all processes."""
        self._report_skipped()
        losses = self.processes.mean(latest)
        self.processes.check_finite(list(losses.values()))
        if self.processes.is_main:
            self.log.add_losses(self.step, losses, self.seconds)

    def _report_skipped(self) -> None:
        """Names the pictures and folders that were skipped in any process, each once."""
        for message in self.processes.gather(self._unreported):
            if message not in self.skipped:
                self.skipped.append(message)
                self.on_message(f"skipped ({len(self.skipped)} so far): {message}")
        self._unreported.clear()

    def _validate(self, validation: Validation) -> None:
        """Validates the averaged network; the best so far is written to the weights file."""
        self.average.eval()
        network: Any = self.average.module
        scores = validation.evaluate(network)
        if scores:
            self.log.add_scores(self.step, scores, validation.sheet(network))
        score = scores.get("score", -float(self.step))  # without validation, the latest is best
        if score < self.best_score:
            self.best_score = score
            trained = {
                "step": self.step,
                "minutes": round(self.seconds / 60),
                **asdict(self.config),
                **asdict(self.task.config),
            }
            about = {**_family(self.task), "trained": json.dumps(trained)}
            save_network(self.run.out, network, about)

    def _result(self) -> TrainingResult:
        if self.skipped:
            self.on_message(f"{len(self.skipped)} unreadable pictures or folders were skipped")
        finished = self.step == self.config.steps
        if not finished:
            if not self.run.out.exists():
                every = self.config.validate_every
                self.on_message(f"{self.run.out} is not there yet: it comes with step {every}")
            self.on_message(f"stopped after step {self.step}; --resume goes on from there")
        scores = {k: v for row in self.log.scores.rows[-1:] for k, v in row.items() if k != "step"}
        return TrainingResult(self.step, finished, scores, self.skipped)

    def _save(self) -> None:
        """Writes checkpoint, tables and plots, each whole or not at all."""
        self.run.write_checkpoint(
            {
                "settings": self.settings,
                "base_sha256": self.task.base_sha256,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "losses": self.log.losses.rows,
                "scores": self.log.scores.rows,
                "step": self.step,
                "seconds": self.seconds,
                "best_score": self.best_score,
                "skipped": self.skipped,
            }
        )
        self.log.write()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.task.base_sha256 = state["base_sha256"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.log.losses.rows, self.log.scores.rows = state["losses"], state["scores"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.best_score, self.skipped = state["best_score"], state["skipped"]


def _family(task: Task) -> dict[str, str]:
    """What the weights file tells of the network that the training was initialised from."""
    return {"family": task.base_sha256} if task.base_sha256 else {}


def _running_mean(decay: float, means: list[Tensor], latest: list[Tensor], number: Tensor) -> None:
    """Moves the averaged weights towards the latest ones; faster at first, as otherwise the random
    weights of the start would stay in the average for thousands of steps.
    """
    decay = min(decay, (1 + float(number)) / (10 + float(number)))
    torch._foreach_lerp_(means, latest, 1 - decay)


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; when to stop is for the first one to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
