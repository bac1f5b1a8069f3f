"""Checkers by name."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString, findCheckerFactory, makeChecker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.checkers.kit import SHA1, need
from twistsmtp.checkers import find
from twistsmtp.checkers.find import CheckerMaker, split_arguments
from twistsmtp.checkers.http import HTTPChecker
from twistsmtp.checkers.oauth import OAuthChecker
from twistsmtp.checkers.pam import PAMChecker
from twistsmtp.checkers.passwd_file import PasswdFile

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("passwd", "htpasswd", "http", "oauth", "pam")


class Named(AllowAnonymousAccess):
    """What `make_named` makes."""

    def __init__(self, *asked: str) -> None:
        self.asked = asked


def make_named(url: str, *, timeout: str = "1") -> Named:
    """For makers to call."""
    if timeout == "never":
        raise ValueError("timeout is a time")
    if timeout == "gone":
        raise FileNotFoundError(2, "No such file or directory", url)
    return Named(url, timeout)


def maker(function: str = "tests.checkers.test_find.make_named") -> CheckerMaker:
    return CheckerMaker(
        authType="named",
        argStringFormat="URL[:timeout=SECONDS]",
        authHelp="A help.",
        credentialInterfaces=(IUsernamePassword,),
        function=function,
    )


class SplitTests(SynchronousTestCase):
    def test_split(self) -> None:
        for text, split in {
            "": ([], {}),
            "/etc/users": (["/etc/users"], {}),
            "https://[::1]:8443/x:timeout=5:ca=/a b": (["https://[::1]:8443/x"], {"timeout": "5", "ca": "/a b"}),
            "jwks=https://a:1/b?c=d:issuer=https://e": ([], {"jwks": "https://a:1/b?c=d", "issuer": "https://e"}),
            r"https\://a/b\:c=d": (["https://a/b:c=d"], {}),
            r"\a=b": (["a=b"], {}),
            "C=D:E=f": (["C=D:E=f"], {}),
            "a:b=": (["a"], {"b": ""}),
            "a\\": (["a"], {}),
        }.items():
            self.assertEqual(split, split_arguments(text), text)

    def test_twice(self) -> None:
        error = self.assertRaises(ValueError, split_arguments, "x:a=1:a=2")
        self.assertEqual("the option 'a' stands there twice", str(error))

    @given(
        st.text(max_size=20), st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True), st.text(max_size=20))
    )
    def test_quoted(self, argument: str, options: dict[str, str]) -> None:
        """Whatever is meant can be said."""

        def quoted(text: str) -> str:
            return "".join(f"\\{each}" for each in text)

        text = ":".join([quoted(argument), *(f"{name}={quoted(value)}" for name, value in options.items())])
        self.assertEqual(([argument] if argument else [], options), split_arguments(text))


class MakerTests(SynchronousTestCase):
    def refusal(self, argument: str, made: CheckerMaker | None = None) -> str:
        error = self.assertRaises(InvalidAuthArgumentString, (made or maker()).generateChecker, argument)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_interfaces(self) -> None:
        verifyObject(ICheckerFactory, maker())
        self.assertTrue(IPlugin.providedBy(maker()))

    def test_makes(self) -> None:
        made: Any = maker().generateChecker("https://a/b:timeout=5")
        self.assertEqual(("https://a/b", "5"), made.asked)

    def test_wrong(self) -> None:
        """What is wrong is said in a line that begins with the name."""
        form = "(the form is named:URL[:timeout=SECONDS])"
        self.assertEqual(f"named: there is no option 'tmeout' {form}", self.refusal("x:tmeout=5"))
        self.assertEqual(f"named: missing a required argument: 'url' {form}", self.refusal(""))
        self.assertEqual("named: timeout is a time", self.refusal("x:timeout=never"))
        self.assertEqual("named: [Errno 2] No such file or directory: 'x'", self.refusal("x:timeout=gone"))
        self.assertIn("named: ", self.refusal("x", maker("nosuch.module.thing")))


class OursTests(SynchronousTestCase):
    """What comes with twistsmtp."""

    def test_interfaces(self) -> None:
        """Each has a help, an example in it, and checks what it says."""
        for name in OURS:
            factory = findCheckerFactory(name)
            verifyObject(ICheckerFactory, factory)
            self.assertTrue(factory.argStringFormat)
            self.assertNotIn("\n", factory.argStringFormat)
            self.assertTrue(all(len(line) < 90 for line in factory.authHelp.splitlines()), name)
            self.assertTrue(factory.credentialInterfaces)

    def test_passwd(self) -> None:
        path = Path(self.mktemp())
        path.write_text(f"ada:{SHA1}\n")
        for name in ("passwd", "htpasswd"):
            checker = makeChecker(f"{name}:{path}:scram=no")
            self.assertIsInstance(checker, PasswdFile)
            self.assertLessEqual(set(checker.credentialInterfaces), set(findCheckerFactory(name).credentialInterfaces))

    def test_http(self) -> None:
        need("treq")
        checker = makeChecker("http:https://auth.example.org:8443/check:timeout=5")
        self.assertIsInstance(checker, HTTPChecker)
        self.assertEqual(checker.credentialInterfaces, findCheckerFactory("http").credentialInterfaces)

    def test_oauth(self) -> None:
        need("treq", "jwt")
        checker = makeChecker("oauth:jwks=https://id.example.org/keys:issuer=https://id.example.org:audience=smtp")
        self.assertIsInstance(checker, OAuthChecker)
        self.assertEqual(checker.credentialInterfaces, findCheckerFactory("oauth").credentialInterfaces)

    def test_pam(self) -> None:
        need("pam")
        factory = findCheckerFactory("pam")
        self.assertEqual(PAMChecker.credentialInterfaces, factory.credentialInterfaces)
        error = self.assertRaises(InvalidAuthArgumentString, factory.generateChecker, "no-such-service")
        self.assertIn("no service 'no-such-service'", str(error))

    def test_missing_library(self) -> None:
        """What is to be installed is said at the start."""
        self.patch(sys, "modules", {**sys.modules, "treq": None, "jwt": None, "pam": None})
        for text, extra in {
            "http:https://a.example/": "http",
            "oauth:jwks=/etc/passwd:issuer=x:audience=y": "jwt",
            "pam:login": "pam",
        }.items():
            error = self.assertRaises(InvalidAuthArgumentString, makeChecker, text)
            self.assertIn(f"pip install 'twistsmtp[{extra}]'", str(error))

    def test_light(self) -> None:
        """Listing the names imports none of the libraries, and no checker but the one that is asked for."""
        code = (  # of ours alone: the plugins of others import what they like
            "import sys; from twisted.plugins import twistsmtp_checkers as ours\n"
            "names = {each.authType for each in vars(ours).values() if hasattr(each, 'authType')}\n"
            f"print(set({OURS!r}) <= names, sorted(set(sys.modules) & {{'treq', 'jwt', 'pam', 'argon2', 'bcrypt',"
            " 'twisted.internet.reactor', 'twistsmtp.checkers.web', 'twistsmtp.checkers.passwd_file'}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual("True []\n", done.stdout, done.stderr)


class OwnTests(SynchronousTestCase):
    def test_documentation(self) -> None:
        """The file in the documentation makes a maker, as it stands there."""
        _, _, rest = (find.__doc__ or "").partition("and in it::\n")
        names: dict[str, Any] = {}
        exec(textwrap.dedent(rest.partition("\nThe function")[0]), names)
        verifyObject(ICheckerFactory, names["ldap"])
        args, options = split_arguments(names["ldap"].authHelp.partition("ldap:")[2])
        self.assertEqual((["ldaps://ldap.example.org"], {"base": "dc=example,dc=org"}), (args, options))
