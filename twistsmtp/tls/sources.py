"""Where certificates are: a PEM file, a pair of them, or a folder."""

from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import TypeAlias

__all__ = ["AnyPath", "Files", "Source", "files_of", "source_of"]

AnyPath: TypeAlias = str | PathLike[str]
#: What a `Certificates` is given: a file or folder, or the file of the certificate and that of the key.
Source: TypeAlias = AnyPath | tuple[AnyPath, AnyPath]
#: The files that one certificate is read from: one with all in it, or that of the certificate and that of the key.
Files: TypeAlias = tuple[Path, ...]

#: As certbot and other clients of ACME (RFC 8555) name them.
CHAIN, KEY = "fullchain.pem", "privkey.pem"


def source_of(source: Source) -> Files:
    """*source* as absolute paths: a server that becomes a daemon goes to another folder.

    :raises TypeError: it is none.
    """
    paths = source if isinstance(source, tuple) else (source,)
    return tuple(Path(path).absolute() for path in paths)


def files_of(source: Files) -> list[Files]:
    """The files of each certificate of *source*, in the order of their names; at least one.

    :raises OSError: a folder cannot be read.
    :raises ValueError: a folder has no certificate.
    """
    if len(source) > 1 or not source[0].is_dir():
        return [source]
    folder = source[0]
    found = (
        [pair]
        if (pair := _pair(folder))
        else list(filter(None, map(_of_entry, sorted(folder.iterdir(), key=attrgetter("name")))))
    )
    if not found:
        raise ValueError(f"{folder}: there is no certificate in it: neither *.pem nor a folder with {CHAIN} and {KEY}")
    return found


def _of_entry(path: Path) -> Files | None:
    if path.name.startswith("."):
        return None
    if path.is_dir():
        return _pair(path)
    return (path,) if path.suffix == ".pem" else None


def _pair(folder: Path) -> Files | None:
    pair = (folder / CHAIN, folder / KEY)
    return pair if all(path.exists() for path in pair) else None
