"""Policies by name, and what becomes of mail when one fails.."""

import sys
import textwrap
from pathlib import Path

import twisted.plugins
from twisted.internet.defer import CancelledError, Deferred
from twisted.plugin import IPlugin, pluginPackagePaths
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server
from twistsmtp.envelope import ReversePath
from twistsmtp.policy import find
from twistsmtp.policy.api import Policy
from twistsmtp.policy.find import IPolicyMaker, PolicyMaker, make_policy, policy_makers
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

OURS = {"early-talker", "helo", "rate", "recipients", "sender-access"}
NO = Refusal(Reply(554, "5.7.1", "No"))


class Named(Policy):
    """What `make_named` makes."""

    def __init__(self, *asked: object) -> None:
        self.asked = asked


def make_named(first: str, *, size: str = "1") -> Policy:
    if size == "none":
        raise ValueError("size is a number, not 'none'")
    return Named(first, size)


def maker(**changes: str) -> PolicyMaker:
    values = {
        "name": "named",
        "synopsis": "named:FIRST[:size=N]",
        "help": "A help.",
        "function": "tests.policy.test_find.make_named",
    }
    return PolicyMaker(**{**values, **changes})


class FindTests(SynchronousTestCase):
    def install(self, *makers: IPolicyMaker) -> None:
        """Have there be these makers and no others."""
        self.patch(find, "getPlugins", lambda interface: iter(makers))

    def refusal(self, text: str) -> str:
        """The one line that says what is wrong with *text*."""
        line = str(self.assertRaises(ValueError, make_policy, text))
        self.assertNotIn("\n", line)
        return line

    def test_ours(self) -> None:
        names = [each.name for each in policy_makers()]
        self.assertEqual(names, sorted(names))
        self.assertLessEqual(OURS, set(names))
        for each in (each for each in policy_makers() if each.name in OURS):
            verifyObject(IPolicyMaker, each)
            verifyObject(IPlugin, each)
            self.assertTrue(each.synopsis.startswith(each.name), each)
            self.assertIn(f"({each.name}:", each.help)
            self.assertNotIn("\n", each.synopsis + each.help)

    def test_make(self) -> None:
        self.install(maker())
        policy = make_policy("named:x:size=2")
        assert isinstance(policy, Named)
        self.assertEqual((("x", "2"), "defer"), (policy.asked, policy.on_failure))

    def test_on_failure(self) -> None:
        """Each policy has it, and its function is not asked about it."""
        self.install(maker())
        for choice in ("defer", "pass"):
            policy = make_policy(f"named:on_failure={choice}:x")
            assert isinstance(policy, Named)
            self.assertEqual((("x", "1"), choice), (policy.asked, policy.on_failure))
        self.assertEqual("defer", Policy.on_failure)
        self.assertEqual("defer", make_policy("named:x").on_failure)

    def test_refuse(self) -> None:
        self.install(maker(), maker(name="other"))
        form = "(the form is named:FIRST[:size=N])"
        for text, line in {
            "x": "no policy is called 'x'; there are named, other",
            "named": f"named: missing a required argument: 'first' {form}",
            "named:x:sise=2": f"named: there is no option 'sise' {form}",
            "named:x:size=none": "named: size is a number, not 'none'",
            "named:x:on_failure=ignore": "named: on_failure is defer or pass, not 'ignore'",
        }.items():
            self.assertEqual(line, self.refusal(text))

    def test_a_maker_of_ones_own(self) -> None:
        @implementer(IPlugin, IPolicyMaker)
        class Own:
            name = "own"
            synopsis = "own:FIRST"
            help = "A help (own:x)."

            def make(self, *args: str, **options: str) -> Policy:
                return Named(*args)

        self.install(Own())
        policy = make_policy("own:x:y")
        assert isinstance(policy, Named)
        self.assertEqual(("x", "y"), policy.asked)

    def test_a_plugin(self) -> None:
        """The file in the documentation, as it stands there."""
        package = Path(self.mktemp()).absolute()
        plugins = package / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        _, _, rest = (find.__doc__ or "").partition("and in it::\n")
        (plugins / "their_policies.py").write_text(textwrap.dedent(rest.partition("\nThe function")[0]))
        (package / "mypackage").mkdir()
        (package / "mypackage" / "__init__.py").touch()
        (package / "mypackage" / "policies.py").write_text(
            "from tests.policy.test_find import Named\n"
            "def make_office_hours(first, last):\n"
            "    return Named(int(first), int(last))\n"
        )
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])
        self.patch(sys, "path", [str(package), *sys.path])
        # What `twisted.plugins` does when it is imported; it was, by now.
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, *pluginPackagePaths("twisted.plugins")])
        policy = make_policy("office-hours:9:17:on_failure=pass")
        assert isinstance(policy, Named)
        self.assertEqual(((9, 17), "pass"), (policy.asked, policy.on_failure))


class FailureTests(SynchronousTestCase):
    """What becomes of a command when a policy fails, refuses, or is not waited for."""

    def connect(self, script: Script, on_failure: str, *others: Policy) -> Client:
        policy = ScriptedPolicy(script)
        policy.on_failure = on_failure  # type: ignore[assignment]  # one of the two
        return Server(policies=[policy, *others]).connect().hello()

    def test_a_failure(self) -> None:
        for on_failure, said in (("defer", ["451 4.3.0"]), ("pass", ["250 2.1.0"])):
            for how in (*AT_ONCE, *LATER):
                script = Script(policy_mail=Answer(how, RuntimeError("secret")))
                client = self.connect(script, on_failure)
                codes = client.codes("MAIL FROM:<a@x.test>")
                script.release_all()
                self.assertEqual(said, codes + client.codes(), (on_failure, how))
                self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)), (on_failure, how))

    def test_a_refusal_is_no_failure(self) -> None:
        for on_failure in ("defer", "pass"):
            for how in (*AT_ONCE, *LATER):
                script = Script(policy_mail=Answer(how, NO))
                client = self.connect(script, on_failure)
                codes = client.codes("MAIL FROM:<a@x.test>")
                script.release_all()
                self.assertEqual(["554 5.7.1"], codes + client.codes(), (on_failure, how))
        self.assertEqual([], self.flushLoggedErrors())

    def test_those_behind_are_asked(self) -> None:
        """One that fails, and is passed by, takes nothing from the others."""

        class Refuses(Policy):
            def mail(self, session: Session, reverse_path: ReversePath) -> None:
                raise NO

        for how in (*AT_ONCE, *LATER):
            script = Script(policy_mail=Answer(how, RuntimeError()))
            client = self.connect(script, "pass", Refuses())
            codes = client.codes("MAIL FROM:<a@x.test>")
            script.release_all()
            self.assertEqual(["554 5.7.1"], codes + client.codes(), how)
        self.assertEqual(len((*AT_ONCE, *LATER)), len(self.flushLoggedErrors(RuntimeError)))

    def test_a_client_that_does_not_wait(self) -> None:
        """To be told that nobody waits any more is no failure."""
        cancelled: list[object] = []

        class Slow(Policy):
            on_failure = "pass"

            def mail(self, session: Session, reverse_path: ReversePath) -> "Deferred[None]":
                return Deferred(cancelled.append)

        client = Server(policies=[Slow()]).connect().hello()
        client.say("MAIL FROM:<a@x.test>")
        client.vanish()
        self.assertEqual(1, len(cancelled))
        self.assertEqual([], self.flushLoggedErrors())

    def test_one_that_takes_too_long(self) -> None:
        """It has failed."""
        for on_failure, said in (("defer", ["451 4.3.0"]), ("pass", ["250 2.1.0"])):
            for how in LATER:
                script = Script(policy_mail=Answer(how))
                client = self.connect(script, on_failure)
                self.assertEqual([], client.codes("MAIL FROM:<a@x.test>"))
                client.server.clock.pump([10] * 61)
                self.assertEqual(said, client.codes(), (on_failure, how))
                self.assertEqual(1, len(self.flushLoggedErrors(CancelledError)), (on_failure, how))

    def test_what_is_asked_after_that_has_its_own_time(self) -> None:
        script = Script(policy_mail=Answer(LATER[0]), begin=Answer(LATER[0]))
        policy = ScriptedPolicy(script)
        policy.on_failure = "pass"
        client = Server(ScriptedDelivery(script), policies=[policy]).connect().hello()
        client.say("MAIL FROM:<a@x.test>")
        client.server.clock.pump([10] * 119)
        script.release_all()
        self.assertEqual(["250 2.1.0"], client.codes())
        self.assertEqual(1, len(self.flushLoggedErrors(CancelledError)))
