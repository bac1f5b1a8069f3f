"""``python -m twistsmtp.passwd FILE USER``: adds accounts to a file for ``--auth passwd:FILE``, changes, removes them.

The password is asked for twice and not shown, or read from standard input. All lines of the user are replaced, so
that no old password is left; the other lines of the file stay as they are. The file is written anew beside the old
one and put in its place, so that a server never reads half of it.
"""

import argparse
import fcntl
import getpass
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twistsmtp.checkers.accounts import Accounts, parse_accounts, prepared_name
from twistsmtp.checkers.errors import MissingExtra, extra
from twistsmtp.checkers.hashes import hash_argon2, hash_bcrypt, split_hash, written
from twistsmtp.checkers.scram import SCRAM_ITERATIONS, ScramVerifier, derive_keys
from twistsmtp.sasl.prep import LIMIT, saslprep
from twistsmtp.textfile import BadLines

__all__ = ["SCHEMES", "main"]

#: Octets of a salt.
_SALT = 16


def _scram(digest: str) -> Callable[[str], str]:
    def make(password: str) -> str:
        keys = derive_keys(password, os.urandom(_SALT), SCRAM_ITERATIONS, digest)
        return written(ScramVerifier(digest, keys))

    return make


#: What makes the hash of a password, by scheme.
SCHEMES: dict[str, Callable[[str], str]] = {
    "argon2": hash_argon2,
    "bcrypt": hash_bcrypt,
    "scram-sha-256": _scram("sha-256"),
    "scram-sha-1": _scram("sha-1"),
}


class _Problem(Exception):
    """What the user is told, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: those of the process if there are none.
    :returns: the exit status: 0, or 1 where a check fails or something is wrong.
    """
    options = _parser().parse_intermixed_args(arguments)
    try:
        return _run(options)
    except (_Problem, MissingExtra) as problem:
        text = str(problem)
    except OSError as error:
        text = f"{error.filename or options.file}: {error.strerror}"
    except (KeyboardInterrupt, EOFError):
        text = "nothing is changed"
    sys.stderr.write(f"twistsmtp.passwd: {text}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twistsmtp.passwd", description="Add or change an account in a file for --auth passwd:FILE."
    )
    parser.add_argument("file", metavar="FILE", help="the file; it is made if it is not there")
    parser.add_argument("user", metavar="USER", nargs="?", help="the user's name")
    parser.add_argument(
        "--scheme",
        action="append",
        choices=sorted(SCHEMES),
        help="what to keep of the password; several times for several "
        "(default: argon2 if argon2-cffi is installed, and scram-sha-256)",
    )
    parser.add_argument("--stdin", action="store_true", help="read the password from standard input, its first line")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--delete", action="store_true", help="remove the user")
    action.add_argument("--check", action="store_true", help="ask for the password, and say whether it is right")
    action.add_argument("--list", action="store_true", help="list the users and what there is of their passwords")
    return parser


def _run(options: argparse.Namespace) -> int:
    path = Path(os.path.realpath(options.file))  # a symbolic link stays one
    if path.exists() and not path.is_file():
        raise _Problem(f"{options.file} is no file")
    if options.list:
        return _list(path)
    user = prepared_name(options.user or "")
    if user is None or ":" in user or user.lstrip().startswith("#") or not user.isprintable():
        raise _Problem("a user's name is needed, with no colon and no # in front")
    if options.check:
        return _check(path, user, _password(options.stdin, again=False))
    if options.delete:
        with _locked(path.parent):
            _write(path, _without(_lines_of(path), user))
        _tell(f"{user} is removed")
    else:
        new = _new_lines(user, options.scheme or _default_schemes(), _password(options.stdin, again=True))
        with _locked(path.parent):
            _write(path, _with(_lines_of(path) if path.exists() else [], user, new))
        _tell(f"{user} is written")
    return 0


def _list(path: Path) -> int:
    for account in _read(path):
        _tell(f"{account.name}: {', '.join(each.scheme for each in account.verifiers)}")
    return 0


def _check(path: Path, user: str, password: str) -> int:
    account = _read(path).find(user)
    right = account is not None and account.verify(password)
    _tell("right" if right else "wrong")
    return 0 if right else 1


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _read(path: Path) -> Accounts:
    try:
        return parse_accounts(path.read_bytes())
    except BadLines as problem:
        raise _Problem(f"{path}: {problem}") from None


# --- the password ------------------------------------------------------------------------------------------------


def _password(from_stdin: bool, *, again: bool) -> str:
    """The password, prepared by SASLprep."""
    if from_stdin:
        text = sys.stdin.readline().rstrip("\r\n")
    else:
        text = getpass.getpass("Password: ")
        if again and getpass.getpass("Again: ") != text:
            raise _Problem("these are two passwords")
    try:
        password = saslprep(text, stored=again)
    except ValueError:
        raise _Problem("the password has characters that clients could not send") from None
    if not 0 < len(password.encode()) <= LIMIT:
        raise _Problem(f"a password has 1 to {LIMIT} octets")
    return password


def _default_schemes() -> list[str]:
    try:
        extra("argon2", "argon2")
    except MissingExtra:
        return ["scram-sha-256"]
    return ["argon2", "scram-sha-256"]


def _new_lines(user: str, schemes: Sequence[str], password: str) -> list[str]:
    """A line for each scheme."""
    try:
        return [f"{user}:{SCHEMES[scheme](password)}" for scheme in dict.fromkeys(schemes)]
    except ValueError as error:
        raise _Problem(str(error)) from None


# --- the file ----------------------------------------------------------------------------------------------------


def _user_of(line: bytes) -> str | None:
    """Whose line it is."""
    name, colon, _ = line.partition(b":")
    if line.lstrip().startswith(b"#") or not colon:
        return None
    return prepared_name(name.decode("utf-8", "surrogateescape"))


def _without(lines: list[bytes], user: str) -> list[bytes]:
    kept = [line for line in lines if _user_of(line) != user]
    if len(kept) == len(lines):
        raise _Problem(f"there is no {user}")
    return kept


def _with(lines: list[bytes], user: str, new: Sequence[str]) -> list[bytes]:
    """*lines* with the *new* ones where the user's first line was, or at the end.

    What stood behind the hash there, which another program may need, stands behind the first of them.
    """
    mine = [line for line in lines if _user_of(line) == user]
    place = lines.index(mine[0]) if mine else len(lines)
    rest = mine[0].removesuffix(b"\r").partition(b":")[2] if mine else b""
    _, fields = split_hash(rest.decode("utf-8", "surrogateescape"))
    added = [line.encode() for line in new]
    added[0] += fields.encode("utf-8", "surrogateescape")
    others = [line for line in lines[place:] if _user_of(line) != user]
    return [*lines[:place], *added, *others]


def _lines_of(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n")
    return lines if lines[-1] else lines[:-1]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else who runs this command changes a file in *folder* meanwhile."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.fsync(lock)
    finally:
        os.close(lock)


def _write(path: Path, lines: Sequence[bytes]) -> None:
    """Put a file of *lines* in the place of *path*, with the owner and the mode of the old one, or the mode 0600."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            if path.exists():
                old = path.stat()
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise


if __name__ == "__main__":
    sys.exit(main())
