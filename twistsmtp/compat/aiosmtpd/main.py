"""The command line: a server that gives mail to a handler, until it is told to end."""

import asyncio
import logging
import os
import signal
import ssl
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from twistsmtp.compat.aiosmtpd import __version__, _get_or_new_eventloop
from twistsmtp.compat.aiosmtpd.smtp import DATA_SIZE_DEFAULT, SMTP

pwd: Any
try:
    import pwd
except ImportError:  # where there are no users
    pwd = None

__all__ = ["main", "parseargs"]

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 8025
DEFAULT_CLASS = "twistsmtp.compat.aiosmtpd.handlers.Debugging"

#: What it calls itself.
PROGRAM = "twistsmtp" if "__main__.py" in sys.argv[0] else sys.argv[0]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog=PROGRAM, description="An SMTP server that gives mail to a handler.")
    add = parser.add_argument
    add("-v", "--version", action="version", version=f"%(prog)s {__version__}")
    add(
        "-n",
        "--nosetuid",
        dest="setuid",
        default=True,
        action="store_false",
        help="Stay the user that has started it. Without this it becomes nobody, which only root can.",
    )
    add(
        "-c",
        "--class",
        dest="classpath",
        metavar="CLASSPATH",
        default=DEFAULT_CLASS,
        help=f"The handler's class, with its module; {DEFAULT_CLASS} by default.",
    )
    add(
        "-s",
        "--size",
        metavar="SIZE",
        type=int,
        help=f"Octets of the greatest message, which the server announces; for example {DATA_SIZE_DEFAULT}.",
    )
    add("-u", "--smtputf8", default=False, action="store_true", help="Take addresses in UTF-8 (RFC 6531).")
    add("-d", "--debug", default=0, action="count", help="Say more; up to three times.")
    add(
        "-l",
        "--listen",
        metavar="[HOST][:PORT]",
        nargs="?",
        default=None,
        help=f"Where to listen; {DEFAULT_HOST}:{DEFAULT_PORT} by default, and for what is left out.",
    )
    for option, what in (("smtps", "TLS from the first octet on"), ("tls", "STARTTLS")):
        for file, name in (("cert", "certificate"), ("key", "key")):
            add(
                f"--{option}{file}",
                metavar=f"{file.upper()}FILE",
                type=Path,
                default=None,
                help=f"The {name} for {what}. A certificate needs its key.",
            )
    add(
        "--no-requiretls",
        dest="requiretls",
        default=True,
        action="store_false",
        help="Take mail without STARTTLS, too, where that is offered.",
    )
    add("classargs", metavar="CLASSARGS", nargs="*", default=(), help="What the handler's class is given.")
    return parser


def parseargs(args: Sequence[str] | None = None) -> tuple[ArgumentParser, Namespace]:
    """What the command line says, with the handler in ``handler``, and where to listen in ``host`` and ``port``."""
    parser = _parser()
    parsed = parser.parse_args(args)
    parsed.handler = _handler(parser, parsed.classpath, parsed.classargs)
    parsed.host, parsed.port = _place(parser, parsed.listen)
    for option in ("smtps", "tls"):
        _check_files(parser, option, getattr(parsed, f"{option}cert"), getattr(parsed, f"{option}key"))
    return parser, parsed


def _handler(parser: ArgumentParser, classpath: str, arguments: Sequence[str]) -> Any:
    module, _, name = classpath.rpartition(".")
    kind = getattr(import_module(module), name)
    if hasattr(kind, "from_cli"):
        return kind.from_cli(parser, *arguments)
    if arguments:
        parser.error(f"Handler class {module} takes no arguments")
    return kind()


def _place(parser: ArgumentParser, listen: str | None) -> tuple[str, int]:
    host, colon, port = (listen or "").rpartition(":")
    if not colon:
        return port or DEFAULT_HOST, DEFAULT_PORT
    try:
        return host or DEFAULT_HOST, int(port or DEFAULT_PORT)
    except ValueError:
        parser.error(f"Invalid port number: {port}")


def _check_files(parser: ArgumentParser, option: str, certificate: Path | None, key: Path | None) -> None:
    if bool(certificate) != bool(key):
        parser.error(f"--{option}cert and --{option}key must be specified together")
    for what, file in (("Cert", certificate), ("Key", key)):
        if file is not None and not file.exists():
            parser.error(f"{what} file {file} not found")


def _context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.check_hostname = False
    context.load_cert_chain(certificate, key)
    return context


def _become_nobody() -> None:
    if pwd is None:
        _give_up('Cannot import module "pwd"; try running with -n option.')
    try:
        os.setuid(pwd.getpwnam("nobody").pw_uid)
    except PermissionError:
        _give_up('Cannot setuid "nobody"; try running with -n option.')


def _give_up(why: str) -> None:
    print(why, file=sys.stderr)  # noqa: T201
    sys.exit(1)


def main(args: Sequence[str] | None = None) -> None:
    """Listen, until the loop is stopped or somebody presses Ctrl-C."""
    _, options = parseargs(args)
    if options.setuid:
        _become_nobody()
    factory = partial(
        SMTP,
        options.handler,
        data_size_limit=options.size,
        enable_SMTPUTF8=options.smtputf8,
        tls_context=_context(options.tlscert, options.tlskey),
        require_starttls=options.requiretls,
    )
    logging.basicConfig(level=logging.ERROR)
    log = logging.getLogger("mail.log")
    loop = _get_or_new_eventloop()
    if options.debug:
        log.setLevel(logging.INFO if options.debug == 1 else logging.DEBUG)
        loop.set_debug(options.debug > 2)
    log.debug("Attempting to start server on %s:%s", options.host, options.port)
    smtps = _context(options.smtpscert, options.smtpskey)
    server = loop.run_until_complete(loop.create_server(factory, host=options.host, port=options.port, ssl=smtps))
    log.info("Server is listening on %s:%s", options.host, options.port)
    with suppress(NotImplementedError, RuntimeError):  # there are no signals here, or not for this thread
        loop.add_signal_handler(signal.SIGINT, loop.stop)
    try:
        with suppress(KeyboardInterrupt):
            loop.run_forever()
    finally:
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


if __name__ == "__main__":
    main()
