"""Where certificates are: a PEM file, a pair of them, or a folder."""

from os import PathLike
from pathlib import Path
from typing import TypeAlias

__all__ = ["AnyPath", "Files", "Source", "files_of", "source_of", "stamp_of"]

AnyPath: TypeAlias = str | PathLike[str]
#: What a `Certificates` is given: a file or folder, or the file of the certificate and that of the key.
Source: TypeAlias = AnyPath | tuple[AnyPath, AnyPath]
#: The files that one certificate is read from: one with all in it, or that of the certificate and that of the key.
Files: TypeAlias = tuple[Path, ...]

#: As certbot and other clients of ACME (RFC 8555) name them.
CHAIN, KEY = "fullchain.pem", "privkey.pem"


def source_of(source: Source) -> Files:
    """*source* as paths.

    :raises TypeError: it is none.
    """
    return tuple(map(Path, source)) if isinstance(source, tuple) else (Path(source),)


def files_of(source: Files) -> list[Files]:
    """The files of each certificate of *source*, in the order of their names; at least one.

    :raises OSError: a folder cannot be read.
    :raises ValueError: a folder has no certificate.
    """
    if len(source) > 1 or not source[0].is_dir():
        return [source]
    folder = source[0]
    found = [pair] if (pair := _pair(folder)) else list(filter(None, map(_of_entry, sorted(folder.iterdir()))))
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


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Something that is another when the file at *path* is another; ``None`` where there is none that can be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
