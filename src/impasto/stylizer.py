"""`Stylizer` paints any number of pictures by one method; `stylize` paints a single one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Unpack, overload

import torch
from PIL import Image

from impasto import __version__, color, gallery, images
from impasto.coarse_to_fine import CoarseToFine, StyleCode
from impasto.controls import Controls, Style
from impasto.encoding import EncodedStyle, Styles, as_styles, by_method, resolve, weights_used
from impasto.errors import ControlError, SetupError
from impasto.gallery import TrainedLook
from impasto.images import ImageLike, Picture
from impasto.look import Inputs, Look, PathOrPIL, PictureT, render_size
from impasto.memory import check_memory, memory_guarded
from impasto.methods import Method, OnStep, Transfer, assign, load_method, settings_of
from impasto.methods.blended import BlendedTransfer
from impasto.methods.fast import Fast, FastConfig
from impasto.methods.gatys import Gatys, GatysConfig, GatysTransfer
from impasto.mixing import Mix
from impasto.options import ControlOptions, MethodOptions, Options, shows_controls
from impasto.processes import check_not_forked
from impasto.recipes import Recipe
from impasto.settings import make_settings

_ENDLESS = 10**6
"""Number of steps where seconds set the end."""


class Stylizer:
    """A method, loaded on a device, ready to paint any number of pictures.

    Args:
        method: ``adain``, ``styletr``, ``fast`` or ``gatys``; ``adain.small`` and the like for
            trained weights of that name; ``auto`` for the first method that has the settings given;
            or an `impasto.methods.Method` of your own. Trained looks are painted by ``fast``
            whatever the method.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        refine: steps (``50``) or seconds (``30s``) for which the optimiser refines what the method
            painted; None for none.
        **settings: settings of the method, for instance those of
            `impasto.methods.adain.AdainConfig`; with ``refine`` also the optimiser's.

    Raises:
        ControlError: there is no such method or setting, or a value is not allowed.
        SetupError: there is no such device.
        WeightsError: weights are missing or damaged.
    """

    def __init__(
        self,
        method: str | Method = "auto",
        *,
        device: str = "auto",
        refine: str | int | None = None,
        **settings: Unpack[MethodOptions],
    ) -> None:
        self.device = find_device(device)
        self.refine = _steps_or_seconds(refine)
        self.auto = method == "auto"
        self._looks: Fast | None = None
        self._refiners: dict[str, Gatys] = {}
        if not isinstance(method, (str, Method)):
            raise ControlError(f"method is {method!r}: use a name, or a Method of your own")
        name = method if isinstance(method, str) else "auto"
        options: dict[str, Any] = dict(settings)
        self._settings = assign(name, options, refined=refine is not None)
        if isinstance(method, str):
            method = load_method(self._settings.method, **self._settings.own)
        elif extra := self._settings.own.keys() - self._settings.optimiser.keys():
            raise ControlError(
                f"{min(extra)}: a method that is given has its settings; leave it out"
            )
        self.method = method.to(self.device).eval()
        self.name = type(method).__name__.lower()
        if refine is not None:
            self._refiner(refine)

    @property
    def optimises(self) -> bool:
        """Whether a picture is optimised, in many steps with losses, by the method or after it."""
        return self.refine is not None or isinstance(self.method, Gatys)

    @property
    def looks(self) -> Method:
        """The method ``fast``, which paints trained looks; it is loaded when it is first used."""
        if isinstance(self.method, Fast):
            return self.method
        if self._looks is None:
            self._looks = Fast(make_settings(FastConfig, self._settings.looks)).to(self.device)
        return self._looks

    def encode(self, styles: Styles) -> list[EncodedStyle]:
        """Reads styles once for any number of photos; what is measured of them is kept, too.

        Args:
            styles: one or several, as pictures, as names of bundled styles, or as `Style`.

        Returns:
            Encoded styles, which `fit` and `stylize` take in place of the styles.

        Raises:
            ControlError: there is no such style, or the method cannot paint it.
            ImageError: a style picture cannot be read.
            WeightsError: weights are missing or damaged.
        """
        check_not_forked()
        encoded = [
            one if isinstance(one, EncodedStyle) and self._paints(one) else self._encoded(one)
            for one in as_styles(styles)
        ]
        trained = [one for one in encoded if isinstance(one.source, TrainedLook)]
        if trained and len(trained) == len(encoded):
            self._check_all_trained(trained[0])
        alone = self._settings.looks.keys() - set(settings_of(self._settings.method))
        if alone and not trained:
            raise ControlError(f"{min(alone)} is for trained styles: leave it out, or add one")
        return encoded

    def _paints(self, style: EncodedStyle) -> bool:
        """Whether a style was encoded for the methods of this stylizer."""
        return style.method is (
            self.looks if isinstance(style.source, TrainedLook) else self.method
        )

    def _encoded(self, style: Style | EncodedStyle) -> EncodedStyle:
        """Encodes a style for this stylizer's methods, whatever it was encoded for before."""
        if isinstance(style, EncodedStyle):
            if style.source is None:
                raise ControlError(
                    f"'{style.style.source}' is of a saved look, and belongs to it: use Look.fit"
                )
            source, style = style.source, style.style
        else:
            source = resolve(style)
        if isinstance(source, Picture) and isinstance(self.method, Fast):
            raise ControlError(
                f"{images.name_of(style.source)}: method {self.name} paints trained styles, not "
                "pictures; name one of `impasto styles`, or use another method"
            )
        return EncodedStyle(
            style, source, self.looks if isinstance(source, TrainedLook) else self.method
        )

    def _check_all_trained(self, style: EncodedStyle) -> None:
        """Raises `ControlError` if no style is a picture, and something asks for one."""
        if isinstance(self.method, Fast):
            return
        if not self.auto:
            raise ControlError(
                f"'{style.style.source}' is a trained style, and method {self.name} needs the "
                "picture of one"
            )
        make_settings(FastConfig, {**self._settings.looks, **self._settings.own})

    @shows_controls
    def fit(
        self,
        content: ImageLike,
        styles: Styles,
        *,
        refine: str | int | None = None,
        **controls: Unpack[ControlOptions],
    ) -> Look:
        """Fits styles to a photo: measures what painting needs to know of both.

        Args:
            content: the photo as path, PIL image, array or tensor.
            styles: one or several, as pictures, as names of bundled styles, as `Style` (with weight
                and mask), or as `encode` returned them.
            refine: steps (``50``) or seconds (``30s``) of the refinement; None for the stylizer's
                own.
            **controls: fields of `Controls`.

        Returns:
            A look, which paints the photo when it is called.

        Raises:
            ControlError: a value is not allowed, or the method cannot paint these styles.
            ImageError: a picture cannot be read.
            TooLargeError: the picture needs more memory than is free.
            WeightsError: weights are missing or damaged.
        """
        knobs: Controls = make_settings(Controls, dict(controls))
        refine = self.refine if refine is None else _steps_or_seconds(refine)
        encoded = self.encode(styles)
        self.check_controls(encoded, knobs, refine)
        photo = images.read(content)
        height, width = render_size(photo.size, knobs.size)
        self.check_memory(height, width, encoded, knobs, refine)
        masks = [
            None if one.style.mask is None else images.read_mask(one.style.mask, *photo.size)
            for one in encoded
        ]
        shares = [one.style.weight for one in encoded]
        mix = Mix.of(*photo.size, shares, masks, knobs.strength)
        refinement = None
        with memory_guarded(self.method.footprint, height, width):
            inputs = Inputs.of(photo, mix, knobs, self.device)
            sample = color.sampled(inputs.pixels)
            if refine is not None:
                pixels = [one.pixels(sample, height * width, knobs) for one in encoded]
                refinement, _ = self._refiner(refine).fit(
                    inputs.prepared, pixels, inputs.mix, seed=knobs.seed
                )
                refinement = replace(refinement, stop_after=knobs.stop_after)
            codes = [one.code(sample, height * width, knobs) for one in encoded]
            transfer = self._transfer(encoded, codes, inputs, knobs)
        notes = (
            *photo.notes,
            *(n for one in encoded if isinstance(one.source, Picture) for n in one.source.notes),
        )
        return Look(
            self,
            knobs,
            encoded,
            codes,
            mix,
            photo.size,
            transfer,
            refinement,
            refine,
            notes,
            inputs,
            content,
        )

    def _transfer(
        self,
        styles: Sequence[EncodedStyle],
        codes: Sequence[StyleCode],
        inputs: Inputs,
        controls: Controls,
    ) -> Transfer:
        """The fitted function that paints: that of the styles' method, or several blended."""
        groups = by_method(styles)
        if len(groups) == 1:
            return _fitted(styles[0].method, codes, inputs, inputs.mix, controls)
        transfers = [
            _fitted(method, [codes[n] for n in numbers], inputs, inputs.mix.only(numbers), controls)
            for method, numbers in groups.items()
        ]
        return BlendedTransfer(transfers, list(groups.values()))

    @overload
    def stylize(
        self,
        content: PathOrPIL,
        styles: Styles,
        *,
        refine: str | int | None = ...,
        on_step: OnStep | None = ...,
        **controls: Unpack[ControlOptions],
    ) -> Image.Image: ...
    @overload
    def stylize(
        self,
        content: PictureT,
        styles: Styles,
        *,
        refine: str | int | None = ...,
        on_step: OnStep | None = ...,
        **controls: Unpack[ControlOptions],
    ) -> PictureT: ...
    @shows_controls
    def stylize(
        self,
        content: ImageLike,
        styles: Styles,
        *,
        refine: str | int | None = None,
        on_step: OnStep | None = None,
        **controls: Unpack[ControlOptions],
    ) -> Any:
        """Paints a photo in one or several styles: `fit`, and the look that it returns called once.

        Args:
            content: the photo as path, PIL image, array or tensor.
            styles: one or several, as pictures, as names of bundled styles, as `Style` (with weight
                and mask), or as `encode` returned them.
            refine: steps (``50``) or seconds (``30s``) of the refinement; None for the stylizer's
                own.
            on_step: called after each step with a `Progress`; it may raise `impasto.Stop` to end
                the painting early.
            **controls: fields of `Controls`.

        Returns:
            A picture of the same type as the photo; a PIL image if that is a path.

        Raises:
            ControlError: a value is not allowed, or the method cannot paint these styles.
            ImageError: a picture cannot be read.
            TooLargeError: the picture needs more memory than is free.
            WeightsError: weights are missing or damaged.
        """
        return self.fit(content, styles, refine=refine, **controls)(on_step=on_step)

    def painters(self, refine: str | int | None = None) -> dict[str, Method]:
        """Returns the methods that may take part in a painting.

        Args:
            refine: steps (``50``) or seconds (``30s``) of the refinement; None for none.

        Returns:
            By the part that they take: ``method``, ``looks`` and, if it refines, ``refiner``.
        """
        refiner = {} if refine is None else {"refiner": self._refiner(refine)}
        return {"method": self.method, "looks": self.looks, **refiner}

    def described(
        self, styles: Sequence[EncodedStyle], refine: str | int | None = None
    ) -> dict[str, Any]:
        """Returns method and settings as recipes in pictures have them.

        Args:
            styles: the styles that are painted.
            refine: steps (``50``) or seconds (``30s``) of the refinement; None for none.
        """
        trained = [isinstance(one.source, TrainedLook) for one in styles]
        method = self.looks if all(trained) else self.method
        settings = {} if method.config is None else asdict(method.config)
        if any(trained):
            settings = {**asdict(self.looks.config), **settings}
        if refine is not None:
            optimiser = asdict(self._refiner(refine).config)
            for name in ("iterations", "seconds"):  # which `refine` says
                del optimiser[name]
            settings |= {"refine": refine, **optimiser}
        return {"method": "fast" if all(trained) else self.name, **settings}

    def recipe(
        self,
        styles: Sequence[EncodedStyle],
        codes: Sequence[StyleCode],
        controls: Controls,
        refine: str | int | None,
    ) -> dict[str, Any]:
        """Returns all that decides a picture; see `impasto.Look.recipe`.

        Args:
            styles: the styles that are painted.
            codes: what was measured of each.
            controls: of the painting.
            refine: steps or seconds of the refinement, if any.
        """
        return {
            "impasto": __version__,
            **self.described(styles, refine),
            "sha256": weights_used(styles, codes),
            **asdict(controls),
        }

    def _refiner(self, refine: str | int) -> Gatys:
        """The optimiser that refines a picture for so many steps or seconds."""
        key = str(refine)
        if key not in self._refiners:
            if isinstance(self.method, Gatys):
                raise ControlError("refine is for the other methods: gatys has iterations")
            for name in {"iterations", "seconds"} & set(self._settings.optimiser):
                raise ControlError(f"refine says how long to optimise: leave out {name}")
            # Large forms are painted already.
            options = {"coarse_to_fine": False, **self._settings.optimiser, **parse_refine(refine)}
            self._refiners[key] = Gatys(make_settings(GatysConfig, options)).to(self.device).eval()
        return self._refiners[key]

    def check_controls(
        self, styles: Sequence[EncodedStyle], controls: Controls, refine: str | int | None
    ) -> None:
        """Finds out whether the styles and their methods can do what is asked, whatever the photo.

        Args:
            styles: as `encode` returns them.
            controls: of the painting.
            refine: steps or seconds of the refinement, if any.

        Raises:
            ControlError: they cannot.
        """
        trained = [one for one in styles if isinstance(one.source, TrainedLook)]
        if trained and refine is not None:
            raise ControlError(
                f"'{trained[0].style.source}' is a trained style, and refine needs the picture of "
                "one"
            )
        if len(trained) == len(styles) and controls.style_size is not None:
            raise ControlError("strokes of trained styles have their size: use --size instead")
        if not trained and self.method.footprint.tiling is None:
            _check_networks_only(controls)

    def paints_in_tiles(self, styles: Sequence[EncodedStyle]) -> bool:
        """Whether the styles are painted in tiles, so that a picture may be of any size."""
        return self.refine is None and all(one.method.footprint.tiling for one in styles)

    def check_memory(
        self,
        height: int,
        width: int,
        styles: Sequence[EncodedStyle],
        controls: Controls,
        refine: str | int | None = None,
    ) -> None:
        """Finds out whether there is memory enough to paint.

        Args:
            height: of the result in pixels.
            width: of the result in pixels.
            styles: as `encode` returns them.
            controls: of the painting.
            refine: steps or seconds of the refinement; None for the stylizer's own.

        Raises:
            TooLargeError: there is not.
        """
        refine = self.refine if refine is None else refine
        sizes = [size for one in styles if (size := one.size(height * width, controls))]
        methods = {one.method for one in styles}
        for method in methods if refine is None else [self._refiner(refine)]:
            check_memory(
                method.footprint,
                height,
                width,
                styles=sizes,
                tile=controls.tile,
                device=self.device,
            )


def _fitted(
    method: Method, codes: Sequence[StyleCode], inputs: Inputs, mix: Mix, controls: Controls
) -> Transfer:
    """A method fitted to a photo; one that can paint at any size paints coarse to fine."""
    if method.footprint.tiling is None:
        styles = [style.code for style in codes]
        transfer, _ = method.fit(inputs.prepared, styles, mix, seed=controls.seed)
        if isinstance(transfer, GatysTransfer):
            transfer = replace(transfer, stop_after=controls.stop_after)
        return transfer
    return CoarseToFine(
        method,
        codes,
        inputs.photo.size,
        controls.stroke_size,
        controls.detail,
        controls.tile,
        controls.seed,
    )


@overload
def stylize(
    content: PathOrPIL,
    styles: Styles,
    *,
    method: str = ...,
    device: str = ...,
    refine: str | int | None = ...,
    on_step: OnStep | None = ...,
    **options: Unpack[Options],
) -> Image.Image: ...
@overload
def stylize(
    content: PictureT,
    styles: Styles,
    *,
    method: str = ...,
    device: str = ...,
    refine: str | int | None = ...,
    on_step: OnStep | None = ...,
    **options: Unpack[Options],
) -> PictureT: ...
@shows_controls
def stylize(
    content: ImageLike,
    styles: Styles,
    *,
    method: str = "auto",
    device: str = "auto",
    refine: str | int | None = None,
    on_step: OnStep | None = None,
    **options: Unpack[Options],
) -> Any:
    """Paints a photo in one or several styles: a `Stylizer` that is used once.

    Args:
        content: the photo as path, PIL image, array or tensor.
        styles: one or several, as pictures, as names of bundled styles, or as `Style` (with weight
            and mask).
        method: ``adain``, ``styletr``, ``fast`` or ``gatys``; ``adain.small`` and the like for
            trained weights of that name; ``auto`` for the first method that has the settings given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        refine: steps (``50``) or seconds (``30s``) for which the optimiser refines what the method
            painted; None for none.
        on_step: called after each step with a `Progress`; it may raise `impasto.Stop` to end the
            painting early.
        **options: fields of `Controls`, and settings of the method.

    Returns:
        A picture of the same type as the photo; a PIL image if that is a path.

    Raises:
        ControlError: there is no such method or setting, or a value is not allowed.
        ImageError: a picture cannot be read.
        SetupError: there is no such device.
        TooLargeError: the picture needs more memory than is free.
        WeightsError: weights are missing or damaged.
    """
    recipe = Recipe.of({"method": method, "refine": refine, **options})
    stylizer = recipe.stylizer(device)
    return stylizer.fit(content, styles, **recipe.given)(on_step=on_step)


def paint_sheet(content: ImageLike, *, device: str = "auto", side: int = 384) -> Picture:
    """Paints a photo in each bundled trained style, all on one contact sheet.

    Args:
        content: the photo, which comes first on the sheet.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        side: longer side of each picture on the sheet, in pixels.

    Raises:
        ImageError: the photo cannot be read.
        SetupError: there is no such device.
        WeightsError: weights are missing or damaged.
    """
    photo, stylizer = images.read(content), Stylizer("fast", device=device)
    photo = photo.resized(*render_size(photo.size, min(side, max(photo.size))))
    painted = {name: stylizer.stylize(photo, name) for name in gallery.trained()}
    return images.sheet({"photo": photo, **painted})


def _steps_or_seconds(refine: str | int | None) -> str | int | None:
    """``refine`` with steps as a number, however they are written."""
    return int(refine) if isinstance(refine, str) and refine.isdecimal() else refine


def parse_refine(text: str | int) -> dict[str, Any]:
    """Reads ``50`` (steps) or ``30s`` (seconds) as settings of the optimiser.

    Raises:
        ControlError: the text has neither form.
    """
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d*)?)s", str(text))
    if match is None or not float(match[1] or match[2]):
        raise ControlError(f"refine is '{text}': write a number of steps (50) or seconds (30s)")
    if match[1]:
        return {"iterations": int(match[1])}
    return {"iterations": _ENDLESS, "seconds": float(match[2])}


def find_device(name: str) -> torch.device:
    """Finds a device by name.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; ``auto`` for a GPU if there is one.

    Raises:
        SetupError: there is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise SetupError(f"device '{name}' is not on this machine: use auto or cpu") from error
    return device


def _check_networks_only(controls: Controls) -> None:
    """Raises `ControlError` for what the optimiser has other settings for."""
    for name, instead in (("stroke_size", "style_size"), ("detail", "content_weight")):
        value, default = getattr(controls, name), getattr(Controls, name)
        if value != default:
            raise ControlError(f"{name} is for networks: the optimiser has {instead} instead")
