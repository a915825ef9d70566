"""`paint`: a picture larger than memory, from file to file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from impasto import __version__, color, files, images
from impasto.coarse_to_fine import CoarseToFine, levels
from impasto.controls import Controls
from impasto.encoding import EncodedStyle, Styles, by_method
from impasto.errors import (
    ControlError,
    ImpastoError,
    Stop,
    TooLargeError,
    is_want_of_memory,
    reason,
)
from impasto.formats import DEEPZOOM, left_out
from impasto.gallery import TrainedLook
from impasto.huge import writing
from impasto.huge.levels import MASK_AREA, STREAMED, Levels, Masks, Photo
from impasto.huge.resampling import Canvas, Part, Scaling, Size
from impasto.huge.source import Source, open_source
from impasto.huge.store import DamagedWorkError, Store, strips
from impasto.huge.work import Work
from impasto.images import Picture, size_at_most
from impasto.look import render_size
from impasto.memory import MEASURED_AREA, TILE_BYTES, check_memory, largest_tile
from impasto.metadata import Metadata
from impasto.methods import OnStep, Progress
from impasto.mixing import Mix
from impasto.options import Options
from impasto.packing import pack
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer
from impasto.weights import sha256_of

_STORED_BYTES = 6
"""Bytes of a pixel of a picture on disk."""
_PREVIEW_AREA = 2**18
"""What is shown of a painting in progress has about so many pixels."""


OnNotes = Callable[[Sequence[str]], None]
"""Is given what the user should know, before the painting begins."""


@dataclass(frozen=True)
class Result:
    """What came of painting a large picture."""

    path: Path
    size: Size
    """Height and width in pixels."""
    recipe: Mapping[str, Any]
    """All that decides the picture; it is in the file, too."""
    notes: Sequence[str]
    """What the user should know."""
    tiles: int
    """How many tiles are painted."""
    tiles_in_all: int
    stopped: bool
    """Whether `impasto.Stop` ended it before the picture was written."""


def paint(
    content: str | os.PathLike[str],
    output: str | os.PathLike[str],
    styles: Styles,
    *,
    method: str = "auto",
    device: str = "auto",
    resume: bool = False,
    on_step: OnStep | None = None,
    **options: Unpack[Options],
) -> Result:
    """Paints a photo of any size in one or several styles, from file to file.

    What is painted so far is in a folder beside the output, ``NAME.parts``, until the output is
    written. `impasto.Stop`, raised in ``on_step``, ends the work; it can be gone on with.

    Args:
        content: the photo's file.
        output: the file to write: .tif, .png, .jpg, or .dzi for viewers on web pages.
        styles: as of `impasto.stylize`.
        method: as of `impasto.stylize`, one that paints in tiles.
        device: as of `impasto.stylize`.
        resume: go on with what an earlier call has painted.
        on_step: as of `impasto.stylize`; pictures of the work in progress are small ones.
        **options: fields of `impasto.Controls`, and settings of the method.

    Raises:
        ControlError: a value is not allowed, or the method cannot paint these styles or in tiles.
        ImageError: a picture cannot be read.
        OutputError: the output cannot be written, or there is unfinished work that does not belong
            to it or would be lost.
        SetupError: there is no such device, or pyvips is not installed.
        TooLargeError: a tile does not fit into memory.
        WeightsError: weights are missing or damaged.
    """
    recipe = Recipe.of({"method": method, **options})
    stylizer = recipe.stylizer(device)
    commission = Commission(
        stylizer, stylizer.encode(styles), recipe.controls, Path(content), Path(output)
    )
    return commission.paint(resume=resume, on_step=on_step)


@dataclass(frozen=True)
class Commission:
    """A large picture that is to be painted."""

    stylizer: Stylizer
    styles: Sequence[EncodedStyle]
    controls: Controls
    content: Path
    output: Path
    strip_metadata: bool = False
    """Whether what the photo's file says about it is left out."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the recipe tells beside what decides the picture."""

    def paint(
        self,
        *,
        resume: bool = False,
        on_step: OnStep | None = None,
        on_notes: OnNotes = lambda _: None,
    ) -> Result:
        """Paints it; see `paint` for the arguments and errors."""
        self._check()
        with open_source(self.content) as source:
            size = render_size(source.size, self.controls.size)
            writing.check(self.output, *size)
            metadata = None if self.strip_metadata else source.metadata
            notes = [*source.notes, *self._notes(source, metadata)]
            on_notes(notes)
            masks = self._masks(source, size)
            tile = self._tile()
            with Work.of(self.output, self._record(size, masks, tile), resume=resume) as work:
                painter = _Painter(self, source, size, masks, tile, work, on_step)
                stopped = self._painted(painter, metadata)
        return Result(
            self.output,
            size,
            painter.recipe,
            notes,
            painter.tiles,
            painter.tiles_in_all,
            stopped,
        )

    def _painted(self, painter: _Painter, metadata: Metadata | None) -> bool:
        """Paints and writes; returns whether that was stopped. What is painted is kept, but for the
        beginnings of what has no tile yet.
        """
        work = painter.work
        try:
            self._check_space(work, painter.size)
            painter.paint(metadata)
        except Stop:
            if not work.finished:
                work.remove()
            return True
        except Exception as error:
            explained = self._explained(error)
            if not work.finished:
                work.remove()
            if not work.finished or isinstance(error, DamagedWorkError):
                raise explained from error
            raise type(explained)(
                f"{reason(explained)}; what is painted, {work.told}, is kept in {work.folder}: add "
                "--resume to go on with them"
            ) from error
        work.remove()
        return False

    def _check_space(self, work: Work, size: Size) -> None:
        """Raises `OutputError` if the disk has not room for what is going to be on it: the photo,
        the painting by each method, what the last level needs for it, and the result.
        """
        area, methods = size[0] * size[1], len(by_method(self.styles))
        *before, last = levels(*size, self.controls.stroke_size, self.controls.detail)
        at_last_level = 3 * last.height * last.width if before else 0
        stored = 2 * area + methods * (area + at_last_level)
        needed = stored * _STORED_BYTES + writing.bytes_of(self.output, area)
        held = sum(file.stat().st_size for file in work.folder.glob("*.raw"))
        files.check_writable(self.output, max(needed - held, 1))

    def _explained(self, error: Exception) -> ImpastoError:
        """An error as one of ours."""
        if is_want_of_memory(error) and not isinstance(error, ImpastoError):
            return self._too_large()
        if isinstance(error, OSError):
            return files.cannot_write(self.output, error)
        return error if isinstance(error, ImpastoError) else ImpastoError(reason(error))

    def _check(self) -> None:
        """Raises `ControlError` for what cannot be painted tile by tile."""
        given = [one for s in self.styles for one in (s.style.source, s.style.mask)]
        paths = [Path(one) for one in given if isinstance(one, (str, os.PathLike))]
        files.check_apart([self.output], [self.content, *paths])
        self.stylizer.check_controls(self.styles, self.controls, self.stylizer.refine)
        if not self.stylizer.paints_in_tiles(self.styles):
            raise ControlError(
                "the optimiser (gatys, --refine) does not paint in tiles, as is needed here: "
                "leave out --refine, or choose another method"
            )
        if self.controls.stop_after is not None:
            raise ControlError("stop_after is for pictures painted in memory: leave it out")

    def _notes(self, source: Source, metadata: Metadata | None) -> list[str]:
        """What the user should know beside what the photo's file says."""
        notes = [
            note
            for one in self.styles
            if isinstance(one.source, Picture)
            for note in one.source.notes
        ]
        if self.output.suffix.lower() == DEEPZOOM:
            notes.append(f"{self.output}: DeepZoom keeps no metadata and no recipe")
            if source.bits > 8:
                notes.append(f"{self.output}: DeepZoom is written with 8 bits a channel")
            return notes
        lost = left_out(self.output, metadata, transparent=source.transparent, bits=source.bits)
        return [*notes, *lost]

    def _masks(self, source: Source, size: Size) -> Masks:
        """How much of which style goes where."""
        held = size_at_most(*source.size, MASK_AREA)
        masks = [
            None if one.style.mask is None else scaled_mask(one.style.mask, source.size, held)
            for one in self.styles
        ]
        shares = [one.style.weight for one in self.styles]
        mix = Mix.of(*held, shares, masks, self.controls.strength)
        return Masks(mix.resized(*size_at_most(*size, MASK_AREA)))

    def _tile(self) -> int:
        """The side of tiles; the same whatever memory is free, so that work can be gone on with.

        Raises:
            TooLargeError: such a tile does not fit.
        """
        footprints = [one.method.footprint for one in self.styles]
        asked = self.controls.tile
        if asked == "auto":
            tile = min(largest_tile(footprint, TILE_BYTES) for footprint in footprints)
        else:
            tile = int(asked)
        sizes = [size for one in self.styles if (size := one.size(tile * tile, self.controls))]
        try:
            for footprint in footprints:
                check_memory(
                    footprint, tile, tile, styles=sizes, tile=tile, device=self.stylizer.device
                )
        except TooLargeError as error:
            raise self._too_large() from error
        return tile

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"{self.content}: a tile does not fit into the memory that is free; give a smaller "
            "--tile"
        )

    def _record(self, size: Size, masks: Masks, tile: int) -> dict[str, Any]:
        """All that decides the pixels."""
        return {
            "photo": sha256_of(self.content),
            "size": size,
            "style": [_digest(one) for one in self.styles],
            "weight or mask": _digest_of([masks.mix.weights]),
            "--tile": tile,
            "impasto": __version__,
            **self.stylizer.described(self.styles),
            **asdict(self.controls),
        }


@dataclass
class _Painter:
    """What paints a commission: from the photo's file to pictures on disk to the output."""

    commission: Commission
    source: Source
    size: Size
    masks: Masks
    tile: int
    work: Work
    on_step: OnStep | None
    recipe: dict[str, Any] = field(default_factory=dict)
    tiles: int = 0
    """How many tiles are painted."""
    tiles_in_all: int = 1
    levels: list[Levels] = field(default_factory=list)
    """What paints, one for each method."""
    shares: list[Sequence[int]] = field(default_factory=list)
    """The numbers of the styles that each of them paints."""
    done: float = 0.0
    """How much work is done, in pixels that are painted."""

    @property
    def photo(self) -> Photo:
        """The photo on disk, at the size that is painted."""
        grey = self.commission.controls.preserve_color == "luminance"
        return Photo(self.work.store("photo", self.size), grey)

    @property
    def alpha(self) -> Store:
        """Its alpha channel on disk."""
        return self.work.store("alpha", self.size, 1)

    def paint(self, metadata: Metadata | None) -> None:
        """Paints, and writes the output.

        Raises:
            Stop: ``on_step`` raised it.
        """
        self._plan()
        known = self._read()
        stylizer, controls = self.commission.stylizer, self.commission.controls
        styles, area = self.commission.styles, self.size[0] * self.size[1]
        sample = known["sample"].to(stylizer.device)
        codes = [one.code(sample, area, controls) for one in styles]
        self.recipe = stylizer.recipe(styles, codes, controls, None) | {**self.commission.told}
        result = self.work.store("result", self.size, 4 if bool(known["transparent"]) else 3)
        for one, numbers in zip(self.levels, self.shares, strict=True):
            one.transfer.styles = [codes[number] for number in numbers]
        if self.work.kept("result") is None:
            self._paint(known["small"], result)
            self.work.keep("result", done=torch.ones(1))
        result.check()
        self.tiles, self.done = self.tiles_in_all, self._work - self._writing
        for path in self.work.folder.glob("*.raw"):
            if path != result.path:
                path.unlink()
        begun = self._work - self._writing
        writing.write(
            self.commission.output,
            result,
            folder=self.work.folder,
            bits=self.source.bits,
            metadata=metadata,
            recipe=self.recipe,
            on_fraction=lambda share: self._tell_up_to(begun + share * self._writing),
        )

    def _read(self) -> dict[str, Tensor]:
        """Reads the photo onto the disk, unless that is done.

        Returns:
            The photo scaled down to be measured (``small``), every n-th row and column of it if the
            colours depend on them (``sample``), and whether any of it is not opaque
            (``transparent``).
        """
        kept = self.work.kept("photo")
        if kept is not None:
            self._tell(self._reading)
            return kept
        photo = self.photo
        measuring = self._writing  # goes through as many pixels

        photo.store.create()
        if self.source.transparent:
            self.alpha.create()
        reading = self._reading - measuring
        transparent = self.source.read(
            self.size,
            photo.store.write,
            self.alpha.write,
            lambda share: self._tell_up_to(share * reading),
        )
        small = Canvas(size_at_most(*self.size, MEASURED_AREA))
        scaling = Scaling(self.size, small.size, small.write)
        for part in strips(self.size):
            scaling.add(photo.prepared(part))
            self._tell(measuring * (part.rows[1] - part.rows[0]) / self.size[0])
        coloured = self.commission.controls.preserve_color != "off"
        step = color.sampling(*self.size) if coloured else max(self.size)
        measured = {
            "small": small.pixels,
            "sample": photo.store.sample(step),
            "transparent": torch.tensor(transparent),
        }
        self.work.keep("photo", **measured)
        return measured

    def _plan(self) -> None:
        """Finds out what paints, and how much work it is."""
        controls = self.commission.controls
        groups = by_method(self.commission.styles)
        for method, numbers in groups.items():
            mix = self.masks.mix
            if not mix.part(numbers).any():
                continue
            transfer = CoarseToFine(
                method,
                [],
                self.size,
                controls.stroke_size,
                controls.detail,
                self.tile,
                controls.seed,
            )
            masks = self.masks if len(groups) == 1 else Masks(mix.only(numbers))
            self.levels.append(
                Levels(
                    "abcdefgh"[len(self.levels)],
                    transfer,
                    self.tile,
                    self.photo,
                    masks,
                    self.work,
                    self.commission.stylizer.device,
                    self._tell,
                )
            )
            self.shares.append(numbers)
        self.tiles_in_all = sum(one.tiles for one in self.levels)

    @property
    def _reading(self) -> float:
        """The work of reading the photo."""
        raw = self.source.raw_size[0] * self.source.raw_size[1] * STREAMED
        return raw * (1 + self.source.transparent) + self._writing

    @property
    def _writing(self) -> float:
        """The work of writing the output."""
        return self.size[0] * self.size[1] * STREAMED

    @property
    def _work(self) -> float:
        """All the work."""
        return self._reading + sum(one.total for one in self.levels) + 2 * self._writing

    def _paint(self, small: Tensor, result: Store) -> None:
        """Paints the photo into a picture on disk."""
        painted = []
        for one in self.levels:
            one.prepare(small)
            painted.append(one.paint())
        result.create()
        for part in strips(self.size):
            pixels = self._blended(part, [one.read(part) for one in painted]).cpu()
            pixels = color.finish(
                pixels, self.photo.store.read(part), self.commission.controls.preserve_color
            )
            if result.bands == 4:
                pixels = torch.cat((pixels, self.alpha.read(part)), 1)
            result.write(part, pixels)
            self._tell(self._writing * (part.rows[1] - part.rows[0]) / self.size[0])

    def _blended(self, part: Part, pictures: Sequence[Tensor]) -> Tensor:
        """A part of what several methods painted, by the weights of their styles; see
        `impasto.methods.blended`.
        """
        if len(self.shares) == 1 == len(by_method(self.commission.styles)):
            return pictures[0]
        mix = self.masks.part(self.size, part).to(self.commission.stylizer.device)
        content = self.photo.prepared(part).to(self.commission.stylizer.device)
        result = content
        for numbers, painted in zip(self.shares, pictures, strict=True):
            result = result + mix.part(numbers) * (painted.to(content) - content)
        return result

    def _tell(self, pixels: float, tiles: int = 0) -> None:
        """Tells of work that is done, in pixels that are painted, and of painted tiles."""
        self.done += pixels
        self.tiles += tiles
        if self.on_step is not None:
            fraction = min(self.done / self._work, 1.0)
            steps = self.tiles_in_all + 1  # the last one is that of writing
            step = min(self.tiles, steps - 1)
            self.on_step(Progress(step, steps, {}, self._preview, fraction))

    def _tell_up_to(self, done: float) -> None:
        """Tells that so much is done in all."""
        self._tell(max(done - self.done, 0.0))

    def _preview(self) -> Tensor:
        """The picture so far, small."""
        store = next((one.latest for one in reversed(self.levels) if one.latest), self.photo.store)
        area = store.size[0] * store.size[1]
        return store.sample(math.ceil(math.sqrt(area / _PREVIEW_AREA)))


def with_scaled_masks(
    styles: Sequence[EncodedStyle], content: Path, size: Size
) -> list[EncodedStyle]:
    """Returns styles with masks for a photo that was scaled while it was read.

    Args:
        styles: with masks of the photo's own size.
        content: the photo's file.
        size: height and width that it was scaled to.

    Raises:
        ImageError: a mask cannot be read, or has another size than the photo.
    """
    with open_source(content) as source:
        own = source.size
    return [
        one
        if one.style.mask is None
        else replace(
            one, style=replace(one.style, mask=scaled_mask(one.style.mask, own, size).numpy())
        )
        for one in styles
    ]


def scaled_mask(mask: images.ImageLike, size: Size, held: Size) -> Tensor:
    """Reads a mask at another size than that of the photo that it is for.

    Args:
        mask: white where a style goes.
        size: height and width of the photo, and of the mask.
        held: those that it is scaled to.

    Returns:
        (h, w) in [0, 1].

    Raises:
        ImageError: it cannot be read, or has another size than the photo.
    """
    if size == held:
        return images.read_mask(mask, *size)
    if not isinstance(mask, (str, os.PathLike)):
        whole = images.read_mask(mask, *size)
        return images.resize(whole[None, None], *held)[0, 0]
    with open_source(Path(mask)) as source:
        images.check_mask_size(mask, source.size, size)
        return images.read_mask(source.picture(held), *held)


def _digest(style: EncodedStyle) -> str:
    """What a style is known by again."""
    if isinstance(style.source, Picture):
        return _digest_of([style.source.pixels])
    if isinstance(style.source, TrainedLook):
        return f"{style.source.weights}#{style.source.look}"
    packed, tensors = pack(style.latest, {})
    return _digest_of(tensors.values(), json.dumps(packed))


def _digest_of(tensors: Iterable[Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
