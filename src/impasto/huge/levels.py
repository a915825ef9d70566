"""Painting coarse to fine on disk: the levels of `impasto.coarse_to_fine`, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from impasto import color
from impasto.coarse_to_fine import ABSTRACTING, CoarseToFine, with_detail
from impasto.huge.resampling import Canvas, Part, Scaling, Size, scaled_part
from impasto.huge.store import Store, strips
from impasto.huge.work import Work
from impasto.images import size_at_most
from impasto.memory import MEASURED_AREA
from impasto.mixing import Mix
from impasto.tiling import Box

MASK_AREA = 2**24
"""Masks are held in memory, at no more pixels than this, and enlarged where they are looked up."""


class OnWork(Protocol):
    """Is told of work that is done; it may raise `impasto.Stop`."""

    def __call__(self, pixels: float, tiles: int = 0) -> None:
        """Takes note.

        Args:
            pixels: how much work it was, in pixels that are painted.
            tiles: how many tiles.
        """


STREAMED = 0.06
"""The work of going through a pixel, relative to painting it."""


@dataclass(frozen=True)
class Photo:
    """The photo on disk, at the size that is painted."""

    store: Store
    grey: bool
    """Whether only its lightness is painted."""

    def prepared(self, part: Part) -> Tensor:
        """Returns the part that is painted, (1, 3, h, w)."""
        pixels = self.store.read(part)
        return color.to_grey(pixels) if self.grey else pixels


@dataclass(frozen=True)
class Masks:
    """How much of which style goes where, on a picture of any size."""

    mix: Mix
    """The mix, at `MASK_AREA` at most."""

    def part(self, size: Size, part: Part) -> Mix:
        """Returns the mix for a part of the picture at some size."""
        if not self.mix.masked:
            return self.mix
        if size[0] * size[1] <= MASK_AREA:
            weights = self._whole(size).weights[..., slice(*part.rows), slice(*part.columns)]
            return replace(self.mix, weights=weights)
        held = (self.mix.weights.shape[-2], self.mix.weights.shape[-1])
        source = part.needed(held, size)
        rows, columns = slice(*source.rows), slice(*source.columns)
        maps = scaled_part(self.mix.weights[None, :, rows, columns], held, size, part)[0]
        return replace(self.mix, weights=maps / maps.sum(0))

    def _whole(self, size: Size) -> Mix:
        key = ("whole", size)
        if key not in self._cache:
            self._cache.clear()
            self._cache[key] = self.mix.resized(*size)
        return self._cache[key]

    _cache: dict[tuple[str, Size], Mix] = field(default_factory=dict, repr=False)


@dataclass
class Levels:
    """Paints a photo on disk at one level after the other; see `CoarseToFine`."""

    name: str
    """What the names of its pictures on disk begin with."""
    transfer: CoarseToFine
    tile: int
    """Side of the tiles in pixels."""
    photo: Photo
    masks: Masks
    work: Work
    device: torch.device
    on_work: OnWork
    """Told of what was done since it was called last."""
    latest: Store | None = None
    """What is painted now: the painting of a level, or the one at its own size."""

    @property
    def sizes(self) -> list[Size]:
        """The sizes of all levels."""
        return [(level.height, level.width) for level in self.transfer.levels]

    def boxes(self, number: int) -> list[Box]:
        """Returns the tiles of a level."""
        tiling = self.transfer.method.footprint.tiling
        assert tiling is not None
        return list(tiling.boxes(*self.sizes[number], self.tile))

    @property
    def tiles(self) -> int:
        """How many tiles there are in all."""
        levels = sum(len(self.boxes(number)) for number in range(len(self.sizes)))
        return levels + len(self.transfer.finishing_boxes)

    @cached_property
    def total(self) -> float:
        """How much work it is, in pixels that are painted."""
        tiles = sum(box.area for number in range(len(self.sizes)) for box in self.boxes(number))
        measured = sum(map(_pass, self.sizes))
        if self.transfer.single_pass:
            return tiles + measured
        boxes = [*self.transfer.forms_boxes, *self.transfer.finishing_boxes]
        # The photo and its forms are scaled, and the painting is measured once more.
        scaled = sum(map(_pass, [self.photo.store.size, self.sizes[-1], self.sizes[-1]]))
        return tiles + measured + scaled + sum(box.area for box in boxes) * ABSTRACTING

    def prepare(self, small: Tensor) -> None:
        """Makes the photo of each level.

        Args:
            small: the photo scaled down to `MEASURED_AREA` at most.
        """
        if self.transfer.single_pass:
            return
        if self.transfer.recolours:
            self.transfer.fit_palettes(small.to(self.device), self._small_mix(small))
        boxes = self.transfer.forms_boxes
        if self.work.kept(f"{self.name}photos") is None:
            *coarse, last = [self._photo_at(number) for number in range(len(self.sizes))]
            plain = self.work.store(f"{self.name}plain", last.size)
            for store in (plain, *coarse, last):
                store.create()
            self._scale(self.photo.store.size, self._recoloured_photo, [plain])
            for box in boxes:
                part = Part.of(box)
                forms = plain.read(part).to(self.device)
                if self.transfer.forms_scale:
                    keep = self.masks.part(last.size, part).photo.to(self.device)
                    forms = self.transfer.forms(forms, keep)
                last.write(_inner(box), box.inner(forms, 1))
                self.on_work(box.area * ABSTRACTING)
            self._scale(last.size, last.read, coarse)
            plain.path.unlink(missing_ok=True)
            self.work.keep(f"{self.name}photos", done=torch.ones(1))
        else:
            scaled = _pass(self.photo.store.size) + _pass(self.sizes[-1])
            self.on_work(scaled + sum(box.area for box in boxes) * ABSTRACTING)

    def _scale(
        self, size: Size, read: Callable[[Part], Tensor], to: Sequence[Store | Canvas]
    ) -> None:
        """Scales a picture that is read strip by strip to the sizes of pictures on disk."""
        scalings = [Scaling(size, one.size, one.write) for one in to]
        for part in strips(size):
            rows = read(part).cpu()
            for scaling in scalings:
                scaling.add(rows)
            self.on_work(_pass((part.rows[1] - part.rows[0], size[1])))

    def paint(self) -> Store:
        """Paints all levels; returns the painting at its own size."""
        for number in range(len(self.sizes)):
            self.latest = painting = self._painting_at(number)
            boxes = self.boxes(number)
            names = [f"{self.name}{number} {tile}" for tile in range(len(boxes))]
            if self._begin(painting, names):
                self._paint_level(number, painting, boxes, names)
            else:
                self.on_work(_pass(painting.size) + sum(box.area for box in boxes), len(boxes))
            if number > 0:
                self._remove(number - 1)
        if not self.transfer.single_pass:
            self.latest = painting = self._enlarged(painting)
            self._remove(len(self.sizes) - 1)
        return painting

    def _remove(self, number: int) -> None:
        """Removes what a level needed from the disk."""
        for store in (self._photo_at(number), self._painting_at(number)):
            store.path.unlink(missing_ok=True)

    def _begin(self, painting: Store, names: Sequence[str]) -> bool:
        """Makes the file of a painting, unless a part of it is painted; returns whether any tile is
        left to paint.
        """
        if all(name in self.work.finished for name in names):
            return False
        if not self.work.finished.intersection(names):
            painting.create()
        painting.check()
        return True

    @torch.no_grad()
    def _paint_level(
        self, number: int, painting: Store, boxes: Sequence[Box], names: Sequence[str]
    ) -> None:
        """Paints the tiles of a level that are not painted yet."""
        size = self.sizes[number]
        seen = self._seen(number)
        small = seen["small"].to(self.device)
        transfer, _ = self.transfer.fit_level(small, self._small_mix(small))
        whole = seen.get("whole", small).to(self.device)
        paint = transfer.tile_painter(whole, size)
        for box, name in zip(boxes, names, strict=True):
            if name not in self.work.finished:
                part = Part.of(box)
                mix = self.masks.part(size, part).to(self.device)
                painted = paint(self._input(number, part), mix, box)
                painting.write(_inner(box), box.inner(painted, 1))
                self.work.finish(name, painting)
            self.on_work(box.area, 1)

    @torch.no_grad()
    def _enlarged(self, painting: Store) -> Store:
        """The painting of the last level with its colours moved, brought to its own size; see
        `CoarseToFine`.
        """
        size, last = self.photo.store.size, painting.size
        enlarged = self.work.store(f"{self.name}painting", size)
        boxes = self.transfer.finishing_boxes
        names = [f"{self.name}size {tile}" for tile in range(len(boxes))]
        if not self._begin(enlarged, names):
            self.on_work(_pass(last) + sum(box.area for box in boxes) * ABSTRACTING, len(boxes))
            return enlarged
        if self.transfer.recolours:
            canvas = Canvas(size_at_most(*last, MEASURED_AREA))
            self._scale(last, painting.read, [canvas])
            small = canvas.pixels.to(self.device)
            self.transfer.fit_palettes(small, self._small_mix(small))
        else:
            self.on_work(_pass(last))
        for box, name in zip(boxes, names, strict=True):
            if name not in self.work.finished:
                finished = self._finished(painting, Part.of(box))
                enlarged.write(_inner(box), box.inner(finished, 1))
                self.work.finish(name, enlarged)
            self.on_work(box.area * ABSTRACTING, 1)
        return enlarged

    def _finished(self, painting: Store, part: Part) -> Tensor:
        """A part of the painting at its own size, (1, 3, h, w)."""
        size, last = self.photo.store.size, painting.size
        source = part.needed(last, size)
        painted = self._recoloured(1, painting.read(source), last, source)
        keep = self.masks.part(size, part).photo.to(self.device)
        enlarged = scaled_part(painted.cpu(), last, size, part).to(self.device)
        if not keep.any():
            return self.transfer.finished(enlarged, keep)
        forms = self._photo_at(len(self.sizes) - 1).read(source)
        forms = scaled_part(forms, last, size, part).to(self.device)
        return self.transfer.finished(enlarged, keep, self._recoloured_photo(part), forms)

    def _seen(self, number: int) -> dict[str, Tensor]:
        """What a level paints, scaled down to be measured, and to be seen as a whole if the method
        does that.
        """
        name, size = f"{self.name}seen{number}", self.sizes[number]
        kept = self.work.kept(name)
        if kept is not None:
            self.on_work(_pass(size))
            return kept
        canvases = {"small": Canvas(size_at_most(*size, MEASURED_AREA))}
        whole = self.transfer.method.seen_size(*size)
        if whole is not None:
            canvases["whole"] = Canvas(whole)
        self._scale(size, lambda part: self._input(number, part), list(canvases.values()))
        seen = {key: canvas.pixels for key, canvas in canvases.items()}
        self.work.keep(name, **seen)
        return seen

    def _input(self, number: int, part: Part) -> Tensor:
        """A part of what a level paints, (1, 3, h, w); see `impasto.coarse_to_fine.revised`."""
        if self.transfer.single_pass:
            return self._recoloured_photo(part)
        photo = self._photo_at(number).read(part).to(self.device)
        if number == 0:
            return self._first_input[..., slice(*part.rows), slice(*part.columns)]
        size, before = self.sizes[number], self.sizes[number - 1]
        source = part.needed(before, size)
        painted = self._painting_at(number - 1).read(source)
        lightness = self._photo_at(number - 1).read(source).mean(1, keepdim=True)
        enlarged = scaled_part(torch.cat((painted, lightness), 1), before, size, part)
        return with_detail(
            photo,
            enlarged[:, :3].to(self.device),
            enlarged[:, 3:].to(self.device),
            self.transfer.levels[number].detail,
            self.masks.part(size, part).photo.to(self.device),
        )

    @cached_property
    def _first_input(self) -> Tensor:
        """What the first of several levels paints, whole: it is small."""
        whole = Part((0, self.sizes[0][0]), (0, self.sizes[0][1]))
        mix = self.masks.part(self.sizes[0], whole).to(self.device)
        return self.transfer.first_input(self._photo_at(0).read(whole).to(self.device), mix)

    def _recoloured_photo(self, part: Part) -> Tensor:
        """A part of the photo with its colours moved, on the device."""
        return self._recoloured(0, self.photo.prepared(part), self.photo.store.size, part)

    def _recoloured(self, number: int, pixels: Tensor, size: Size, part: Part) -> Tensor:
        """A part of the photo (0), or of the painting (1), of some size, with its colours moved."""
        pixels = pixels.to(self.device)
        if not self.transfer.recolours:
            return pixels
        weights = self.masks.part(size, part).weights.to(self.device)
        return self.transfer.recoloured(number, pixels, weights)

    def _small_mix(self, small: Tensor) -> Mix:
        """The mix at the size of a picture that is scaled down to be measured."""
        return self.masks.mix.resized(small.shape[-2], small.shape[-1]).to(self.device)

    def _photo_at(self, number: int) -> Store:
        return self.work.store(f"{self.name}photo{number}", self.sizes[number])

    def _painting_at(self, number: int) -> Store:
        return self.work.store(f"{self.name}painting{number}", self.sizes[number])


def _inner(box: Box) -> Part:
    """The part that is a tile without its halo."""
    return Part((box.top, box.bottom), (box.left, box.right))


def _pass(size: Size) -> float:
    """The work of going through a picture once."""
    return size[0] * size[1] * STREAMED
