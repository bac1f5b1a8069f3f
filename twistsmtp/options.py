"""The command line of ``twistd smtp`` and ``twist smtp``."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, NoReturn

from twisted.cred import strcred
from twisted.python import usage

from twistsmtp.check import check
from twistsmtp.config import Config, load
from twistsmtp.delivery.find import delivery_makers
from twistsmtp.extensions import load_extensions
from twistsmtp.log import logs_by_itself, one_line
from twistsmtp.policy.find import policy_makers
from twistsmtp.settings import SETTINGS, Setting
from twistsmtp.values import FLAG
from twistsmtp.verb import Registry
from twistsmtp.verbs import CORE

__all__ = ["Options", "give_up"]

INTRODUCTION = (
    "Takes mail over SMTP (RFC 5321) for the domains that it is told, and gives it to a delivery. What is not "
    "said here is looked for in the file of --config, and else has the default that is shown."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """An option in the help."""

    name: str
    metavar: str
    help: str
    example: str
    default: str = ""

    @classmethod
    def of(cls, setting: Setting) -> "_Row":
        return cls(setting.name, setting.kind.metavar, setting.help, setting.example, setting.default)


_MORE_ROWS = (
    _Row(
        "config",
        "FILE",
        "A TOML file with settings of these names, and a table [limits] with all limits there are. What the "
        "command line says wins.",
        "/etc/twistsmtp.toml",
        "no file",
    ),
    _Row(
        "check",
        "",
        "Check the whole configuration, say in plain words what the server would do, or what is wrong, and exit. "
        "Nothing is started or written.",
        "",
    ),
    _Row("print-verbs", "", "Print the table of verbs and extensions, and exit.", ""),
    _Row("version", "", "Print the version, and exit.", ""),
    _Row("help", "", "Print this, and exit.", ""),
)


class Options(usage.Options):
    """What the command line says; all of it is explained by ``--help``."""

    synopsis = "[options]\n"
    optFlags = tuple((each.name, None, each.help) for each in SETTINGS if each.kind is FLAG)
    optParameters = (
        *((each.name, None, None, each.help) for each in SETTINGS if each.kind is not FLAG and not each.many),
        ("config", None, None, "A TOML file with settings of these names."),
    )
    #: What the command line and its file make; `parseOptions` sets it.
    config: Config
    #: The same as they are now, told the name of the server where they have none; ``None`` where there is no file.
    read: Callable[[str], Config] | None = None

    def opt_print_verbs(self) -> None:
        """Print the table of verbs and extensions, and exit."""
        self["print-verbs"] = True

    def opt_check(self) -> None:
        """Check the configuration, say what the server would do, and exit."""
        self["check"] = True

    def opt_version(self) -> NoReturn:
        """Print the version, and exit."""
        sys.stdout.write(f"twistsmtp {_version('twistsmtp')}, Twisted {_version('twisted')}\n")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse *options*, by default those of this process.

        :raises UsageError: something is wrong with them.
        :raises SystemExit: the same under twistd or twist, which would print all of the help before the line
            that says what.
        """
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            give_up(self, error)

    def parseArgs(self, *args: str) -> None:
        """There are options only."""
        if args:
            raise usage.UsageError(f"{args[0]!r} is not an option")

    def postOptions(self) -> None:
        """Make `config` of what was given."""
        given = {name: self[name] for each in SETTINGS if self.get(name := each.name) not in (None, 0)}
        flags = {each.name: True for each in SETTINGS if each.kind is FLAG and each.name in given}
        if "log-format" in given and self.parent is not None and (owner := logs_by_itself(self.parent)):
            raise usage.UsageError(f"--log-format {given['log-format']}: {owner}")
        for each in SETTINGS:
            if each.secret:
                self.pop(each.name, None)  # a repr of this dictionary would show it
        file = self["config"]
        if file is not None:
            path = str(Path(file).absolute())  # a daemon goes to another folder
            self.read = lambda hostname: load(given | flags, path, hostname)
        if self.get("check"):
            sys.exit(check(given | flags, file, self.parent))
        try:
            self.config = load(given | flags, file)
            if self.get("print-verbs"):
                registry = Registry(CORE, load_extensions(self.config.extensions))
                sys.stdout.write(registry.table() + "\n")
                sys.exit(0)
        except ValueError as error:
            raise usage.UsageError(str(error)) from None

    def getUsage(self, width: int | None = None) -> str:
        """What `--help` prints behind the synopsis."""
        width = width or min(get_terminal_size((96, 0)).columns, 100)
        rows = [*map(_Row.of, SETTINGS), *_MORE_ROWS]
        blocks = ["\n".join(_explain(row, width)) for row in rows]
        return "\n\n".join([fill(INTRODUCTION, width), "Options:", *blocks]) + "\n"


def _gather(setting: Setting) -> Callable[[Options, str], None]:
    def gather(options: Options, value: str) -> None:
        options.setdefault(setting.name, []).append(value)

    gather.__doc__ = setting.help
    return gather


for _each in SETTINGS:
    if _each.many:
        setattr(Options, f"opt_{_each.name.replace('-', '_')}", _gather(_each))


def give_up(options: usage.Options, error: Exception) -> NoReturn:
    """End the process with one line that says what is wrong with *options*."""
    command = Path(sys.argv[0]).name
    if command == "__main__.py":
        command = "twist"
    raise SystemExit(f"{command} smtp: {one_line(str(error))}")


def _explain(row: _Row, width: int) -> Iterator[str]:
    yield f"  --{row.name} {row.metavar}".rstrip()
    yield _indented(row.help, width)
    for synopsis, help in _choices(row.name):
        yield _indented(synopsis, width, 8)
        yield _indented(help, width, 10)
    yield _indented(f"Example: --{row.name} {row.example}".rstrip(), width)
    if row.default:
        yield _indented(f"Default: {row.default}", width)


def _choices(name: str) -> Iterator[tuple[str, str]]:
    """What plugins add to an option: how each is written, and what it is."""
    makers: dict[str, Callable[[], list[Any]]] = {"delivery": delivery_makers, "policy": policy_makers}
    if name in makers:
        for maker in makers[name]():
            yield maker.synopsis, maker.help
    elif name == "auth":
        for factory in strcred.findCheckerFactories():
            yield f"{factory.authType}:{factory.argStringFormat}", " ".join(factory.authHelp.split("\n\n")[0].split())


def _indented(text: str, width: int, depth: int = 6) -> str:
    indent = " " * depth
    return fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from a folder where it is not installed
        return "(not installed)"
