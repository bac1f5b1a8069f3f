"""The configuration: from defaults, a file and a command line to one value."""

import socket
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.config import Config, ConfigError, load, machine_name
from twistsmtp.limits import Limits
from twistsmtp.settings import SETTINGS
from twistsmtp.wire.address import PathLimits
from twistsmtp.wire.dotstream import BareNewline

NO_OPTIONS: Mapping[str, object] = {}


class ConfigTestCase(SynchronousTestCase):
    """A machine called mail.example.org."""

    def setUp(self) -> None:
        self.patch(socket, "getfqdn", lambda: "mail.example.org")

    def file(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def load(self, text: str, **options: object) -> Config:
        return load({name.replace("_", "-"): value for name, value in options.items()}, self.file(text))

    def assert_refused(self, expected: str, text: str = "", **options: object) -> None:
        """Loading fails with one line; ``FILE`` in *expected* is the path of the file with *text*."""
        path = self.file(text)
        error = self.assertRaises(
            ConfigError, load, {name.replace("_", "-"): value for name, value in options.items()}, path
        )
        self.assertEqual(str(error), expected.replace("FILE", path))


class DefaultTests(ConfigTestCase):
    """What a server is that is told nothing."""

    def test_defaults(self) -> None:
        config = Config()
        self.assertEqual(config, load(NO_OPTIONS))
        self.assertEqual(config.listen, ("tcp:8025:interface=127.0.0.1",))
        self.assertEqual(config.hostname, "mail.example.org")
        self.assertEqual(config.domains, ("localhost", "mail.example.org", "mail"))
        self.assertEqual(config.delivery, "maildir:Maildir:create=yes")
        self.assertEqual(config.limits, Limits())
        self.assertFalse(config.strict_greeting)

    def test_domains_follow_the_hostname(self) -> None:
        self.assertEqual(load({"hostname": "a.example"}).domains, ("localhost", "a.example", "a"))
        self.assertEqual(load({"hostname": "[192.0.2.1]"}).domains, ("localhost", "[192.0.2.1]"))
        self.assertEqual(load({"hostname": "localhost"}).domains, ("localhost",))

    def test_domains_that_are_given_are_all(self) -> None:
        self.assertEqual(load({"domain": ["example.net"]}).domains, ("example.net",))

    def test_machine_name(self) -> None:
        """Whatever a resolver makes of it, the name is one that can be greeted with."""
        cases = [
            ("mail.example.org.", "mail", "mail.example.org"),
            ("MAIL.example.org", "mail", "mail.example.org"),
            ("localhost.localdomain", "mail", "mail"),
            ("1.0.0.127.in-addr.arpa", "mail", "mail"),
            ("ip6-localhost", "localhost", "localhost"),
            ("mail..example.org", "my host", "localhost"),
            ("", "", "localhost"),
        ]
        for complete, short, expected in cases:
            self.patch(socket, "getfqdn", lambda complete=complete: complete)
            self.patch(socket, "gethostname", lambda short=short: short)
            self.assertEqual(machine_name(), expected)


class FileTests(ConfigTestCase):
    """What a file sets."""

    def test_all_there_is(self) -> None:
        config = self.load(
            """
            listen = ["tcp:25", "unix:/run/smtp.sock"]
            hostname = "mx.example.org"
            domain = "example.org"
            delivery = "discard:"
            extension = ["size", "pipelining"]
            strict-greeting = true
            log-format = "json"
            max-size = "50M"
            max_recipients = 100
            timeout = 600
            data-timeout = "30m"
            bare-newline = "accept"
            max-connections = 10
            max-connections-per-client = 5

            [limits]
            hops = 50
            data_rate = "1K"
            not-smtp = ["get", "POST"]
            path.local-part = 128
            """
        )
        self.assertEqual(
            config,
            Config(
                listen=("tcp:25", "unix:/run/smtp.sock"),
                hostname="mx.example.org",
                domains=("example.org",),
                delivery="discard:",
                extensions=("size", "pipelining"),
                strict_greeting=True,
                log_format="json",
                limits=Limits(
                    message_size=50 << 20,
                    recipients=100,
                    idle_time=600.0,
                    data_time=1800.0,
                    bare_newline=BareNewline.ACCEPT,
                    connections=10,
                    connections_per_client=5,
                    hops=50,
                    data_rate=1024,
                    not_smtp=frozenset({"GET", "POST"}),
                    path=PathLimits(local_part=128),
                ),
            ),
        )

    def test_every_limit_can_be_set(self) -> None:
        """Also those that are added to `Limits` later."""
        special = {"bare_newline": '"normalize"', "not_smtp": '["X"]'}
        for each in fields(Limits):
            if each.name != "path":
                config = self.load(f"[limits]\n{each.name.replace('_', '-')} = {special.get(each.name, 77)}")
                value = getattr(config.limits, each.name)
                self.assertNotEqual(value, getattr(Limits(), each.name), each.name)
                self.assertIsInstance(value, type(getattr(Limits(), each.name)))
        for name in ("local_part", "domain", "path"):
            config = self.load(f"[limits.path]\n{name} = 77")
            self.assertEqual(getattr(config.limits.path, name), 77)

    def test_command_line_wins(self) -> None:
        config = self.load('max-size = "1M"\nmax-recipients = 7', max_size="2M")
        self.assertEqual(config.limits.message_size, 2 << 20)
        self.assertEqual(config.limits.recipients, 7)

    def test_command_line_wins_over_the_table(self) -> None:
        self.assertEqual(self.load("[limits]\nmessage-size = 1000", max_size="2K").limits.message_size, 2048)

    def test_lists_are_not_joined(self) -> None:
        self.assertEqual(self.load('listen = ["tcp:1"]', listen=["tcp:2"]).listen, ("tcp:2",))

    def test_one_error_a_line(self) -> None:
        cases = {
            'max-size = "huge"': "FILE: max-size: 'huge' is not a size, such as 500K, 32M or 1G",
            "max-size = true": "FILE: max-size: True is not a size, such as 500K, 32M or 1G",
            "timeout = []": "FILE: timeout: [] is not a time, such as 90, 30s, 5m or 1h",
            "listen = 25": "FILE: listen: 25 is not a text",
            "listen = []": "FILE: listen: that is nowhere, and there is no listen-lmtp",
            "domain = []": "FILE: domain: there is none in the list",
            'domain = ["a.example", "b c"]': "FILE: domain: 'b c' is not a domain name: Domain is malformed",
            "strict-greeting = 1": "FILE: strict-greeting: 1 is neither true nor false",
            'bare-newline = "keep"': "FILE: bare-newline: 'keep' is not one of refuse, normalize, accept",
            "max-siz = 1": "FILE: 'max-siz' is not a setting; did you mean max-size?",
            "colour = 1": "FILE: 'colour' is not a setting",
            '"a\\nb" = 1': "FILE: 'a\\nb' is not a setting",
            "limits = 1": "FILE: limits is a table, [limits]",
            "[limits]\nhop = 1": "FILE: 'limits.hop' is not a setting; did you mean limits.hops?",
            "[limits]\nhops = 0": "FILE: limits.hops: 0 is not a number from 1 on",
            "[limits.path]\ndomain = -1": "FILE: limits.path.domain: -1 is not a size, such as 500K, 32M or 1G",
            "[limits.hops]\nx = 1": "FILE: limits.hops: {'x': 1} is not a number from 1 on",
            "max-size = 1\nmax_size = 2": "FILE: max-size is set twice",
            "max-size = 1\n[limits]\nmessage-size = 2": "FILE: limits.message-size is set twice",
            "a = 1\nb = = 2": "FILE: Invalid value (at line 2, column 5)",
        }
        for text, expected in cases.items():
            self.assert_refused(expected, text)

    def test_options_are_named_as_typed(self) -> None:
        self.assert_refused("--max-size: 'huge' is not a size, such as 500K, 32M or 1G", max_size="huge")
        self.assert_refused("--domain: '' is not a text", domain=["example.org", ""])

    def test_secrets_are_not_shown(self) -> None:
        config = self.load('auth = ["memory:ada:TOPSECRET"]')
        self.assertEqual(config.auth, ("memory:ada:TOPSECRET",))
        self.assertNotIn("TOPSECRET", repr(config))
        self.assert_refused("FILE: auth: the value is not a text", 'auth = [["memory:ada:TOPSECRET"]]')
        self.assert_refused("FILE: auth: the value is not a text", 'auth = {memory = "ada:TOPSECRET"}')
        self.assert_refused("--auth: the value is not a text", auth=[b"memory:ada:TOPSECRET"])

    def test_several_are_wrong(self) -> None:
        """All are told; and who asks for that has the others."""
        text, wrong = 'max-size = "huge"\nnothing = 1\ndomain = ["a.test", 7]\nhostname = "mx.test"\n', list[str]()
        path = self.mktemp()
        Path(path).write_text(text)
        error = self.assertRaises(ConfigError, load, {"timeout": "x"}, path)
        self.assertEqual(
            [each.rpartition(": ")[0] or each for each in error.problems][2:], [f"{path}: domain", "--timeout"]
        )
        self.assertEqual(str(error), "; ".join(error.problems))
        config = load({"timeout": "x"}, path, wrong=wrong)
        self.assertEqual((tuple(wrong), config.hostname, config.domains), (error.problems, "mx.test", ("a.test",)))
        self.assertEqual(config.limits, Config().limits)

    def test_no_file(self) -> None:
        path = self.mktemp()
        error = self.assertRaises(ConfigError, load, NO_OPTIONS, path)
        self.assertEqual(str(error), f"--config {path}: No such file or directory")

    def test_not_text(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b'hostname = "\xff"')
        error = self.assertRaises(ConfigError, load, NO_OPTIONS, str(path))
        self.assertTrue(str(error).startswith(f"{path}: "))

    @given(
        st.dictionaries(
            st.sampled_from([each.name for each in SETTINGS]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda children: st.lists(children, max_size=2),
                max_leaves=3,
            ),
            min_size=1,
        )
    )
    def test_any_value_is_taken_or_named(self, options: dict[str, Any]) -> None:
        try:
            config = load(options)
        except ConfigError as error:
            self.assertTrue(any(str(error).startswith(f"--{name}:") for name in options))
        else:
            self.assertIsInstance(config, Config)


class DestinationTests(ConfigTestCase):
    """Where mail goes, one way or several."""

    def written(self, text: str) -> Config:
        path = self.mktemp()
        Path(path).write_text(text)
        return load({}, path)

    def test_one(self) -> None:
        config = load({"delivery": ["discard:"]})
        self.assertEqual(
            ("discard:", ("discard:",), ["discard:"]), (config.delivery, config.deliveries, config.destinations)
        )

    def test_several(self) -> None:
        for config in (load({"delivery": ["a:", "b:"]}), self.written('delivery = ["a:", "b:"]')):
            self.assertEqual((("a:", "b:"), ["a: and b:"]), (config.deliveries, config.destinations))

    def test_routes(self) -> None:
        options = ["a.example=a:x=1", "b@a.example=b:", "a.example=c:"]
        text = '[route]\n"a.example" = ["a:x=1", "c:"]\n"b@a.example" = "b:"\n'
        for config in (load({"route": options, "delivery": "d:"}), self.written(f'delivery = "d:"\n{text}')):
            self.assertEqual((("a.example", ("a:x=1", "c:")), ("b@a.example", ("b:",))), config.routes)
            self.assertEqual(["a:x=1 and c: for a.example", "b: for b@a.example", "d: for others"], config.destinations)
        self.assertEqual(["a: for *"], load({"route": "*=a:"}).destinations)

    def test_wrong_routes(self) -> None:
        for value, problem in {
            "a.example": "'a.example' needs a delivery",
            "=a:": "'' is not a domain, an address or *",
            "a b=a:": "'a b' is not a domain, an address or *",
        }.items():
            error = self.assertRaises(ConfigError, load, {"route": [value]})
            self.assertEqual(f"--route: {value!r} is no route: {problem}", str(error))
        for table in ('"a.example" = 1', '"a.example" = []', '"a.example" = [""]', '"a b" = "a:"', "a.example = 'a:'"):
            error = self.assertRaises(ConfigError, self.written, f"[route]\n{table}\n")
            self.assertIn("is no route: ", str(error))


class SettingTests(SynchronousTestCase):
    """The table that the command line is made of."""

    def test_defaults_are_as_the_help_has_them(self) -> None:
        config = Config(hostname="a.example")
        plain = {
            "listen": " ".join(config.listen),
            "delivery": config.delivery,
            "extension": " ".join(config.extensions),
            "log-format": config.log_format,
        }
        for setting in SETTINGS:
            if setting.name in plain:
                self.assertEqual(setting.default, plain[setting.name])
            elif setting.target.startswith("limits."):
                value = getattr(config.limits, setting.target.removeprefix("limits."))
                self.assertEqual(setting.kind.parse(setting.default), value)

    def test_examples_work(self) -> None:
        for setting in SETTINGS:
            if setting.example:
                first = setting.example.partition(" --")[0]
                self.assertIsInstance(load({setting.name: first}), Config)
