"""What one call of ``stylize`` or ``texture`` asks for: checked, painted, reported."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click

from impasto import files, formats, history, huge, images
from impasto.cli.base import (
    FAILED,
    INTERRUPTED,
    fail,
    say,
    tell,
)
from impasto.cli.progress import Snapshots, Watcher, progress_of
from impasto.cli.targets import write_or_rescue
from impasto.controls import LOOK_SUFFIX, Controls, Style
from impasto.encoding import EncodedStyle
from impasto.errors import (
    ControlError,
    ImpastoError,
    OutputError,
    SetupError,
    WeightsError,
    reason,
    reason_with,
)
from impasto.interrupt import interruptible
from impasto.look import Look
from impasto.mixing import Mix
from impasto.recipes import Recipe, read_recipe
from impasto.settings import make_settings
from impasto.stylizer import Stylizer

Row: TypeAlias = dict[str, Any]
"""What the report says about one picture."""
Commission: TypeAlias = tuple[Path | None, Path, Callable[[], "Look | huge.Commission"]]
"""A photo, None for a texture; the file to write; and what fits the styles to it, or finds out that
it is painted on disk."""


@dataclass
class Job:
    """What is asked for, besides the pictures that go in and out."""

    styles: list[Style]
    recipe: Recipe
    """A recipe's, overridden by the flags given."""
    device: str
    as_json: bool
    snapshot_every: int | None
    history: Path | None
    plot: Path | None
    save_look: Path | None = None
    strip_metadata: bool = False
    resume: bool = False

    @classmethod
    def of(cls, styles: list[Style], options: dict[str, Any]) -> Job:
        """A job from the options of the command.

        Raises:
            ControlError, ImageError: one makes no sense, or there is no such recipe.
        """
        if not styles:
            raise ControlError("no style is given: name a picture")
        names = ("device", "as_json", "history", "plot", "save_look", "strip_metadata", "resume")
        own = {name: options.pop(name) for name in names if name in options}
        recipe = options.pop("recipe")
        values = read_recipe(recipe) if recipe else {}
        values |= {name: value for name, value in options.items() if value is not None}
        every = values.pop("snapshot_every", None)
        if every is not None and every < 1:
            raise ControlError(f"snapshot_every is {every}: use at least 1")
        return cls(styles, Recipe.of(values), snapshot_every=every, **own)

    def fit(self) -> Callable[[Path, Path], Look | huge.Commission]:
        """Loads the method and reads the styles, once; returns what fits them to a photo that is
        painted into a file.

        Raises:
            ImpastoError: something is wrong whatever the photo: it is said once, and before any
                is painted.
        """
        saved = [style for style in self.styles if str(style.source).endswith(LOOK_SUFFIX)]
        given = dict(self.recipe.given)
        if saved:
            look = self._load_look(saved[0])
            stylizer, styles = look.stylizer, list(look.styles)
            given = {**asdict(look.controls), **given}
        else:
            stylizer = self.recipe.stylizer(self.device)
            styles = stylizer.encode(self.styles)
        if not stylizer.optimises and (self.history or self.plot or self.snapshot_every):
            raise ControlError(
                "--history, --plot and --snapshot-every follow the optimiser: add --method gatys, "
                "or --refine"
            )
        if not saved:
            stylizer.check_controls(styles, self.recipe.controls, stylizer.refine)
            Mix.of(1, 1, [style.weight for style in self.styles], [None] * len(self.styles))
            for style in self.styles:
                if style.mask is not None:
                    _check_mask(Path(str(style.mask)))
        return partial(self._fitted, stylizer, styles, given)

    def _fitted(
        self,
        stylizer: Stylizer,
        styles: Sequence[EncodedStyle],
        given: Mapping[str, Any],
        content: Path,
        target: Path,
    ) -> Look | huge.Commission:
        """Fits styles to a photo, unless the picture is one that is painted on disk."""
        controls = make_settings(Controls, given)
        if huge.is_large(content, target, stylizer, styles, controls):
            if self.save_look:
                raise ControlError(
                    "--save-look is for pictures that are painted in memory: give a smaller "
                    "--size, and no .dzi as --output"
                )
            told = {"styles": [named(style) for style in self.styles]}
            return huge.Commission(
                stylizer, styles, controls, content, target, self.strip_metadata, told
            )
        if controls.size is not None and huge.is_scaled(content, controls):
            photo = huge.read_scaled(content, controls.size)
            styles = huge.with_scaled_masks(styles, content, photo.size)
        else:
            photo = images.read(content)
        photo = replace(photo, metadata=None) if self.strip_metadata else photo
        return stylizer.fit(photo, styles, **given)

    def _load_look(self, style: Style) -> Look:
        """The look that a style is; it has its method, settings and styles, all of which hold."""
        look = Look.load(str(style.source), device=self.device)
        own = self.recipe.differing({**look.recipe(), "refine": None})
        if len(self.styles) > 1 or style.mask or style.weight != 1 or own:
            flag = f"--{own[0]}".replace("_", "-") if own else "other styles, weights and masks"
            raise ControlError(
                f"{style.source}: this look has its own method and styles: leave out {flag}"
            )
        return look

    def check_outputs(self, targets: Sequence[Path], contents: Sequence[Path]) -> None:
        """Finds out, before work begins, whether all files can be written and none is lost.

        Raises:
            OutputError: one cannot, or would replace a picture that goes in or another output.
        """
        for target in targets:
            images.check_writable(target)
        if self.plot:
            history.plot_format(self.plot)
        if self.save_look and self.save_look.suffix != LOOK_SUFFIX:
            raise OutputError(f"{self.save_look}: looks are kept in {LOOK_SUFFIX} files")
        extras = [path for path in (self.history, self.plot, self.save_look) if path]
        for path in extras:
            files.check_writable(path)
        used = [source for style in self.styles for source in (style.source, style.mask) if source]
        files.check_apart((*targets, *extras), [*contents, *(Path(str(source)) for source in used)])

    def paint_all(self, pictures: Sequence[Commission]) -> int:
        """Paints each photo, and reports; one that fails does not keep the others from being
        painted. What was written of it by then, such as snapshots, stays.

        Returns:
            The exit code.

        Raises:
            WeightsError, SetupError: something is wrong whatever the photo.
        """
        rows: list[Row] = []
        with interruptible() as stop:
            for content, target, fit in pictures:
                try:
                    rows.append(self._paint(content, target, fit, stop))
                except (WeightsError, SetupError):
                    raise
                except Exception as error:  # whatever it is, the other photos are painted
                    text = reason(error) if content is None else reason_with(content, error)
                    fail(text)
                    rows.append({"content": str(content or "texture"), "error": text})
                left = pictures[len(rows) :]
                if stop.is_set() and left:
                    say(f"stopped; {len(left)} of {len(pictures)} photos are not painted")
                    rows += [{"content": str(photo), "stopped": True} for photo, _, _ in left]
                    break
        return self._report(rows)

    def _paint(
        self,
        content: Path | None,
        target: Path,
        fit: Callable[[], Look | huge.Commission],
        stop: threading.Event,
    ) -> Row:
        """Fits, paints and writes one picture; returns its row of the report."""
        started = time.monotonic()
        look = fit()
        if not isinstance(look, Look):
            return self._paint_large(look, stop)
        if self.save_look:
            look.check_can_be_saved()
        others = [
            f"painted with other weights of {name} than the recipe's picture"
            for name in self.recipe.other_weights(look.weights)
        ]
        assert look.fitted is not None
        photo = look.fitted.photo
        again = ["--resume: it is painted in memory, and so from the beginning"] * self.resume
        notes = [*look.notes, *others, *again, *images.check_fits(target, photo, *photo.size)]
        for note in notes:
            say(f"note: {note}")
        snapshots = Snapshots(look, target, self.snapshot_every)
        watcher = Watcher(stop, snapshots)
        with progress_of("texture" if content is None else content.name) as watcher.show:
            result = look(on_step=watcher)
        height, width = result.size
        recipe = {**look.recipe(), "styles": [named(style) for style in self.styles]}
        if content is None:
            recipe |= {"width": width, "height": height}
        if watcher.step < watcher.steps:  # ended by Ctrl-C, or by the clock
            recipe["stop_after"] = watcher.step
        written, errors = write_or_rescue(target, result, recipe)
        errors += snapshots.errors + self._write_extras(look, watcher)
        last = dict(watcher.losses.rows[-1]) if watcher.losses.rows else {}
        last.pop("step", None)
        if watcher.stopped:
            say(f"stopped after step {watcher.step}; the picture so far is in {written}")
        return {
            "content": str(content or "texture"),
            "output": str(written),
            "width": width,
            "height": height,
            "seconds": round(time.monotonic() - started, 2),
            "stopped": watcher.stopped,
            "steps": watcher.step,
            "losses": last,
            "notes": notes,
            "recipe": recipe,
            **({"error": "; ".join(errors)} if errors else {}),
        }

    def _paint_large(self, commission: huge.Commission, stop: threading.Event) -> Row:
        """Paints a picture on disk and writes it; returns its row of the report."""
        started, content = time.monotonic(), commission.content

        def say_all(notes: Sequence[str]) -> None:
            for note in notes:
                say(f"note: {note}")

        watcher = Watcher(stop)
        with progress_of(content.name) as watcher.show:
            result = commission.paint(resume=self.resume, on_step=watcher, on_notes=say_all)
        if result.stopped:
            tiles = f"{result.tiles} of {result.tiles_in_all} tiles are painted"
            rest = ": add --resume to go on" if result.tiles else ""
            say(f"{content}: stopped; {tiles}{rest}")
            return {"content": str(content), "stopped": True, "tiles": result.tiles}
        height, width = result.size
        return {
            "content": str(content),
            "output": str(result.path),
            "width": width,
            "height": height,
            "seconds": round(time.monotonic() - started, 2),
            "stopped": False,
            "tiles": result.tiles,
            "notes": list(result.notes),
            "recipe": dict(result.recipe),
        }

    def _write_extras(self, look: Look, watcher: Watcher) -> list[str]:
        """Writes what is asked for beside the picture; returns what went wrong, having said it."""
        errors = []
        for path, write in (
            (None if watcher.stopped else self.save_look, look.save),
            (self.history, watcher.losses.write_csv),
            (self.plot, watcher.losses.write_plot),
        ):
            if path is not None:
                try:
                    write(path)
                except (ImpastoError, OSError) as error:
                    errors.append(reason(error))
                    fail(errors[-1])
        return errors

    def _report(self, rows: Sequence[Row]) -> int:
        """Tells what was painted; returns the exit code."""
        if self.as_json:
            click.echo(json.dumps(rows, indent=2))
        else:
            for row in rows:
                if "output" in row:
                    size = f"{row['width']}x{row['height']}"
                    tell(f"{row['output']}: {size}, {row['seconds']:.0f} s")
        if any(row.get("stopped") for row in rows):
            return INTERRUPTED
        return FAILED if any("error" in row for row in rows) else 0


def _check_mask(path: Path) -> None:
    """Raises `ImageError` if a mask cannot be read; whether a large one can, shows as it is."""
    height, width = formats.size_of(path)
    if height * width <= huge.LARGE_AREA:
        images.read(path)


def named(style: Style) -> dict[str, Any]:
    """A style as recipes describe it: by file name, without the folders of whoever painted."""
    mask = None if style.mask is None else Path(str(style.mask)).name
    return {"source": Path(str(style.source)).name, "weight": style.weight, "mask": mask}
