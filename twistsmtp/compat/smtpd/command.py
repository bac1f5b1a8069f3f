"""The command line: ``python -m twistsmtp.compat.smtpd``, which takes what ``python -m smtpd`` took."""

import getopt
import importlib
import os
import sys
from contextlib import suppress
from typing import NoReturn

from twistsmtp.compat.smtpd.loops import loop
from twistsmtp.compat.smtpd.values import COMMASPACE, __version__, package

__all__ = ["Options", "main", "parseargs", "usage"]

USAGE = """\
Usage: %(program)s [options] [localhost:port [remotehost:port]]

Listens on the first address, localhost:8025 if there is none, and gives what comes to a server of the class that is
named: by default a proxy to the second address, localhost:25 if there is none.

Options:

    --nosetuid, -n           Do not become the user "nobody", which takes root to do.
    --version, -V            Print the version, and exit.
    --class name, -c name    The class of the server: PureProxy, DebuggingServer, or one of your own as package.Name.
    --size limit, -s limit   Octets that a message may have.
    --smtputf8, -u           Offer SMTPUTF8 (RFC 6531).
    --debug, -d              Print what happens.
    --help, -h               Print this, and exit.

Version: %(__version__)s
"""


class Options:
    """What the command line says."""

    setuid = True
    classname = "PureProxy"
    size_limit: int | None = None
    enable_SMTPUTF8 = False
    localhost: str
    localport: int
    remotehost: str
    remoteport: int


def usage(code: int, msg: str = "") -> NoReturn:
    """Say how the command is used, and exit with *code*."""
    _say(USAGE % {"program": package().program, "__version__": __version__})
    if msg:
        _say(msg)
    sys.exit(code)


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


_WORDS = ["class=", "nosetuid", "version", "help", "size=", "debug", "smtputf8"]


def parseargs() -> Options:
    """Read the command line; one that makes no sense ends the program."""
    try:
        opts, args = getopt.getopt(sys.argv[1:], "nVhc:s:du", _WORDS)
    except getopt.error as error:
        usage(1, str(error))
    options = Options()
    for opt, arg in opts:
        match opt:
            case "-h" | "--help":
                usage(0)
            case "-V" | "--version":
                print(__version__)  # noqa: T201
                sys.exit(0)
            case "-n" | "--nosetuid":
                options.setuid = False
            case "-c" | "--class":
                options.classname = arg
            case "-d" | "--debug":
                package().DEBUGSTREAM = sys.stderr
            case "-u" | "--smtputf8":
                options.enable_SMTPUTF8 = True
            case _:
                options.size_limit = _size(arg)
    if len(args) > 2:
        usage(1, f"Invalid arguments: {COMMASPACE.join(args)}")
    local, remote = (*args, *("localhost:8025", "localhost:25")[len(args) :])
    options.localhost, options.localport = _address("local", local)
    options.remotehost, options.remoteport = _address("remote", remote)
    return options


def _size(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        _say(f"Invalid size: {text}")
        sys.exit(1)


def _address(which: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        usage(1, f"Bad {which} spec: {text}")
    try:
        return host.removeprefix("[").removesuffix("]"), int(port)
    except ValueError:
        usage(1, f"Bad {which} port: {text}")


def main() -> None:
    """Serve until control-C is pressed."""
    package().program = sys.argv[0]
    options = parseargs()
    module, _, name = options.classname.rpartition(".")
    make = getattr(importlib.import_module(module) if module else package(), name)
    make(
        (options.localhost, options.localport),
        (options.remotehost, options.remoteport),
        options.size_limit,
        enable_SMTPUTF8=options.enable_SMTPUTF8,
    )
    if options.setuid:
        _become_nobody()
    with suppress(KeyboardInterrupt):
        loop()


def _become_nobody() -> None:
    try:
        import pwd
    except ImportError:
        _say('Cannot import module "pwd"; try running with -n option.')
        sys.exit(1)
    try:
        os.setuid(pwd.getpwnam("nobody")[2])
    except PermissionError:
        _say('Cannot setuid "nobody"; try running with -n option.')
        sys.exit(1)
