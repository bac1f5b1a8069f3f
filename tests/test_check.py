"""``--check``: what the server would do, and what is wrong with what it was told."""

import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.support import issue, write
from twistsmtp import check as module
from twistsmtp.check import check
from twistsmtp.options import Options
from twistsmtp.tls.development import make_development_certificate


class CheckTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.reactor = MemoryReactorClock()
        self.certificate = str(write(self.folder / "mx.pem", issue("mx.test", "192.0.2.1")))

    def file(self, text: str) -> str:
        path = self.folder / "smtp.toml"
        path.write_text(text)
        return str(path)

    def check(
        self, text: str | None, options: Mapping[str, object] | None = None, parent: Mapping[str, object] | None = None
    ) -> tuple[int, list[str], list[str]]:
        """The status, what is said, and what is said to be wrong, with ``FILE`` for the name of the file."""
        output, errors = StringIO(), StringIO()
        file = None if text is None else self.file(text)
        status = check(options or {}, file, parent, output=output, errors=errors, reactor=self.reactor)
        said = [stream.getvalue().replace(str(file), "FILE").splitlines() for stream in (output, errors)]
        return status, said[0], said[1]

    def wrong(self, text: str, **options: object) -> list[str]:
        """What is wrong with a file."""
        status, said, errors = self.check(text, options)
        self.assertEqual((status, said), (1, []))
        return errors


class RightTests(CheckTestCase):
    def test_all_of_it(self) -> None:
        maildir = Path("Maildir-of-check")
        status, said, errors = self.check(
            f"""
            listen = ["tcp:25:interface=192.0.2.1", "tls:465"]
            listen-lmtp = "systemd:domain=UNIX:name=lmtp"
            hostname = "mx.test"
            domain = ["a.test", "b.test"]
            tls-cert = "{self.certificate}"
            auth = "memory:ada:TOPSECRET"
            mechanism = ["PLAIN", "LOGIN"]
            relay-authenticated = true
            delivery = "maildir:{maildir}:create=yes"
            policy = ["rate:client=100/h", "greylist:greylist-of-check.db"]
            extension = ["size", "starttls", "auth"]
            [limits]
            hops = 50
            message-size = "50M"
            """,
            parent={"uid": 4_000_000, "gid": 4_000_001},
        )
        self.assertEqual((status, errors), (0, []))
        self.assertEqual(
            [line for line in said if "valid until" not in line],
            [
                "FILE and the command line are right. The server would",
                "- listen as mx.test",
                "- listen on",
                "  - tcp:25:interface=192.0.2.1 (SMTP, STARTTLS)",
                "  - tls:465 (SMTP, TLS from the first octet)",
                "  - systemd:domain=UNIX:name=lmtp (LMTP, STARTTLS, a socket that is passed to it when it starts)",
                "- run as user 4000000, group 4000001",
                "- take mail for",
                "  - a.test",
                "  - b.test",
                "  - every domain there is, from users",
                "- take it from everybody",
                f"- give it to maildir:{maildir}:create=yes",
                "- know users by memory, by the mechanisms PLAIN LOGIN, under TLS only",
                "- ask these policies",
                "  - rate:client=100/h",
                "  - greylist:greylist-of-check.db",
                "- offer the extensions size starttls auth",
                "- have other limits than the defaults",
                "  - limits.message-size = 50M, in place of 32M",
                "  - limits.hops = 50, in place of 100",
            ],
        )
        [certificate] = [line for line in said if "valid until" in line]
        self.assertRegex(
            certificate,
            r"\A- encrypt with the certificate for mx\.test, 192\.0\.2\.1, valid until \d{4}-\d\d-\d\d, in \d+ days",
        )
        self.assertFalse(maildir.exists())
        self.assertFalse(Path("greylist-of-check.db").exists())
        self.assertEqual((self.reactor.tcpServers, self.reactor.getDelayedCalls()), ([], []))

    def test_no_file(self) -> None:
        status, said, errors = self.check(None, {"hostname": "mx.test", "domain": ["*"], "delivery": "discard:"})
        self.assertEqual((status, errors), (0, []))
        self.assertEqual(said[0], "The command line is right. The server would")
        self.assertIn("- take mail for every domain there is", said)
        self.assertIn(f"- run as user {_me()}", said[3])

    def test_something_to_look_at(self) -> None:
        """It is no reason not to start."""
        status, _, errors = self.check('exclude-mechanism = "PLAIN"\n\n')
        self.assertEqual(status, 0)
        self.assertEqual(errors, ["FILE:1: warning: exclude-mechanism is of no use without auth"])

    def test_everybody_to_everywhere(self) -> None:
        """An open relay works, and is hardly meant."""
        relay, domain = 'delivery = "relay:mx.test:25"\n', 'domain = ["*"]\n'
        warning = "FILE:2: warning: domain '*' has everybody's mail forwarded to every domain there is"
        status, _, [error] = self.check(relay + domain)
        self.assertEqual((status, error[: len(warning)]), (0, warning))
        auth = 'auth = "memory:ada:TOPSECRET"\nplaintext-auth = true\n'
        for text in (
            relay + 'domain = "mx.test"\n',
            'delivery = "discard:"\n' + domain,
            relay + domain + auth + "require-auth = true\n",
            domain + '[route]\n"*" = "discard:"\n"a.test" = "relay:mx.test:25"\n',
        ):
            self.assertEqual(self.check(text)[::2], (0, []))

    def test_development_certificate(self) -> None:
        path = make_development_certificate(self.folder / "dev")
        _, said, _ = self.check(f'tls-cert = "{path}"\n')
        self.assertIn("made for development, and so for this machine alone", " ".join(" ".join(said).split()))


class WrongTests(CheckTestCase):
    CASES: Mapping[str, list[str]] = {
        'hostname = "mx.test"\nmax-size = "huge"\n': [
            "FILE:2: max-size: 'huge' is not a size, such as 500K, 32M or 1G"
        ],
        "\n\n[limits]\nhop = 1\n": ["FILE:4: 'limits.hop' is not a setting; did you mean limits.hops?"],
        'hostname = "mx.test"\nlisten = "tcp:25\n': ["FILE:2: Illegal character '\\n' (at line 2, column 17)"],
        'require-tls = true\ndelivery = "discard:"\n': ["FILE:1: require-tls is of no use without tls-cert"],
        'delivery = "nowhere:"\nlisten = [\n  "tcp:25",\n  "tcp:x"]\n': [
            "FILE:1: delivery 'nowhere:': no delivery is called 'nowhere'; there are",
            "FILE:4: listen 'tcp:x': 'x' is not a number",
        ],
        'delivery = "discard:"\nlisten = ["tcp:65535",\n"haproxy:tcp:interface=127.0.0.1:port=65536"]\n': [
            "FILE:3: listen 'haproxy:tcp:interface=127.0.0.1:port=65536': 65536 is not a port: the last one is 65535"
        ],
        'listen = "tcp6:99999:interface=\\\\:\\\\:1"\ndelivery = "discard:"\n': ["FILE:1: listen "],
        'hostname = "mx.test"\ndelivery = ["discard:",\n"program:/nonexistent/x {recipient}"]\n': [
            "FILE:3: delivery 'discard: and program:/nonexistent/x {recipient}': /nonexistent/x: there is no such "
        ],
        'hostname = "mx.test"\ndelivery = "mbox:/nonexistent/x"\n': [
            "FILE:2: delivery 'mbox:/nonexistent/x': /nonexistent/x is no file (create=yes would make it)"
        ],
        'delivery = "maildir:/nonexistent/x"\n': [
            "FILE:1: delivery 'maildir:/nonexistent/x': maildir: /nonexistent/x is no Maildir (create="
        ],
        'delivery = "mbox:/dev/null/x/{local}:create=yes"\n': [
            "FILE:1: delivery 'mbox:/dev/null/x/{local}:create=yes': /dev/null/x cannot be made"
        ],
        '[route]\n"a.test" = "discard:"\n"@foo" = "maildir:/srv/x"\n': [
            "FILE:3: route.\"@foo\": 'maildir:/srv/x' is no route: '@foo' is not a domain, an address or *"
        ],
        '[route]\n"a.test" = "discard:"\n"b.test" = ""\n': [
            "FILE:3: route.\"b.test\": '' is no route: 'b.test' needs a delivery"
        ],
        'delivery = "discard:"\npolicy = ["rate:client=100/h",\n"greylist:/nonexistent/x/db"]\n': [
            "FILE:3: policy 'greylist:/nonexistent/x/db': /nonexistent/x/db: unable to open database file"
        ],
        'listen = "tls:465"\ntls-cert = ["/nowhere/a.pem",\n"/nowhere/b.pem"]\n': [
            "FILE:2: tls-cert: No such file or directory: /nowhere/a.pem",
            "FILE:3: tls-cert: No such file or directory: /nowhere/b.pem",
        ],
        'auth = [\n"memory:ada:TOPSECRET",\n"passwd:/nowhere/users"]\nplaintext-auth = true\n': [
            "FILE:3: auth passwd: "
        ],
    }

    def test_by_line(self) -> None:
        for text, expected in self.CASES.items():
            errors = self.wrong(text)
            self.assertEqual(len(errors), len(expected), errors)
            for error, start in zip(errors, expected, strict=True):
                self.assertTrue(error.startswith(start), error)
            self.assertNotIn("TOPSECRET", str(errors))

    def test_all_at_once(self) -> None:
        """What is wrong by itself, whatever else is; each in its own line."""
        (self.folder / "to").write_text("a@b.test x@b.test\n\nnonsense x y\n* *\n")
        (self.folder / "from").write_text("a@b.test c@b.test\nb@b.test c@b.test\nd@b.test a@b.test\n")
        text = f"""
            hostname = "mx.test"
            require-tls = true
            extension = ["size", "nothing", "auth", "more.nothing"]
            mechanism = ["PLAIN", "NOTHING"]
            auth = ["memory:ada:TOPSECRET", "nobody:", "passwd:/nowhere/users"]
            plaintext-auth = true
            sender-login = "/nowhere/senders"
            policy = ["rate:client=x", "helo", "recipients:{self.folder}/to",
              "recipients:{self.folder}/from", "greylist:/nowhere/db"]
            delivery = ["discard:", "maildir:/nowhere/x", "teleport:"]
            listen = ["tcp:x", "tcp:0", "tls:0"]
            [route]
            "a.test" = "discard:"
            "b.test" = ["discard:", "teleport:", "mbox:/nowhere/y"]
        """
        starts = [
            "FILE:4: extension: no extension 'nothing': ",
            "FILE:4: extension: no extension 'more.nothing': ",
            "FILE:5: mechanism: ",
            "FILE:6: auth nobody: is no checker; --help lists them",
            "FILE:6: auth passwd: ",
            "FILE:15: route b.test 'teleport:': no delivery is called 'teleport'",
            "FILE:11: delivery 'maildir:/nowhere/x': ",
            "FILE:11: delivery 'teleport:': no delivery is called 'teleport'",
            "FILE:9: policy 'rate:client=x': rate: a rate is as 100/h or 20/10m, not 'x'",
            f"FILE:9: policy 'recipients:{self.folder}/to': recipients: {self.folder}/to: line 3: ",
            f"FILE:9: policy 'recipients:{self.folder}/to': recipients: {self.folder}/to: line 4: ",
            f"FILE:10: policy 'recipients:{self.folder}/from': recipients: {self.folder}/from: line 1: a@b.test: no ",
            f"FILE:10: policy 'recipients:{self.folder}/from': recipients: {self.folder}/from: line 2: b@b.test: no ",
            "FILE:8: sender-login: ",
            "FILE:12: listen 'tcp:x': 'x' is not a number",
            "FILE:12: listen 'tls:0': tls: needs tls-cert",
        ]
        errors = self.wrong(text)
        for error, start in zip(errors, starts, strict=False):
            self.assertTrue(error.startswith(start), (error, start))
        self.assertEqual(len(errors), len(starts), errors)
        self.assertNotIn("TOPSECRET", str(errors))

    def test_settings_and_what_they_name(self) -> None:
        """What is of no use may be so because of a setting that is wrong, and is not told."""
        errors = self.wrong(
            'hostnam = "x"\nmax-size = "huge"\nlisten = ["", "tcp:0", 7]\ntls-cert = 7\n'
            'auth = ["memory:ada:secret", "certificate"]\npolicy = ["teleport", "helo"]\n[limits]\nhops = "x"\n'
            '[route]\n"@foo" = "x:"\n"b.test" = ""\n"c.test" = "teleport:"\n',
            timeout="x",
        )
        names = 'hostnam max-size listen listen tls-cert limits.hops route."@foo" route."b.test" --timeout route policy'
        lines = [
            "FILE:1",
            "FILE:2",
            "FILE:3",
            "FILE:3",
            "FILE:4",
            "FILE:8",
            "FILE:10",
            "FILE:11",
            "--timeout",
            "FILE:12",
            "FILE:6",
        ]
        self.assertEqual([each.partition(": ")[0] for each in errors], lines, errors)
        for name, error in zip(names.split(), errors, strict=True):
            self.assertIn(name, error)

    def test_certificates(self) -> None:
        """Each of them."""
        broken = self.folder / "broken.pem"
        broken.write_text("nonsense")
        errors = self.wrong(
            f'delivery = "discard:"\ntls-cert = ["{self.certificate}",\n"/nowhere/b.pem",\n"{broken}"]\npolicy = "x"\n'
        )
        self.assertEqual([each.partition(": ")[0] for each in errors], ["FILE:3", "FILE:4", "FILE:5"], errors)

    def test_a_delivery_that_nobody_has_given(self) -> None:
        """It is not in the way of a route for all."""
        [error] = self.wrong('policy = "helo:x"\n[route]\n"*" = "discard:"\n')
        self.assertTrue(error.startswith("FILE:1: policy 'helo:x': "), error)

    def test_what_is_of_no_use(self) -> None:
        """All of it; and where only a policy cannot be made, that as well."""
        errors = self.wrong(
            'delivery = "mbox:/nowhere/x"\nrequire-tls = true\nrequire-auth = true\nrelay-authenticated = true\n'
        )
        self.assertEqual(
            errors,
            [
                "FILE:2: require-tls is of no use without tls-cert",
                "FILE:3: require-auth is of no use without auth",
                "FILE:4: relay-authenticated is of no use without auth",
            ],
        )
        errors = self.wrong('delivery = "mbox:/nowhere/x"\npolicy = "helo:x"\nhostname = "mx.test"\n')
        self.assertEqual([each.partition(": ")[0] for each in errors], ["FILE:2", "FILE:1"])
        errors = self.wrong('delivery = "mbox:/nowhere/x"\npolicy = "helo:x"\nrequire-tls = true\n')
        self.assertEqual([each.partition(": ")[0] for each in errors], ["FILE:2", "FILE:3"])

    def test_in_a_file_that_the_file_names(self) -> None:
        senders = self.folder / "senders"
        senders.write_text("a@b.test ada\nnonsense\n")
        [error] = self.wrong(f'hostname = "mx.test"\nsender-login = "{senders}"\n')
        self.assertTrue(error.startswith(f"FILE:2: sender-login: {senders}: line 2: "), error)

    def test_on_the_command_line(self) -> None:
        self.assertEqual(self.wrong('listen = "tcp:25"\n', listen=["tcp:x"]), ["listen 'tcp:x': 'x' is not a number"])
        self.assertEqual(
            self.wrong('max-size = "1M"\n', **{"max-size": "huge"}),
            ["--max-size: 'huge' is not a size, such as 500K, 32M or 1G"],
        )

    def test_no_such_file(self) -> None:
        errors = StringIO()
        self.assertEqual(check({}, "/nowhere/x", output=StringIO(), errors=errors, reactor=self.reactor), 1)
        self.assertEqual(errors.getvalue(), "--config /nowhere/x: No such file or directory\n")


class OptionTests(CheckTestCase):
    def test_exits(self) -> None:
        for text, status in ('delivery = "discard:"\n', 0), ("nothing = 1\n", 1):
            self.patch(sys, "stdout", StringIO())
            self.patch(sys, "stderr", StringIO())
            error = self.assertRaises(SystemExit, Options().parseOptions, ["--config", self.file(text), "--check"])
            self.assertEqual(error.code, status)

    def test_whole_width(self) -> None:
        """No line is wider than a terminal, unless a word is."""
        _, said, _ = self.check('delivery = "discard:"\n')
        self.assertLessEqual(max(map(len, said)), module._WIDTH)


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
