"""The command line. Commands are thin: they parse, call the library, and report.

Nothing heavy is imported at module level: ``impasto --help`` answers without loading torch. The
flags of ``stylize`` and ``texture`` are generated from `Controls` and from the methods' settings.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import Field, dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from impasto import __version__
from impasto.controls import Controls, Style
from impasto.errors import (
    ControlError,
    ImageError,
    ImpastoError,
    OutputError,
    SetupError,
    Stop,
    TooLargeError,
    TrainingError,
    WeightsError,
)
from impasto.interrupt import interruptible

if TYPE_CHECKING:
    from impasto.images import Picture
    from impasto.look import Look
    from impasto.methods import OnStep, Progress
    from impasto.pairs import Pair
    from impasto.recipes import Recipe
    from impasto.report import Report, Result
    from impasto.train.loop import Task

_RECIPES, _TRAIN_RECIPES = "impasto.recipes", "impasto.train.recipes"
_OF_PHOTOS = (
    *("size", "strength", "stroke_size", "detail", "preserve_color"),
    *("content_weight", "content_layers"),
)
"""Settings that make no sense for a texture."""
_INTERRUPTED = 130
_PLAIN_LINES = 10
"""How many lines of progress a painting prints where there is no terminal."""
_PATIENCE_S = 3.0
"""Networks say nothing of their progress before so many seconds have passed."""
_FEW_PAIRS = 20


def main() -> None:
    """Runs the command line. Whatever goes wrong is one line on stderr and exit code 2."""
    try:
        code = cli.main(standalone_mode=False, prog_name="impasto")
    except ImpastoError as error:
        code = _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        code = _fail(error.format_message().replace("\n", " "))
    except OSError as error:  # what no check foresaw: a name too long, a disk gone
        code = _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        _say("stopped before there was a picture; nothing was written")
        code = _INTERRUPTED
    sys.exit(code)


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return 2


def _say(text: str) -> None:
    click.echo(f"impasto: {text}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="impasto")
def cli() -> None:
    """Paint photographs in the style of any artwork."""


def _settings_of_methods() -> dict[str, type[Any]]:
    from impasto.methods import METHODS, method_class

    return {"": Controls, **{name: method_class(name).Config for name in METHODS}}


def _settings_of_training(task: str) -> dict[str, type[Any]]:
    from impasto.train.config import TrainConfig

    return {"": TrainConfig, task: _task_class(task).Config}


class _Generated(click.Command):
    """A command with flags for settings besides its own options. They are made on demand: settings
    live beside what they set, which needs torch.

    Args:
        settings: gives the dataclasses of settings, by whose they are.
        without: settings that make no sense here.
    """

    def __init__(
        self,
        *args: Any,
        settings: Callable[[], Mapping[str, type[Any]]] = _settings_of_methods,
        without: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.settings, self.without = settings, without

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not any(parameter.name == "seed" for parameter in self.params):
            knobs: dict[str, Field[Any]] = {}
            owners: dict[str, list[str]] = {}
            for whose, kind in self.settings().items():
                for knob in fields(kind):
                    knobs.setdefault(knob.name, knob)
                    owners.setdefault(knob.name, []).append(whose)
            self.params += [
                _flag(knob, owners[name])
                for name, knob in knobs.items()
                if name not in self.without
            ]
        return super().get_params(ctx)


def _flag(knob: Field[Any], owners: Sequence[str]) -> click.Option:
    """The flag of a setting, which several methods may share. Its default is None, "not given", so
    that recipes show through.
    """
    name = knob.name.replace("_", "-")
    shown = "" if knob.default is None else f"  [default: {knob.default}]"
    kinds: dict[str, click.ParamType[Any]] = {"int": click.INT, "float": click.FLOAT}
    kind = kinds.get(str(knob.type).split(" ")[0], click.STRING)
    return click.Option(
        [f"--{name}/--no-{name}" if knob.type == "bool" else f"--{name}"],
        default=None,
        type=None if knob.type == "bool" else _choice(knob) or kind,
        help=(f"{', '.join(owners)}: " if any(owners) else "") + knob.metadata["help"] + shown,
    )


def _choice(knob: Field[Any]) -> click.Choice[str] | None:
    choices = knob.metadata["choices"]
    return click.Choice(choices) if choices else None


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that ``stylize`` and ``texture`` share."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a report as JSON."),
        click.option("--plot", type=path, help="Draw the losses (PNG, SVG, PDF)."),
        click.option("--history", type=path, help="Write the losses of each step as CSV."),
        click.option("--snapshot-every", type=int, help="Keep the picture every N steps."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."),
        click.option(
            "--recipe", help="Settings from a recipe (see `recipes`), YAML file or painted picture."
        ),
        click.option(
            "--style",
            "styles",
            multiple=True,
            metavar="STYLE[:WEIGHT[:MASK]]",
            help="A style with its weight and a mask picture; repeatable.",
        ),
    ):
        command = option(command)
    return command


@cli.command(cls=_Generated)
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
@_common
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
    job = _Job.of([parse_style(text) for text in styles or pictures[-1:]], options)
    targets = _targets(contents, output)
    job.check_outputs([target for _, target in targets], contents)
    _paint_all(job, targets)


@cli.command(cls=_Generated, without=_OF_PHOTOS)
@click.argument("pictures", nargs=-1, metavar="[STYLE]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--size", "size_text", metavar="WxH", help="Of the result.  [default: the style's]")
@click.option("--method", default=None, help="See `methods`.  [default: gatys]")
@_common
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
    job = _Job.of([parse_style(text) for text in (*pictures, *styles)], options)
    options = job.recipe.options
    if size_text:
        options["width"], options["height"] = parse_size(size_text)
        options.pop("size", None)  # of the recipe
    job.check_outputs([output], [])

    def fit() -> Look:
        from impasto.textures import fit_texture

        return fit_texture(job.styles, device=job.device, **options)

    with interruptible() as stop:
        job.report([job.paint(Path("texture"), output, fit, stop)])


@cli.command()
@click.argument("painted", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option("--content", type=click.Path(path_type=Path), required=True, help="Photos.")
@click.option("--style", type=click.Path(path_type=Path), required=True, help="Paintings.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write the scores of each pair.")
@click.option("--json", type=click.Path(path_type=Path), help="The same with mean and median.")
@click.option("--html", type=click.Path(path_type=Path), help="The same as a page with pictures.")
def evaluate(painted: Path, content: Path, style: Path, **outputs: Path | None) -> None:
    """Measure how near painted pictures are to their photos and paintings.

    --content and --style are folders, or one picture for all. A picture in OUT_DIR begins with the
    name of its photo and ends with that of its painting (cat_renoir.png), or carries its recipe.
    """
    from impasto import files
    from impasto.pairs import find_pairs

    wanted = {kind: path for kind, path in outputs.items() if path}
    for path in wanted.values():
        files.check_writable(path)
    pairs, left = find_pairs(painted, content, style)
    _check_apart(
        list(wanted.values()),
        [*left, *(path for pair in pairs for path in (pair.painted, pair.photo, pair.painting))],
    )
    for path in left:
        _say(f"note: {path}: belongs to no photo and painting, skipped")
    results, broken = _judge_all(pairs)
    if results:
        from impasto.report import Report

        report = Report(results)
        for kind, path in wanted.items():
            getattr(report, f"write_{kind}")(path)
        _show(report)
        skipped = f", {len(left)} without a pair skipped" if left else ""
        click.echo(f"{len(results)} judged{skipped}{f', {broken} failed' if broken else ''}")
    if broken:
        sys.exit(2)


def _judge_all(pairs: Sequence[Pair]) -> tuple[list[Result], int]:
    """Judges each pair; returns the results and how many could not be read."""
    from rich.console import Console
    from rich.progress import track

    from impasto import images
    from impasto.metrics import Judge
    from impasto.report import Result

    judge, results = Judge(), []
    hidden = not sys.stderr.isatty()
    for pair in track(pairs, "judging", console=Console(stderr=True), disable=hidden):
        try:
            paths = (pair.painted, pair.photo, pair.painting)
            scores = judge(*(images.read(path).pixels for path in paths))
        except (ImageError, TooLargeError) as error:
            _fail(str(error))
        else:
            results.append(Result(pair, scores))
    return results, len(pairs) - len(results)


def _show(report: Report) -> None:
    """Prints the means, and each pair if there are few."""
    lines = [("mean", report.mean), ("median", report.median)]
    if len(report.results) <= _FEW_PAIRS:
        lines[:0] = [(result.pair.painted.name, result.values()) for result in report.results]
    width = max(len(name) for name, _ in lines)
    click.echo("  ".join([" " * width, *(f"{name:>9}" for name in report.mean)]))
    for name, values in lines:
        numbers = (f"{value:{max(len(key), 9)}.4f}" for key, value in values.items())
        click.echo("  ".join([name.ljust(width), *numbers]))


@cli.group()
def train() -> None:
    """Train a network on your own pictures."""


def _trains(task: str, style: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command ``train TASK``; the function under it supplies its name and help.

    Args:
        task: what is trained.
        style: what ``--style`` names.
    """

    def made(function: Callable[..., None]) -> click.Command:
        folder = click.Path(path_type=Path)
        for option in (
            click.option("--nodes", default=1, show_default=True, help="How many machines."),
            click.option("--devices", default=1, show_default=True, help="How many on a machine."),
            click.option("--accelerator", default="auto", help="auto, cpu, cuda or mps."),
            click.option("--resume", is_flag=True, help="Go on with the run beside OUT."),
            click.option("--init", help="Weights to start from: a name, or a file of an own run."),
            click.option("--recipe", help="Settings by name (see `recipes`) or from a YAML file."),
            click.option("--out", type=folder, required=True, help="The weights file to write."),
            click.option("--style", type=folder, required=True, help=style),
            click.option("--content", type=folder, required=True, help="Folder of photos."),
        ):
            function = option(function)
        settings = partial(_settings_of_training, task)
        return train.command(task, cls=_Generated, settings=settings)(function)

    return made


@_trains("adain", style="Folder of paintings.")
def train_adain(**options: Any) -> None:
    """Train a network for any style.

    Recipe `adain-quick` unless told otherwise, which paints after twenty minutes; the others take
    a day or more. Folders are searched through all levels. Beside OUT a folder OUT-training is
    made, with checkpoint, losses, plots and samples; Ctrl-C leaves it fit for --resume.
    """
    _train("adain", **{**options, "recipe": options["recipe"] or "adain-quick"})


@_trains("styletr", style="Folder of paintings.")
def train_styletr(**options: Any) -> None:
    """Train a transformer for any style: its decoder first, then the encoders along with it.

    Recipe `styletr-vit` unless told otherwise. Beside OUT a folder OUT-training is made, with
    checkpoint, losses, plots and samples; Ctrl-C leaves it fit for --resume.
    """
    _train("styletr", **{**options, "recipe": options["recipe"] or "styletr-vit"})


@_trains("fast", style="A painting; or a folder of them, which become looks of one network.")
def train_fast(**options: Any) -> None:
    """Train a network for one painting.

    It starts from one that knows other paintings (recipe `fast`), which takes minutes; the other
    recipes start from nothing. Beside OUT a folder OUT-training is made, with checkpoint, losses,
    plots and samples; Ctrl-C leaves it fit for --resume.
    """
    _train("fast", **{**options, "recipe": options["recipe"] or "fast"})


def _task_class(task: str) -> type[Task]:
    try:
        from importlib import import_module

        found: type[Task] = getattr(import_module(f"impasto.train.{task}"), f"{task.title()}Task")
    except ModuleNotFoundError as error:
        raise SetupError(
            f"training needs the package '{error.name}': pip install 'impasto[train]'"
        ) from error
    return found


def _train(
    task: str,
    *,
    content: Path,
    style: Path,
    out: Path,
    recipe: str | None,
    init: str | None,
    resume: bool,
    **options: Any,
) -> None:
    kind = _task_class(task)
    import torch

    from impasto.recipes import read_recipe
    from impasto.settings import replace_known
    from impasto.train.config import TrainConfig
    from impasto.train.loop import Run, Trainer

    place = {name: options.pop(name) for name in ("accelerator", "devices", "nodes")}
    given = {name: value for name, value in options.items() if value is not None}
    values = {**(read_recipe(recipe, _TRAIN_RECIPES) if recipe else {}), **given}
    own = {name: values.pop(name) for name in list(values) if name in kind.Config.__annotations__}
    start = values.pop("init", None)
    if init is None and start is not None:
        init = str(start)
    config = replace_known(TrainConfig, values)
    run = Run(content, style, out)
    run.check(resume=resume)
    torch.manual_seed(config.seed)
    made = kind(kind.Config(**own), run, init)
    trainer = Trainer(made, config, run, resume=resume, say=_say, **place)
    try:
        finished = trainer.train()
    except TrainingError:
        if trainer.fabric.is_global_zero:
            raise
        return  # the first process says why
    if not trainer.fabric.is_global_zero:
        return
    if not finished:
        sys.exit(_INTERRUPTED)
    click.echo(f"{out}: after {config.steps} steps; {made.usage(out)}")


@cli.command()
@click.option("--host", default="localhost", show_default=True, help="0.0.0.0 for all networks.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--max-megapixels",
    default=50.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Largest picture that is taken or painted.",
)
def app(host: str, port: int, max_megapixels: float) -> None:
    """Paint in the browser: serve the web app."""
    from impasto.app import serve

    serve(host, port, max_megapixels)


@cli.command()
def methods() -> None:
    """List the methods."""
    from impasto.methods import METHODS

    for name, entry in METHODS.items():
        click.echo(f"{name:10} {entry.about}")


@cli.command()
@click.option(
    "--sheet",
    metavar="PHOTO",
    type=click.Path(path_type=Path),
    help="Paint it in all trained ones.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The sheet to write.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps.")
def styles(sheet: Path | None, output: Path | None, device: str) -> None:
    """List the styles by name, or paint a photo in all trained ones."""
    from impasto.gallery import paintings

    if (sheet is None) != (output is None):
        raise ControlError("a sheet needs both: --sheet PHOTO -o OUT")
    if sheet is None or output is None:
        for known in paintings().values():
            about = f"{known.artist}, {known.title} ({known.year})"
            kind = "trained" if known.picture is None else "picture"
            click.echo(f"{known.name:22} {about:66} {kind:8} {known.licence}")
        return
    from impasto import images
    from impasto.stylizer import paint_sheet

    images.check_writable(output)
    _check_apart([output], [sheet])
    images.write(output, paint_sheet(sheet, device=device))
    click.echo(f"{output}: {sheet.name} in each trained style")


@cli.command()
def recipes() -> None:
    """List the recipes."""
    from impasto.recipes import names, read_named

    for folder, what in ((_RECIPES, "stylize, texture"), (_TRAIN_RECIPES, "train")):
        for name in names(folder):
            click.echo(f"{name:14} {what:17} {read_named(name, folder)['about']}")


@cli.group()
def weights() -> None:
    """List, fetch and verify the weights of the networks."""


@weights.command("list")
def weights_list() -> None:
    """List all known weights and where they are."""
    from impasto import weights as files

    for known in files.table().values():
        path = files.find(known)
        place = "not here" if path is None else str(path)
        click.echo(f"{known.name:32} {known.size / 1e6:6.1f} MB  {known.licence:10} {place}")


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: Sequence[str]) -> None:
    """Get weights onto this machine, for work offline."""
    from impasto import weights as files

    for name in names:
        click.echo(f"{name}: {files.fetch(name)}")


@weights.command("verify")
def weights_verify() -> None:
    """Check the hash of all weights on this machine."""
    from impasto import weights as files

    damaged = []
    for known in files.table().values():
        path = files.find(known)
        good = path is None or files.sha256_of(path) == known.sha256
        click.echo(f"{known.name:32} {'not here' if path is None else 'ok' if good else 'DAMAGED'}")
        if not good:
            damaged.append(str(path))
    if damaged:
        raise WeightsError(f"{', '.join(damaged)}: wrong sha256; delete and fetch again")


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


def _paint_all(job: _Job, targets: Sequence[tuple[Path, Path]]) -> None:
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
                _fail(str(error))
                rows.append({"content": str(content), "error": str(error)})
            left = len(targets) - len(rows)
            if stop.is_set() and left:
                _say(f"stopped; {left} of {len(targets)} photos are not painted")
                rows.append({"stopped": True})
                break
    job.report(rows)


def _fit_file(fit: Callable[[Picture], Look], content: Path) -> Look:
    from impasto import images

    return fit(images.read(content))


@dataclass
class _Job:
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
    def of(cls, styles: list[Style], options: dict[str, Any]) -> _Job:
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
        saved = [style for style in self.styles if str(style.source).endswith(".look")]
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

        own = set(self.recipe.options) - set(self.recipe.given)
        if len(self.styles) > 1 or style.mask or style.weight != 1 or own:
            flag = f"--{min(own)}".replace("_", "-") if own else "other styles, weights and masks"
            raise ControlError(
                f"{style.source}: this look has its own method and styles: leave out {flag}"
            )
        return Look.load(str(style.source), device=self.device)

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
        if self.save_look and self.save_look.suffix != ".look":
            raise OutputError(f"{self.save_look}: looks are kept in .look files")
        if self.save_look and any(style.mask for style in self.styles):
            raise ControlError("a look with masks belongs to its photo: save one without masks")
        extras = [path for path in (self.history, self.plot, self.save_look) if path]
        for path in extras:
            files.check_writable(path)
        used = [source for style in self.styles for source in (style.source, style.mask) if source]
        _check_apart((*targets, *extras), [*contents, *(Path(str(source)) for source in used)])

    def paint(
        self,
        content: Path,
        target: Path,
        fit: Callable[[], Look],
        stop: threading.Event,
    ) -> dict[str, Any]:
        """Fits, paints and writes one picture; returns its row of the report."""
        from impasto import images
        from impasto.history import History

        started, losses = time.monotonic(), History()
        look = fit()
        others = [
            f"painted with other weights of {name} than the recipe's picture"
            for name in self.recipe.other_weights(look.weights)
        ]
        for note in (*look.notes, *others):
            _say(f"note: {note}")
        with _progress(content.name) as show:
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
        images.write(target, result, recipe)
        if self.save_look:
            look.save(self.save_look)
        if self.history:
            losses.write_csv(self.history)
        if self.plot:
            losses.write_plot(self.plot)
        last = dict(losses.rows[-1]) if losses.rows else {}
        steps = int(last.pop("step", 0))
        if stopped:
            _say(f"stopped after step {steps}; the picture so far is in {target}")
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
            sys.exit(_INTERRUPTED)
        if any("error" in row for row in rows):
            sys.exit(2)


def _check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raises `OutputError` if an output is also an input or another output."""
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise OutputError(f"{path}: is also an input or another output; choose another name")
        taken.add(path.resolve())


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


def _progress(name: str) -> _Bar | nullcontext[OnStep]:
    return _Bar(name) if sys.stderr.isatty() else nullcontext(_plain_progress(name))


def _losses(progress: Progress) -> str:
    if not progress.losses:  # of a network
        return ""
    parts = ", ".join(f"{k} {v:.3g}" for k, v in progress.losses.items() if k != "total" and v)
    return f", loss {progress.losses['total']:.3g} ({parts})"


def _plain_progress(name: str) -> OnStep:
    started = time.monotonic()

    def show(progress: Progress) -> None:
        step, steps = progress.step, progress.steps
        seconds = time.monotonic() - started
        if not progress.losses and seconds < _PATIENCE_S:
            return
        if step * _PLAIN_LINES // steps != (step - 1) * _PLAIN_LINES // steps:
            _say(f"{name}: step {step} of {steps}{_losses(progress)}, {seconds:.0f} s")

    return show


class _Bar:
    """A progress bar on a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(name, total=None, losses="")

    def __enter__(self) -> OnStep:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        self.bar.update(
            self.task,
            completed=progress.step,
            total=progress.steps,
            losses=_losses(progress).lstrip(", "),
        )
