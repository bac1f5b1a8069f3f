"""The command line: what it makes, what it explains, how it refuses."""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.config import Config, load
from twistsmtp.delivery.find import IDeliveryMaker
from twistsmtp.options import Options, give_up
from twistsmtp.settings import SETTINGS
from twistsmtp.values import FLAG
from twistsmtp.wire.dotstream import BareNewline


class Parent(usage.Options):
    """As much of twistd's options as ours look at."""

    subCommands = (("smtp", None, Options, "ours"),)

    def __init__(self, **values: object) -> None:
        super().__init__()
        self.update(values)


def parse(*arguments: str) -> Config:
    options = Options()
    options.parseOptions(arguments)
    return options.config


class ParsingTests(SynchronousTestCase):
    """Arguments that are right."""

    def test_nothing(self) -> None:
        self.assertEqual(parse(), load({}))

    def test_everything(self) -> None:
        config = parse(
            *("--listen", "tcp:25", "--listen", "tcp:587", "--hostname=mx.example.org", "--domain", "a.example"),
            *("--domain", "b.example", "--delivery", "discard:", "--max-size", "1M", "--max-recipients", "5"),
            *("--max-connections", "50", "--max-connections-per-client", "6", "--timeout", "1m"),
            *("--data-timeout", "2h", "--bare-newline", "accept", "--strict-greeting", "--log-format", "json"),
            *("--extension", "size"),
        )
        self.assertEqual(config.listen, ("tcp:25", "tcp:587"))
        self.assertEqual(config.hostname, "mx.example.org")
        self.assertEqual(config.domains, ("a.example", "b.example"))
        self.assertEqual(config.delivery, "discard:")
        self.assertEqual(config.extensions, ("size",))
        self.assertEqual(config.log_format, "json")
        self.assertTrue(config.strict_greeting)
        limits = config.limits
        self.assertEqual((limits.message_size, limits.recipients), (1 << 20, 5))
        self.assertEqual((limits.connections, limits.connections_per_client), (50, 6))
        self.assertEqual((limits.idle_time, limits.data_time), (60.0, 7200.0))
        self.assertEqual(limits.bare_newline, BareNewline.ACCEPT)

    def test_file(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write('max-size = "1M"\nhostname = "a.example"\n')
        config = parse("--config", path, "--hostname", "b.example")
        self.assertEqual((config.hostname, config.limits.message_size), ("b.example", 1 << 20))

    def test_secrets_are_not_kept(self) -> None:
        options = Options()
        options.parseOptions(["--auth", "memory:ada:TOPSECRET", "--max-size", "1M"])
        self.assertEqual(options.config.auth, ("memory:ada:TOPSECRET",))
        self.assertNotIn("TOPSECRET", f"{options!r} {options} {options.config!r}")
        self.assertIn("1M", repr(options))

    def test_two_command_lines_do_not_share(self) -> None:
        parse("--domain", "a.example")
        self.assertEqual(parse("--domain", "b.example").domains, ("b.example",))

    def test_every_setting_is_an_option(self) -> None:
        """A row that is added to the table is one without further work, or this fails."""
        for setting in SETTINGS:
            if setting.kind is FLAG:
                parse(f"--{setting.name}")
            else:
                parse(f"--{setting.name}", setting.example.partition(" --")[0])


class RefusalTests(SynchronousTestCase):
    """Arguments that are wrong."""

    CASES = (
        (["--nope"], "option --nope not recognized"),
        (["--listen"], "option --listen requires argument"),
        (["tcp:25"], "'tcp:25' is not an option"),
        (["--strict-greeting=yes"], "option --strict-greeting must not have an argument"),
        (["--max-size", "huge"], "--max-size: 'huge' is not a size, such as 500K, 32M or 1G"),
        (["--hostname", ""], "--hostname: '' is not a text"),
        (["--config", "/nowhere/x"], "--config /nowhere/x: No such file or directory"),
        (
            ["--print-verbs", "--extension", "nope"],
            "no extension 'nope': No module named 'twistsmtp.extensions.nope'",
        ),
    )

    def test_by_themselves(self) -> None:
        for arguments, expected in self.CASES:
            error = self.assertRaises(usage.UsageError, Options().parseOptions, arguments)
            self.assertEqual(str(error), expected)

    def test_under_twistd(self) -> None:
        """One line, and not behind hundreds of help."""
        self.patch(sys, "argv", ["/usr/bin/twistd", "smtp"])
        for arguments, expected in self.CASES:
            error = self.assertRaises(SystemExit, Parent().parseOptions, ["smtp", *arguments])
            self.assertEqual(error.code, f"twistd smtp: {expected}")

    def test_one_line_whatever_was_given(self) -> None:
        error = self.assertRaises(SystemExit, Parent().parseOptions, ["smtp", "--max-size\n\x1b=1"])
        self.assertTrue(str(error.code).isprintable())
        self.assertIn("--max-size\\n\\x1b", str(error.code))

    def test_command_is_named(self) -> None:
        for script, command in (("/usr/bin/twist", "twist"), ("/lib/twisted/__main__.py", "twist")):
            self.patch(sys, "argv", [script])
            error = self.assertRaises(SystemExit, give_up, Options(), ValueError("no"))
            self.assertEqual(error.code, f"{command} smtp: no")

    def test_log_of_others(self) -> None:
        """Where the log is not ours to write, asking us for a format is a mistake."""
        self.patch(sys, "argv", ["twistd"])
        for name in ("syslog", "logger", "fileLogObserverFactory"):
            error = self.assertRaises(SystemExit, Parent(**{name: 1}).parseOptions, ["smtp", "--log-format", "json"])
            self.assertRegex(str(error.code), r"\Atwistd smtp: --log-format json: the log is [^\n]+\Z")
        Parent(syslog=1).parseOptions(["smtp"])
        Parent().parseOptions(["smtp", "--log-format", "json"])


class MakeRunTests(SynchronousTestCase):
    """What ``make run`` adds to the command line."""

    if shutil.which("make") is None:
        skip = "there is no make"

    def adds_certificate(self, arguments: str) -> bool:
        done = subprocess.run(
            ["make", "--no-print-directory", "-n", "run", f"ARGS={arguments}"],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        (line,) = [line for line in done.stdout.splitlines() if " smtp " in line]
        self.assertTrue(line.rstrip().endswith(arguments), line)
        made, named = "tls.development" in done.stdout, "--tls-cert var/development.pem" in line
        self.assertEqual(made, named)
        return named

    def test_certificate(self) -> None:
        """One to try TLS with, but where that is somebody else's affair."""
        for arguments in ("", "--domain example.org"):
            self.assertTrue(self.adds_certificate(arguments), arguments)
        for arguments in ("--listen tcp:2525", "--tls-cert mine.pem", "--config my.toml"):
            self.assertFalse(self.adds_certificate(arguments), arguments)


class PrintingTests(SynchronousTestCase):
    """Options that print something and end."""

    def printed(self, *arguments: str) -> str:
        file = io.StringIO()
        self.patch(sys, "stdout", file)
        error = self.assertRaises(SystemExit, Options().parseOptions, arguments)
        self.assertIn(error.code, (0, None))
        return file.getvalue()

    def test_help(self) -> None:
        text = self.printed("--help")
        rows = [*(each.name for each in SETTINGS), "config", "check", "print-verbs", "version", "help"]
        for name in rows:
            self.assertRegex(text, rf"(?m)^  --{name}( [^ ]+)?\n      \w")
            self.assertRegex(text, rf"(?m)^      Example: --{name}\b")
        words = " ".join(text.split())
        for setting in SETTINGS:
            self.assertIn(f" Default: {setting.default} ", words)
        self.assertEqual(len(rows), text.count("Example: "))

    def test_help_lists_deliveries(self) -> None:
        words = " ".join(self.printed("--help").split())
        makers = list(getPlugins(IDeliveryMaker))
        self.assertTrue(makers)
        for maker in makers:
            self.assertIn(f"{maker.synopsis} {maker.help}", words)

    def test_help_fits(self) -> None:
        options = Options()
        for line in options.getUsage(60).splitlines():
            self.assertTrue(len(line) <= 60 or " " not in line.strip(), line)

    def test_print_verbs(self) -> None:
        text = self.printed("--print-verbs")
        for word in ("MAIL", "RCPT", "DATA", "pipelining", "smtputf8"):
            self.assertIn(word, text)

    def test_print_verbs_of_what_is_configured(self) -> None:
        text = self.printed("--print-verbs", "--extension", "size")
        self.assertIn("RFC 1870", text)
        self.assertNotIn("smtputf8", text)

    def test_version(self) -> None:
        self.assertRegex(self.printed("--version"), r"\Atwistsmtp [^\n]+, Twisted \d[^\n]+\n\Z")

    def test_completion_knows_every_option(self) -> None:
        """Shells complete from what the base class collects."""
        known: Any = Options().longOpt
        for setting in SETTINGS:
            self.assertIn(setting.name, [name.rstrip("=") for name in known])
