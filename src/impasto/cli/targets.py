"""Where painted pictures go: files, and the folders that hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from impasto import files, images
from impasto.cli.base import fail
from impasto.errors import OutputError, reason
from impasto.formats import DEEPZOOM, FORMATS, check_extension
from impasto.images import Picture
from impasto.naming import distinct, fitted


def targets_of(contents: Sequence[Path], output: str) -> tuple[Path | None, list[Path]]:
    """The folder that is painted into, and the file for each photo.

    One photo is painted into the file ``output``, unless that is a folder or ends with a slash.
    Several are painted into a folder, as PNG files by the photos' names, told apart if need be.

    Raises:
        OutputError: ``output`` is empty, or has no extension of a picture; or there are several
            photos, and it is a file or named like a picture.
    """
    if not output:
        raise OutputError("the output has no name: name a file, or a folder")
    path = Path(output)
    is_folder = path.is_dir() or output.endswith(("/", os.sep))
    if len(contents) == 1 and not is_folder:
        try:
            check_extension(path)
        except OutputError as error:
            raise OutputError(f"{error}, or write {path}{os.sep} for a folder") from error
        return None, [path]
    if not is_folder and (path.exists() or path.suffix.lower() in {*FORMATS, DEEPZOOM}):
        raise OutputError(
            f"{path}: several photos need a folder as output; with --style, all other pictures "
            "are photos"
        )
    names = distinct(fitted(content.stem or "picture", ".png") for content in contents)
    return path, [path / name for name in names]


@contextmanager
def made(folder: Path | None) -> Iterator[None]:
    """Makes a folder, and those it is in. Ones that nothing was written into go again at the end.

    Raises:
        OutputError: it cannot be made.
    """
    if folder is None:
        yield
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        files.make_folder(folder, parents=True)
        yield
    finally:
        for path in new:
            with suppress(OSError):  # there is something in it
                path.rmdir()


def write_or_rescue(
    target: Path, picture: Picture, recipe: dict[str, Any]
) -> tuple[Path, list[str]]:
    """Writes a painting, elsewhere if need be: it is not lost. Returns where it is, and what went
    wrong, having said it.

    Raises:
        OutputError: it can be written nowhere; or whatever else went wrong first.
    """
    try:
        images.write(target, picture, recipe)
    except Exception as error:  # whatever it is, the painting must not be lost
        place = images.rescue(target, picture, recipe)
        if place is None:
            raise
        text = f"{reason(error)}; the painting is in {place}"
        fail(text)
        return place, [text]
    return target, []
