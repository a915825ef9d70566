"""`Look`: styles fitted to a photo. It paints the photo, then the next frame, and can be saved."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from impasto import color, files, images, weights
from impasto.coarse_to_fine import StyleCode
from impasto.controls import LOOK_SUFFIX, MIN_SIDE, ColorMode, Controls, Style
from impasto.encoding import EncodedStyle, weights_used
from impasto.errors import ControlError, OutputError, Stop, WeightsError
from impasto.gallery import TrainedLook
from impasto.images import ImageLike, Picture
from impasto.memory import memory_guarded
from impasto.methods.base import Memory, Method, OnStep, Past, Progress, Transfer
from impasto.methods.gatys import GatysTransfer
from impasto.mixing import Mix
from impasto.options import ControlOptions, shows_controls
from impasto.packing import pack, unpack
from impasto.processes import check_not_forked
from impasto.recipes import Recipe, renamed
from impasto.tiling import by_strips

if TYPE_CHECKING:
    from impasto.stylizer import Stylizer

_FORMAT = "1"

PathOrPIL: TypeAlias = str | os.PathLike[str] | Image.Image
"""Pictures for which a PIL image is returned."""
PictureT = TypeVar("PictureT", Tensor, NDArray[Any], Picture)
"""Pictures for which one of the same type is returned."""


@dataclass(frozen=True)
class Inputs:
    """A photo as methods get it, scaled and on the device."""

    photo: Picture
    """The photo at the size to be painted."""
    pixels: Tensor
    """The photo's pixels on the device, (1, 3, H, W), sRGB in [0, 1]."""
    prepared: Tensor
    """The pixels that are painted: grey if only the photo's lightness is, else the photo's."""
    mix: Mix
    """How much of which style goes where, for this size."""

    @classmethod
    def of(cls, photo: Picture, mix: Mix, controls: Controls, device: torch.device) -> Inputs:
        """Prepares a photo.

        Args:
            photo: the photo at its own size.
            mix: how much of which style goes where, for that size.
            controls: the controls, of which ``size`` and ``preserve_color`` matter.
            device: where it is painted.

        Raises:
            ControlError: the shorter side would become too small.
        """
        small = photo.resized(*render_size(photo.size, controls.size))
        pixels = small.pixels.to(device)
        prepared = _prepared(pixels, controls.preserve_color)
        return cls(small, pixels, prepared, mix.resized(*small.size).to(device))


@dataclass(frozen=True)
class Look:
    """Styles fitted to a photo, which `impasto.Stylizer.fit` returns.

    ``look()`` paints that photo, ``look(frame)`` another one of the same size with the same
    statistics, ``look.fit(photo)`` fits the styles to another photo, and ``look.save(path)`` keeps
    all of it in a file.
    """

    stylizer: Stylizer
    """The stylizer that fitted it, with its methods."""
    controls: Controls
    """The controls that it paints with."""
    styles: Sequence[EncodedStyle]
    """The styles, with their weights and masks."""
    codes: Sequence[StyleCode]
    """What was measured of each style for this photo."""
    mix: Mix
    """How much of which style goes where on the photo, at its own size."""
    size: tuple[int, int]
    """Height and width of the photo."""
    transfer: Transfer
    """The fitted function that paints."""
    refinement: GatysTransfer | None
    """The fitted optimisation that refines the painting; None for none."""
    refine: str | int | None
    """Steps (``50``) or seconds (``30s``) of the refinement; None for none."""
    notes: tuple[str, ...] = ()
    """What the user should know about how the pictures were read."""
    fitted: Inputs | None = None
    """The photo that it was fitted to, prepared; None if the look was loaded."""
    content: ImageLike | None = None
    """The photo that it was fitted to, as the user gave it; None if the look was loaded."""

    @property
    def weights(self) -> dict[str, str]:
        """Hashes (sha256) of the weights that paint, by name."""
        return weights_used(self.styles, self.codes)

    @overload
    def __call__(self, content: PathOrPIL, on_step: OnStep | None = ...) -> Image.Image: ...
    @overload
    def __call__(self, content: PictureT, on_step: OnStep | None = ...) -> PictureT: ...
    @overload
    def __call__(self, content: None = ..., on_step: OnStep | None = ...) -> Any: ...
    def __call__(self, content: ImageLike | None = None, on_step: OnStep | None = None) -> Any:
        """Paints a picture.

        Args:
            content: a photo of the same size, such as the next frame; None for the photo that the
                look was fitted to.
            on_step: called after each step with a `Progress`; it may raise `impasto.Stop` to end
                the painting early.

        Returns:
            A picture of the same type as the photo; a PIL image if that is a path. The photo's
            alpha channel is kept.

        Raises:
            ControlError: the photo has another size, or the look was loaded and has no photo.
            ImageError: the photo cannot be read.
            TooLargeError: memory ran out.
            SetupError: the process was forked after its parent had painted.
        """
        like = self.content if content is None else content
        if like is None:
            raise ControlError("this look was loaded without its photo: call it with a picture")
        with self._guarded():
            inputs = (
                self._inputs(like) if self.fitted is None or content is not None else self.fitted
            )
            step = self._step(on_step, inputs)
            result = self._finished(self._painted(inputs, step), inputs.pixels).cpu()
        return images.like(replace(inputs.photo, pixels=result), like)

    def follow(
        self, frame: ImageLike, past: Past | None = None, on_step: OnStep | None = None
    ) -> tuple[Any, Memory]:
        """Paints a frame of a film so that it goes on from the frame before.

        Args:
            frame: a picture of the size of the photo.
            past: what the call for the frame before returned, and how the picture moved since then,
                at the size that is painted; None for the first frame.
            on_step: as of `__call__`.

        Returns:
            The painting, in the type of the frame, and what the next frame needs of it.

        Raises:
            As `__call__`.
        """
        with self._guarded():
            inputs = self._inputs(frame)
            content, step = inputs.prepared, self._step(on_step, inputs)
            # Flow is estimated, and what was remembered is loaded, on the processor.
            past = None if past is None else past.to(self.stylizer.device)
            # Paint that moves along would leave the masks.
            mix = inputs.mix.everywhere()
            painted, memory = self.transfer.follow(content, mix, past, step)
            if self.refinement is not None:
                own = past and replace(past, memory={"painted": past.memory["refined"]})
                painted, kept = self.refinement.follow(content, mix, own, step, init=painted)
                memory["refined"] = kept["painted"]
            if inputs.mix.masked:
                painted = torch.lerp(content, painted, inputs.mix.coverage)
            result = self._finished(painted, inputs.pixels).cpu()
        return images.like(replace(inputs.photo, pixels=result), frame), memory

    def fit_frames(self, frames: Sequence[ImageLike]) -> None:
        """Fits the look to several frames of a film together, rather than to its photo alone.

        Args:
            frames: pictures of the size of the photo.

        Raises:
            As `__call__`.
        """
        with self._guarded():
            several = [
                Inputs.of(images.read(frame), self.mix, self.controls, self.stylizer.device)
                for frame in frames
            ]
            content = torch.cat([inputs.prepared for inputs in several])
            self.transfer.finish_fitting(content, self._drafted(several[0].mix))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Reports what goes wrong in a painting as errors of one line."""
        check_not_forked()
        footprint = max(
            (style.method.footprint for style in self.styles), key=lambda one: one.bytes_per_pixel
        )
        with memory_guarded(footprint, *render_size(self.size, self.controls.size)):
            yield

    def _finished(self, painted: Tensor, photo: Tensor) -> Tensor:
        """A painting with the photo's chroma, if that is kept."""
        mode = self.controls.preserve_color
        if mode != "luminance":
            return painted
        return by_strips(lambda part, own: color.finish(part, own, mode), painted, photo)

    def _step(self, on_step: OnStep | None, inputs: Inputs) -> OnStep | None:
        """What is called after each step: it is passed finished pictures, and may end it all."""
        step = on_step and _finishing(on_step, lambda image: self._finished(image, inputs.pixels))
        if self.controls.stop_after is not None:
            step = _ending(step, self.controls.stop_after)
        return step

    def _inputs(self, content: ImageLike) -> Inputs:
        """Prepares another photo; before, the look is fitted to its own, if that is not done."""
        photo = images.read(content)
        if photo.size != self.size:
            raise ControlError(
                f"{images.name_of(content)}: this look was fitted to pictures of "
                f"{self.size[1]}x{self.size[0]}; fit it anew"
            )
        self._finish_fitting()
        return Inputs.of(photo, self.mix, self.controls, self.stylizer.device)

    def _finish_fitting(self) -> None:
        """Paints the photo that the look was fitted to, unless that is done, since painting coarse
        to fine measures on the way.
        """
        if self.fitted is not None:
            self.transfer.finish_fitting(self.fitted.prepared, self._drafted(self.fitted.mix))

    def _drafted(self, mix: Mix) -> Mix:
        """The mix that is painted with before refining, which alone mixes in masks' soft edges."""
        return mix if self.refinement is None else mix.undiluted()

    def _painted(self, inputs: Inputs, on_step: OnStep | None) -> Tensor:
        """The picture painted, and refined if that was asked for."""
        content, mix = inputs.prepared, inputs.mix
        if self.refinement is None:
            return self.transfer(content, mix, on_step)
        painted = self.transfer(content, self._drafted(mix))
        return self.refinement(content, mix, on_step, init=painted)

    @shows_controls
    def fit(
        self,
        content: ImageLike,
        *,
        refine: str | int | None = None,
        **controls: Unpack[ControlOptions],
    ) -> Look:
        """Fits the look's styles to another photo of any size.

        Args:
            content: the photo as path, PIL image, array or tensor.
            refine: steps (``50``) or seconds (``30s``) of the refinement; None for the look's own.
            **controls: fields of `Controls`; the look's own are the defaults. A look that was
                loaded cannot measure its styles anew.

        Returns:
            A new look.

        Raises:
            ControlError: a value is not allowed, or needs a style to be measured anew.
            ImageError: the photo cannot be read.
            TooLargeError: the photo needs more memory than is free.
        """
        options: dict[str, Any] = {**asdict(self.controls), **controls}
        refine = self.refine if refine is None else refine
        return self.stylizer.fit(content, list(self.styles), refine=refine, **options)

    def recipe(self) -> dict[str, Any]:
        """Returns all that decides the picture: method, settings, controls, hashes of the weights.

        The command line writes it into painted pictures and reads it back with ``--recipe``.
        """
        return self.stylizer.recipe(self.styles, self.codes, self.controls, self.refine)

    def save(self, path: str | Path) -> None:
        """Writes the look to a file, which `Look.load` reads.

        The file holds statistics, controls, settings, and the hashes of the weights; no picture, no
        network and no pickle.

        Args:
            path: the file, NAME.look.

        Raises:
            ControlError: the look has masks, keeps the colours of its photo, or refines.
            OutputError: the file cannot be written, or is not called NAME.look.
        """
        if Path(path).suffix.lower() != LOOK_SUFFIX:
            raise OutputError(f"{path}: looks are kept in {LOOK_SUFFIX} files")
        self.check_can_be_saved()
        self._finish_fitting()
        try:
            packed, tensors = pack(
                {
                    "mix": self.mix,
                    "size": self.size,
                    "weights": self.weights,
                    "transfer": self.transfer,
                    "styles": list(map(_saved, self.styles, self.codes)),
                },
                _modules(self.stylizer.painters()),
            )
        except TypeError as error:
            raise ControlError(f"this look cannot be saved: {error}") from error
        recipe = {k: v for k, v in self.recipe().items() if k not in ("impasto", "sha256")}
        metadata = {
            "impasto_format": _FORMAT,
            "kind": "look",
            "recipe": json.dumps(recipe),
            "look": json.dumps(packed),
        }
        metadata["sha256"] = _digest(metadata, tensors)
        files.replace(Path(path), save(tensors, metadata))

    def check_can_be_saved(self) -> None:
        """Checks that the look does not depend on its photo, so that it can be saved.

        Raises:
            ControlError: the look has masks, keeps the colours of its photo, or refines.
        """
        pictures = [s for s in self.styles if not isinstance(s.source, TrainedLook)]
        if self.mix.masked:
            raise ControlError("a look with masks belongs to its photo: save one without masks")
        if pictures and self.controls.preserve_color != "off":
            raise ControlError(
                "a look that keeps its photo's colours cannot paint others: save one without "
                "preserve_color"
            )
        if self.refinement is not None:
            raise ControlError("refine needs the style's picture: save a look without it")

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", stylizer: Stylizer | None = None
    ) -> Look:
        """Reads a look that `Look.save` wrote.

        Args:
            path: the file.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            stylizer: the stylizer that paints, if its method is one of your own; None to load the
                one that the look was saved with.

        Raises:
            SetupError: there is no such device.
            WeightsError: the file cannot be read, or the weights that it needs have changed.
        """
        path = Path(path)
        metadata, tensors = _read(path)
        with _damage_reported(path):
            recipe = Recipe.of(renamed(json.loads(metadata["recipe"])))
            packed = json.loads(metadata["look"])["dict"]
        if stylizer is None:
            stylizer = recipe.stylizer(device)
        with _damage_reported(path):
            look = _loaded(stylizer, recipe.controls, packed, tensors)
            for name, sha256 in packed["weights"]["dict"].items():
                if look.weights.get(name) != sha256:
                    raise WeightsError(
                        f"{path}: was made with other weights of the name {name}, sha256 "
                        f"{sha256[:12]}...; use the version of impasto that it was made with"
                    )
        return look


def _saved(style: EncodedStyle, code: StyleCode) -> dict[str, Any]:
    """A style as it is kept: what is measured of it, and no picture."""
    source = style.style.source
    return {
        "name": Path(source).name if isinstance(source, (str, Path)) else "picture",
        "weight": style.style.weight,
        "look": style.source if isinstance(style.source, TrainedLook) else None,
        "code": code,
    }


def _loaded(
    stylizer: Stylizer,
    controls: Controls,
    packed: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> Look:
    """Puts a look together; its networks are those here."""

    def part(name: str) -> Any:
        modules = _modules(stylizer.painters())
        return unpack(packed[name], tensors, modules, stylizer.device)

    styles: list[EncodedStyle] = []
    codes: list[StyleCode] = []
    for saved in part("styles"):
        look, code = saved["look"], saved["code"]
        method = stylizer.method if look is None else stylizer.looks
        if look is not None:  # whose network is here
            code = StyleCode(method.encode_style(look))
        style = Style(saved["name"], saved["weight"])
        styles.append(EncodedStyle(style, look, method, (None, code), controls))
        codes.append(code)
    height, width = part("size")
    mix, transfer = part("mix"), part("transfer")
    if not (isinstance(mix, Mix) and isinstance(transfer, Transfer) and styles):
        raise TypeError("not what a look is made of")
    return Look(
        stylizer,
        controls,
        styles,
        codes,
        mix,
        (int(height), int(width)),
        transfer,
        None,
        None,
    )


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of all that a look holds, so that damage is seen."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name in sorted(tensors):
        data = tensors[name].contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + data.numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of a saved look.

    Raises:
        WeightsError: missing, damaged, or no look.
    """
    with weights.opened(path, "look") as file:
        metadata, tensors = weights.contents(file)
    if metadata.pop("sha256", None) != _digest(metadata, tensors):
        raise WeightsError(f"{path}: not a look, or damaged; save it anew")
    if metadata.get("kind") != "look" or metadata.get("impasto_format") != _FORMAT:
        raise WeightsError(f"{path}: not a look, or of another version of impasto; save it anew")
    return metadata, tensors


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Turns what is wrong with the parts of a saved look into a `WeightsError` of one line."""
    try:
        yield
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ImportError,
        RecursionError,
    ) as error:
        if isinstance(error, ControlError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged, or of another version ({reason})") from error


def _modules(painters: Mapping[str, Method]) -> dict[str, nn.Module]:
    """Methods and the networks in them by name."""
    return {
        f"{name}.{part}".rstrip("."): module
        for name, method in painters.items()
        for part, module in method.named_modules()
    }


def render_size(size: tuple[int, int], longer_side: int | None) -> tuple[int, int]:
    """Returns the height and width of a picture whose longer side is scaled.

    Args:
        size: height and width of the picture.
        longer_side: what its longer side becomes, in pixels; None to leave it.

    Raises:
        ControlError: the shorter side would become too small.
    """
    height, width = size
    if longer_side is None:
        return height, width
    scale = longer_side / max(height, width)
    height, width = round(height * scale), round(width * scale)
    if min(height, width) < MIN_SIDE:
        raise ControlError(
            f"size is {longer_side}: this picture would become {width}x{height}, at least "
            f"{MIN_SIDE} pixels a side are needed"
        )
    return height, width


def _prepared(pixels: Tensor, mode: ColorMode) -> Tensor:
    if mode != "luminance":
        return pixels
    return by_strips(lambda part: color.prepare_content(part, mode), pixels)


def _finishing(on_step: OnStep, finish: Callable[[Tensor], Tensor]) -> OnStep:
    """An ``on_step`` that passes progress on, its picture having gone through ``finish``."""

    def step(progress: Progress) -> None:
        on_step(replace(progress, image=lambda: finish(progress.image())))

    return step


def _ending(on_step: OnStep | None, last: int) -> OnStep:
    """An ``on_step`` that ends the painting after a step."""

    def step(progress: Progress) -> None:
        if on_step is not None:
            on_step(replace(progress, steps=min(progress.steps, last)))
        if last <= progress.step < progress.steps:
            raise Stop

    return step
