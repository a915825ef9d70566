"""Folders of pictures on this machine, and elsewhere by URL: ``s3://bucket/photos``.

Files in them are called by their path from the folder, with slashes: ``trip/beach.jpg``.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from impasto import files, formats
from impasto.errors import ImageError, ImpastoError, OutputError, SetupError, reason
from impasto.train.data import find_pictures

_ARROW = frozenset({"s3", "gs", "gcs"})
"""Stores that Arrow opens, by the scheme of their URLs; the others are opened by fsspec."""
_AWS_ERROR = re.compile(r"AWS Error (\w+) .*?: (.*)")


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this machine, or on a disk that all machines see. It can be sent to other
    processes.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        """What the folder is known by, however it is spelled."""
        return str(self.path.resolve())

    def absolute(self) -> LocalFolder:
        """The folder, whatever the working folder is."""
        return LocalFolder(self.path.absolute())

    def pictures(self) -> list[str]:
        """The pictures in it by name, but for hidden ones. Links to folders are followed.

        Raises:
            ImageError: there is no such folder, or no picture in it.
        """
        return [path.relative_to(self.path).as_posix() for path in find_pictures(self.path)]

    def names(self) -> set[str]:
        """All files in it; none if there is no such folder."""
        return {
            Path(folder, name).relative_to(self.path).as_posix()
            for folder, _, names in os.walk(self.path)
            for name in names
        }

    def read(self, name: str) -> bytes:
        """What a file holds."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all; folders are made as need be.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.path / name
        files.make_folder(path.parent, parents=True)
        files.replace(path, data)

    def remove(self, name: str) -> None:
        """Removes a file."""
        (self.path / name).unlink()


@dataclass(frozen=True)
class RemoteFolder:
    """A folder by URL, of any file system that Arrow or fsspec knows. It can be sent to other
    machines, which open it by themselves.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def identity(self) -> str:
        """As of `LocalFolder`."""
        return unquote(self.url).rstrip("/")

    def absolute(self) -> RemoteFolder:
        """As of `LocalFolder`."""
        return self

    def pictures(self) -> list[str]:
        """As of `LocalFolder`."""
        extensions = formats.readable()
        found = sorted(
            name
            for name in self.names()
            if PurePosixPath(name).suffix.lower() in extensions
            and not any(part.startswith(".") for part in PurePosixPath(name).parts)
        )
        if not found:
            if not self._exists():
                raise ImageError(f"{self}: there is no such folder or bucket")
            raise ImageError(f"{self}: there are no pictures here ({', '.join(extensions)})")
        return found

    def _exists(self) -> bool:
        with self._reported(ImageError):
            system, root = _opened(self.url)
            return bool(system.exists(root))

    def names(self) -> set[str]:
        """As of `LocalFolder`."""
        with self._reported(ImageError):
            system, root = _opened(self.url)
            return {name.removeprefix(root).lstrip("/") for name in _files(system, root)}

    def read(self, name: str) -> bytes:
        """As of `LocalFolder`."""
        with self._reported(ImageError, name):
            system, root = _opened(self.url)
            data: bytes = system.cat_file(f"{root}/{name}")
            return data

    def write(self, name: str, data: bytes) -> None:
        """As of `LocalFolder`. Object stores show an object when all of it is there."""
        with self._reported(OutputError, name):
            system, root = _opened(self.url)
            path = f"{root}/{name}"
            if urlsplit(self.url).scheme in _ARROW:
                system.pipe_file(path, data)
                return
            folder = path.rpartition("/")[0]
            temporary = f"{folder}/{files.TEMPORARY}{secrets.token_hex(8)}"
            system.makedirs(folder, exist_ok=True)
            try:
                system.pipe_file(temporary, data)
                system.mv(temporary, path)
            except BaseException:
                with suppress(Exception):
                    system.rm_file(temporary)
                raise

    def remove(self, name: str) -> None:
        """As of `LocalFolder`."""
        with self._reported(OutputError, name):
            system, root = _opened(self.url)
            system.rm_file(f"{root}/{name}")

    def is_file(self) -> bool:
        """Whether the URL is a file's."""
        with self._reported(ImageError):
            system, root = _opened(self.url)
            return bool(system.isfile(root))

    @contextmanager
    def _reported(self, kind: type[ImpastoError], name: str = "") -> Iterator[None]:
        """Turns whatever a store says into one line that names the URL."""
        place = f"{self.url.rstrip('/')}/{name}" if name else self.url
        try:
            yield
        except ImpastoError:
            raise
        except Exception as error:
            raise kind(f"{place}: {_explained(error)}") from error


AnyFolder: TypeAlias = LocalFolder | RemoteFolder


def folder_of(place: str | os.PathLike[str]) -> AnyFolder:
    """The folder that a path or a URL means.

    Raises:
        OutputError: it is an empty text, or the URL of a file on another machine.
    """
    text = os.fspath(place)
    if not text:
        raise OutputError("a folder has no name: it is an empty text")
    if "://" not in text:
        return LocalFolder(Path(text))
    parts = urlsplit(text)
    if parts.scheme in ("file", "local"):
        if parts.netloc not in ("", "localhost"):
            raise OutputError(f"{text}: names a machine, {parts.netloc}; write file:///folder")
        return LocalFolder(Path(url2pathname(parts.path)))
    return RemoteFolder(text)


def pictures_of(place: str | os.PathLike[str]) -> tuple[AnyFolder, list[str]]:
    """The pictures at a place: those of a folder, or the one that it is, in its folder.

    Raises:
        ImageError: there are none.
    """
    folder = folder_of(place)
    if isinstance(folder, LocalFolder):
        if folder.path.is_file():
            return LocalFolder(folder.path.parent), [folder.path.name]
    elif folder.is_file():
        parent, name = parent_of(folder.url)
        return parent, [name]
    return folder, folder.pictures()


def parent_of(url: str) -> tuple[RemoteFolder, str]:
    """The folder of a file at a URL, and its name in it."""
    place, mark, archive = url.partition("::")  # such as zip://beach.jpg::holiday.zip
    scheme, _, path = place.partition("://")
    folder, _, name = path.rpartition("/")
    return RemoteFolder(f"{scheme}://{folder}{mark}{archive}"), unquote(name)


@cache
def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the folder's path in it."""
    scheme = urlsplit(url).scheme
    if scheme not in _ARROW:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(url)
        return system, root.rstrip("/")
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{scheme}:// needs the package '{error.name}': pip install 'impasto[cluster]'"
        ) from error
    system, root = FileSystem.from_uri(url)
    return ArrowFSWrapper(system), root.rstrip("/")


def _files(system: Any, root: str) -> Iterable[str]:
    """The paths of all files in a folder; of a store, in one listing rather than one for each of
    its folders.
    """
    if not hasattr(system, "fs") or not hasattr(system.fs, "get_file_info"):
        found: list[str] = system.find(root)
        return found
    from pyarrow.fs import FileSelector

    selector = FileSelector(root, recursive=True, allow_not_found=True)
    return [info.path for info in system.fs.get_file_info(selector) if info.is_file]


def _explained(error: Exception) -> str:
    """What a store said, without the number of the request and the like."""
    if isinstance(error, (ImportError, ValueError)):  # no such scheme, or one that needs a package
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    text = reason(error)
    found = _AWS_ERROR.search(text)
    if found is None:
        return text
    code, message = found.groups()
    if code == "NETWORK_CONNECTION":
        return "cannot be reached; see to the network, and to AWS_ENDPOINT_URL if it is set"
    if code == "NO_SUCH_BUCKET":
        return "there is no such bucket"
    if "ACCESS" in code or "SIGNATURE" in code or "CREDENTIALS" in code:
        return "access is denied; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return f"{message.partition(' (Request ID')[0]} ({code})"
