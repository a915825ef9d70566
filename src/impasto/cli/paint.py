"""The commands that paint: ``stylize`` and ``texture``."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impasto.cli.base import INTERRUPTED, check_apart, cli, fail, say
from impasto.cli.options import SettingsCommand, painting_options
from impasto.cli.progress import progress_of
from impasto.controls import LOOK_SUFFIX, OF_PHOTOS, Style
from impasto.errors import ControlError, ImageError, OutputError, Stop, TooLargeError
from impasto.interrupt import interruptible

if TYPE_CHECKING:
    from impasto.images import Picture
    from impasto.look import Look
    from impasto.methods import OnStep, Progress
    from impasto.recipes import Recipe


@cli.command(cls=SettingsCommand)
@click.argument("pictures", nargs=-1, required=True, metavar="CONTENT... [STYLE]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--method", default=None, help="See `methods`.  [default: auto]")
@click.option(
    "--refine",
    metavar="STEPS|SECONDS",
    help="Optimise what a network painted: for so many steps (50) or seconds (30s).",
)
@click.option(
    "--save-look",
    type=click.Path(path_type=Path),
    metavar="NAME.look",
    help="Keep what was measured of the styles, with all settings, to paint other photos with.",
)
@painting_options
def stylize(pictures: Sequence[str], styles: Sequence[str], output: Path, **options: Any) -> None:
    """Paint photos in the look of a style.

    The last picture is the style, unless --style is given: then all pictures are photos. With
    several photos, OUTPUT is a folder. A style may be a look that --save-look wrote.
    """
    contents = [Path(name) for name in (pictures if styles else pictures[:-1])]
    if not contents:
        raise ControlError("no style is given: write CONTENT STYLE, or add --style STYLE")
    if len(contents) > 1 and (options["history"] or options["plot"] or options["save_look"]):
        raise ControlError(
            "--history, --plot and --save-look follow one photo: give a single CONTENT"
        )
    job = Job.of([parse_style(text) for text in styles or pictures[-1:]], options)
    targets = _targets(contents, output)
    job.check_outputs([target for _, target in targets], contents)
    _paint_all(job, targets)


@cli.command(cls=SettingsCommand, without=("size", *OF_PHOTOS))
@click.argument("pictures", nargs=-1, metavar="[STYLE]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--size", "size_text", metavar="WxH", help="Of the result.  [default: the style's]")
@click.option("--method", default=None, help="See `methods`.  [default: gatys]")
@painting_options
def texture(
    pictures: Sequence[str],
    styles: Sequence[str],
    output: Path,
    size_text: str | None,
    method: str | None,
    **options: Any,
) -> None:
    """Synthesise a texture: the style's statistics alone, from noise."""
    if method is not None:
        options["method"] = method
    job = Job.of([parse_style(text) for text in (*pictures, *styles)], options)
    options = job.recipe.options
    if size_text:
        options["width"], options["height"] = parse_size(size_text)
        options.pop("size", None)  # of the recipe
    job.check_outputs([output], [])

    def fit() -> Look:
        from impasto.textures import fit_texture

        return fit_texture(job.styles, device=job.device, **options)

    with interruptible() as stop:
        job.report([job.paint(Path("texture"), output, fit, stop, texture=True)])


def parse_style(text: str) -> Style:
    """``PATH[:WEIGHT[:MASK]]``; a file of exactly that name wins.

    Raises:
        ControlError: the weight is not a number.
    """
    parts = re.fullmatch(r"(.{2,}?):([^:\\/]*)(?::(.+))?", text)
    if Path(text).exists() or parts is None:
        return Style(text)
    path, weight, mask = parts.groups()
    try:
        number = float(weight or 1)
    except ValueError as error:
        raise ControlError(
            f"style '{text}': '{weight}' is no weight; write PATH[:WEIGHT[:MASK]]"
        ) from error
    return Style(path, number, mask)


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` in pixels.

    Raises:
        ControlError: it is not of that form.
    """
    found = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", text)
    if found is None:
        raise ControlError(f"size is '{text}': write WIDTHxHEIGHT, for instance 512x384")
    return int(found[1]), int(found[2])


def _targets(contents: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Which photo is painted into which file; the folder for several is made."""
    if len(contents) == 1 and not output.is_dir():
        targets = [(contents[0], output)]
    else:
        if output.suffix and not output.is_dir():
            raise OutputError(f"{output}: several photos need a folder as output")
        targets = [(content, output / f"{content.stem}.png") for content in contents]
        twice = {target for _, target in targets if [t for _, t in targets].count(target) > 1}
        if twice:
            raise OutputError(f"{min(twice)}: two photos of this name; paint them one by one")
        if not output.exists():
            try:
                output.mkdir()
            except OSError as error:
                raise OutputError(f"{output}: cannot be created ({error.strerror})") from error
    return targets


def _paint_all(job: Job, targets: Sequence[tuple[Path, Path]]) -> None:
    """Paints each photo; one that fails does not keep the others from being painted."""
    fit = job.fit()
    rows = []
    with interruptible() as stop:
        for content, target in targets:
            try:
                rows.append(job.paint(content, target, partial(_fit_file, fit, content), stop))
            except (ImageError, TooLargeError) as error:
                if len(targets) == 1:
                    raise
                fail(str(error))
                rows.append({"content": str(content), "error": str(error)})
            left = len(targets) - len(rows)
            if stop.is_set() and left:
                say(f"stopped; {left} of {len(targets)} photos are not painted")
                rows.append({"stopped": True})
                break
    job.report(rows)


def _fit_file(fit: Callable[[Picture], Look], content: Path) -> Look:
    from impasto import images

    return fit(images.read(content))


@dataclass
class Job:
    """What one call of ``stylize`` or ``texture`` asks for, besides the pictures."""

    styles: list[Style]
    recipe: Recipe
    """A recipe's, overridden by the flags given."""
    device: str
    as_json: bool
    snapshot_every: int | None
    history: Path | None
    plot: Path | None
    save_look: Path | None = None

    @classmethod
    def of(cls, styles: list[Style], options: dict[str, Any]) -> Job:
        """A job from the options of the command."""
        from impasto.recipes import Recipe, read_recipe

        if not styles:
            raise ControlError("no style is given: name a picture")
        names = ("device", "as_json", "history", "plot", "save_look")
        own = {name: options.pop(name) for name in names if name in options}
        recipe = read_recipe(options.pop("recipe")) if options["recipe"] else {}
        options.pop("recipe", None)
        values = {**recipe, **{name: given for name, given in options.items() if given is not None}}
        every = values.pop("snapshot_every", None)
        if every is not None and every < 1:
            raise ControlError(f"snapshot_every is {every}: use at least 1")
        return cls(styles, Recipe.of(values), snapshot_every=every, **own)

    def fit(self) -> Callable[[Picture], Look]:
        """Loads the method and encodes the styles, once; returns what fits them to a photo."""
        saved = [style for style in self.styles if str(style.source).endswith(LOOK_SUFFIX)]
        if saved:
            look = self._load_look(saved[0])
            stylizer, fit = look.stylizer, partial(look.fit, **self.recipe.given)
        else:
            stylizer = self.recipe.stylizer(self.device)
            styles = stylizer.encode(self.styles)
            fit = partial(stylizer.fit, styles=styles, **self.recipe.given)
        if not stylizer.optimises and (self.history or self.plot or self.snapshot_every):
            raise ControlError(
                "--history, --plot and --snapshot-every follow the optimiser: add --method gatys, "
                "or --refine"
            )
        if not saved:
            self.recipe.controls  # noqa: B018 - what makes no sense is said once
        return fit

    def _load_look(self, style: Style) -> Look:
        """The look that a style is; it has its method, settings and styles, all of which hold."""
        from impasto.look import Look

        look = Look.load(str(style.source), device=self.device)
        made = {**look.recipe(), "refine": None}
        own = {
            name
            for name, value in self.recipe.options.items()
            if name not in self.recipe.given and made.get(name) != value
        }
        if len(self.styles) > 1 or style.mask or style.weight != 1 or own:
            flag = f"--{min(own)}".replace("_", "-") if own else "other styles, weights and masks"
            raise ControlError(
                f"{style.source}: this look has its own method and styles: leave out {flag}"
            )
        return look

    def check_outputs(self, targets: Sequence[Path], contents: Sequence[Path]) -> None:
        """Finds out, before work begins, whether all files can be written and none is lost.

        Raises:
            OutputError: one cannot, or would replace a picture that goes in or another output.
        """
        from impasto import files, history, images

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
        check_apart((*targets, *extras), [*contents, *(Path(str(source)) for source in used)])

    def paint(
        self,
        content: Path,
        target: Path,
        fit: Callable[[], Look],
        stop: threading.Event,
        *,
        texture: bool = False,
    ) -> dict[str, Any]:
        """Fits, paints and writes one picture; returns its row of the report."""
        from impasto import images
        from impasto.history import History

        started, losses = time.monotonic(), History()
        look = fit()
        if self.save_look:
            look.check_can_be_saved()
        others = [
            f"painted with other weights of {name} than the recipe's picture"
            for name in self.recipe.other_weights(look.weights)
        ]
        for note in (*look.notes, *others):
            say(f"note: {note}")
        with progress_of(content.name) as show:
            watchers: list[OnStep] = [losses, show]
            if self.snapshot_every:
                watchers.append(_snapshots(target, self.snapshot_every, look))

            stopped = False

            def on_step(progress: Progress) -> None:
                nonlocal stopped
                for watcher in watchers:
                    watcher(progress)
                if stop.is_set() and progress.step < progress.steps:
                    stopped = True
                    raise Stop

            result = look(on_step=on_step)
        recipe = {**look.recipe(), "styles": [_named(style) for style in self.styles]}
        if texture:
            recipe |= {"width": result.size[1], "height": result.size[0]}
        images.write(target, result, recipe)
        if self.save_look and not stopped:
            look.save(self.save_look)
        if self.history:
            losses.write_csv(self.history)
        if self.plot:
            losses.write_plot(self.plot)
        last = dict(losses.rows[-1]) if losses.rows else {}
        steps = int(last.pop("step", 0))
        if stopped:
            say(f"stopped after step {steps}; the picture so far is in {target}")
        return {
            "content": str(content),
            "output": str(target),
            "width": result.size[1],
            "height": result.size[0],
            "seconds": round(time.monotonic() - started, 2),
            "stopped": stopped,
            "steps": steps,
            "losses": last,
            "notes": list(look.notes),
            "recipe": recipe,
        }

    def report(self, rows: Sequence[dict[str, Any]]) -> None:
        """Tells what was painted, and sets the exit code."""
        if self.as_json:
            click.echo(json.dumps(rows, indent=2))
        else:
            for row in rows:
                if "output" in row:
                    size = f"{row['width']}x{row['height']}"
                    click.echo(f"{row['output']}: {size}, {row['seconds']:.0f} s")
        if any(row.get("stopped") for row in rows):
            sys.exit(INTERRUPTED)
        if any("error" in row for row in rows):
            sys.exit(2)


def _named(style: Style) -> dict[str, Any]:
    """A style as recipes tell of it: file names, not the folders of whoever painted."""
    mask = None if style.mask is None else Path(str(style.mask)).name
    return {"source": Path(str(style.source)).name, "weight": style.weight, "mask": mask}


def _snapshots(target: Path, every: int, look: Look) -> OnStep:
    """Writes ``NAME-00100.png`` and so on beside the target."""
    from impasto import images

    def write(progress: Progress) -> None:
        if progress.step % every == 0:
            path = target.with_name(f"{target.stem}-{progress.step:05}{target.suffix}")
            image = progress.image().cpu()
            assert look.fitted is not None
            images.write(path, replace(look.fitted.photo, pixels=image))

    return write
