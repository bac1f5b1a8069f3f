"""AUTH, against our own server, and against servers that are not what they say."""

import base64
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, TOKEN, USER, WRONG, Bearers, Digests, Passwords, Scrams, portal
from tests.client.kit import Far, Net, at_once, result_of
from tests.scripted import ScriptedDelivery
from twistsmtp.client import AuthError, ClientError, Credentials, ProtocolError, TLSError
from twistsmtp.sasl.client import MECHANISMS
from twistsmtp.security import Security

ADA: dict[str, Any] = {"username": USER, "password": PASSWORD}


def serving(*checkers: Any) -> Net:
    """A server that lets secrets be sent in plain text."""
    security = Security(portal=portal(*checkers), plaintext_auth=True)
    return Net.serving(ScriptedDelivery(), security=security)


class OwnServerTests(SynchronousTestCase):
    def open(self, net: Net, **credentials: Any) -> Any:
        """Authenticate; the server's side."""
        opening = net.run(
            net.connector.connect(net.destination(credentials=Credentials(plaintext=True, **credentials)))
        )
        for _ in range(30):  # seconds, of which a failure costs some
            net.turn()
            if opening.called:
                break
            net.clock.advance(1)
        connection = result_of(opening)
        self.assertTrue(connection.usable)
        return net.far.session

    def test_each_mechanism(self) -> None:
        for checker, mechanisms in (
            (Passwords(), ("PLAIN", "LOGIN")),
            (Digests(), ("CRAM-MD5",)),
            (Scrams(), ("SCRAM-SHA-1", "SCRAM-SHA-256")),
            (Bearers(), ("OAUTHBEARER", "XOAUTH2")),
        ):
            secret = {"username": USER, "token": TOKEN} if isinstance(checker, Bearers) else ADA
            for mechanism in mechanisms:
                session = self.open(serving(checker), mechanisms=(mechanism,), **secret)
                self.assertEqual((session.identity, session.mechanism), (USER, mechanism))

    def test_what_is_wrong(self) -> None:
        for checker, mechanisms in (
            (Passwords(), ("PLAIN", "LOGIN")),
            (Digests(), ("CRAM-MD5",)),
            (Scrams(), ("SCRAM-SHA-1", "SCRAM-SHA-256")),
            (Bearers(), ("OAUTHBEARER", "XOAUTH2")),
        ):
            kind = "token" if isinstance(checker, Bearers) else "password"
            for mechanism in mechanisms:
                net = serving(checker)
                with self.assertRaises(AuthError) as caught:
                    self.open(net, mechanisms=(mechanism,), username=USER, **{kind: WRONG})
                error = caught.exception
                self.assertEqual(str(error.refusal), "535 5.7.8 AUTH was refused", mechanism)
                self.assertFalse(error.temporary)
                for shown in (WRONG, base64.b64encode(WRONG.encode()).decode()):
                    self.assertNotIn(shown, f"{error!r} {error}")
                net.turn()
                self.assertTrue(net.ends[0].lost)

    def test_the_strongest(self) -> None:
        self.assertEqual(self.open(serving(Passwords(), Scrams(), Digests()), **ADA).mechanism, "SCRAM-SHA-256")
        self.assertEqual(self.open(serving(Passwords(), Digests()), **ADA).mechanism, "CRAM-MD5")
        self.assertEqual(self.open(serving(Passwords()), **ADA).mechanism, "PLAIN")
        self.assertEqual(
            self.open(serving(Bearers(), Passwords()), username=USER, token=TOKEN).mechanism, "OAUTHBEARER"
        )

    def test_in_ones_own_order(self) -> None:
        session = self.open(serving(Passwords(), Scrams()), mechanisms=("login", "SCRAM-SHA-1"), **ADA)
        self.assertEqual(session.mechanism, "LOGIN")

    def test_what_takes_long(self) -> None:
        """SCRAM's thousands of hashes are not for the reactor's thread."""
        threads: list[str] = []

        def in_thread(function: Any, *args: Any) -> Any:
            threads.append(function.__qualname__)
            return at_once(function, *args)

        for checker in (Scrams(), Passwords()):
            net = serving(checker)
            net.connector.in_thread = in_thread
            self.open(net, **ADA)
        self.assertEqual(threads.count("generator.send"), 2)

    def test_mail_goes_then(self) -> None:
        """Behind AUTH, lines of replies are as short as before."""
        net = serving(Passwords())
        self.open(net, **ADA)
        client = net.ends[0].protocol
        client.command("NOOP").addErrback(lambda _: None)
        client.dataReceived(b"250 " + b"x" * 3000)
        self.assertFalse(client.usable)


class PlainTextTests(SynchronousTestCase):
    """Secrets are not sent where they can be seen."""

    def refused(self, net: Net, **settings: Any) -> str:
        opening = net.run(net.connector.connect(net.destination(credentials=Credentials(**ADA), **settings)))
        with self.assertRaises(AuthError) as caught:
            result_of(opening)
        self.assertFalse(any(line.startswith("AUTH") for line in net.far.heard))
        return str(caught.exception)

    def test_without_tls(self) -> None:
        text = self.refused(Net.scripted("AUTH PLAIN LOGIN"))
        self.assertEqual(text, "of PLAIN LOGIN, none keeps the secret without TLS")

    def test_nothing_offered(self) -> None:
        self.assertEqual(self.refused(Net.scripted("SIZE")), "AUTH is not offered")

    def test_a_digest_will_do(self) -> None:
        net = Net.scripted("AUTH PLAIN CRAM-MD5", AUTH="535 5.7.8 No")
        with self.assertRaises(AuthError):
            result_of(net.run(net.connector.connect(net.destination(credentials=Credentials(**ADA)))))
        self.assertEqual(net.far.heard[1:], ["AUTH CRAM-MD5", "QUIT"])

    def test_tls_is_asked_for_first(self) -> None:
        net = Net.scripted("AUTH PLAIN")
        from twistsmtp.client import ClientTLS, TLSMode

        destination = net.destination(credentials=Credentials(**ADA), tls=ClientTLS(TLSMode.REQUIRED))
        with self.assertRaises(TLSError):
            result_of(net.run(net.connector.connect(destination)))
        self.assertEqual(net.far.heard, ["EHLO client.test"])


class Answering(Far):
    """Answers AUTH and what follows with these, whatever that is."""

    def __init__(self, offered: str, answers: list[str]) -> None:
        super().__init__([f"AUTH {offered}"])
        self._answers = iter(answers)

    def _obey(self, verb: str, text: str) -> None:
        if verb in {"EHLO", "QUIT"}:
            super()._obey(verb, text)
        else:
            self._say("AUTH", next(self._answers, "500 5.5.1 What"))


class StrangeServerTests(SynchronousTestCase):
    def open(self, offered: str, *answers: str, **credentials: Any) -> list[str]:
        """What was said in AUTH."""
        net = self.net = Net(lambda: Answering(offered, list(answers)))
        credentials = {**ADA, "plaintext": True, **credentials}
        result_of(net.run(net.connector.connect(net.destination(credentials=Credentials(**credentials)))))
        return list(net.far.heard[1:])

    def fails(self, offered: str, *answers: str, **credentials: Any) -> AuthError:
        with self.assertRaises(AuthError) as caught:
            self.open(offered, *answers, **credentials)
        error: AuthError = caught.exception
        self.assertNotIn(PASSWORD, f"{error!r} {error}")
        return error

    def test_scram_without_proof(self) -> None:
        """Who lets us in without knowing the password would let in anybody, and take the mail."""
        error = self.fails("SCRAM-SHA-256", "235 2.7.0 Come in")
        self.assertEqual(str(error), "the server lets us in before it has shown who it is")

    def test_scram_of_somebody_else(self) -> None:
        first = base64.b64encode(b"r=other,s=c2FsdA==,i=4096").decode()
        self.assertEqual(str(self.fails("SCRAM-SHA-256", f"334 {first}", "501 No")), "the server has not our nonce")
        self.assertEqual(self.net.far.heard[2:], ["*", "QUIT"])

    def test_scram_nonsense(self) -> None:
        for text, why in (
            (b"x", "not a server-first-message"),
            (b"m=x,r=a,s=YQ==,i=4096", "not a server-first-message"),
        ):
            challenge = base64.b64encode(text).decode()
            self.assertEqual(str(self.fails("SCRAM-SHA-1", f"334 {challenge}", "501 No")), why)

    def test_not_base64(self) -> None:
        for challenge in ("???", "YQ", "YQ==YQ=="):
            error = self.fails("LOGIN", f"334 {challenge}", "501 No")
            self.assertEqual(str(error), "a challenge that is not base64")

    def test_no_end_of_challenges(self) -> None:
        error = self.fails("PLAIN", "334 ", "334 ", "501 No")
        self.assertEqual(str(error), "the server asks for more than the mechanism has")

    def test_temporary(self) -> None:
        error = self.fails("PLAIN", "454 4.7.0 Temporary authentication failure")
        self.assertTrue(error.temporary)

    def test_an_echo(self) -> None:
        """Servers say what they did not understand: the line with the password, which is nobody's to read."""

        class Echo(Far):
            def _obey(self, verb: str, text: str) -> None:
                if verb in {"EHLO", "QUIT"}:
                    super()._obey(verb, text)
                else:
                    self._say(verb, f"{code} {code // 100}.5.4 What is {text}\x1b?")

        for code, mechanism in ((500, "PLAIN"), (535, "PLAIN"), (421, "PLAIN"), (454, "PLAIN"), (501, "XOAUTH2")):
            net = Net(partial(Echo, [f"AUTH {mechanism}"]))
            secret = {"username": USER, "token": TOKEN} if mechanism == "XOAUTH2" else ADA
            credentials = Credentials(plaintext=True, **secret)
            with self.assertRaises(ClientError) as caught:
                result_of(net.run(net.connector.connect(net.destination(credentials=credentials))))
            said = net.far.heard[1].split()[-1]
            self.assertGreater(len(said), 10)
            for text in (str(caught.exception), repr(caught.exception), str(caught.exception.reply)):
                self.assertNotIn(said, text)
            self.assertEqual(str(caught.exception.reply), f"{code} {code // 100}.5.4 AUTH was refused")

    def test_a_plain_echo(self) -> None:
        """As of a terminal: what comes back is no reply, and is shown nowhere."""

        class Echo(Far):
            before = ""

            def _obey(self, verb: str, text: str) -> None:
                if verb == "EHLO":
                    super()._obey(verb, text)
                else:
                    self._say(verb, self.before + text)

        for Echo.before in ("", "535-5.7.8 No\r\n500 "):
            net = Net(partial(Echo, ["AUTH PLAIN"]))
            credentials = Credentials(plaintext=True, **ADA)
            with self.assertRaises(ProtocolError) as caught:
                result_of(net.run(net.connector.connect(net.destination(credentials=credentials))))
            self.assertEqual(str(caught.exception), "no reply to AUTH")

    def test_another_mechanism(self) -> None:
        """One that the server does not do after all is no reason to give up; one that has failed is."""
        said = self.open("CRAM-MD5 PLAIN", "504 5.5.4 No", "235 2.7.0 Yes")
        self.assertEqual([each.split()[1] for each in said], ["CRAM-MD5", "PLAIN"])
        self.fails("CRAM-MD5 PLAIN", "535 5.7.8 No", "235 2.7.0 Yes")
        self.assertEqual(len([each for each in self.net.far.heard if "AUTH" in each]), 1)

    def test_a_long_message(self) -> None:
        """RFC 4954 section 4: a command is not longer than a command may be, a response may."""
        said = self.open("XOAUTH2", "334 ", "235 2.7.0 Yes", password="", token="x" * 2000)
        self.assertEqual(said[0], "AUTH XOAUTH2")
        self.assertIn(b"x" * 2000, base64.b64decode(said[1]))

    def test_secrets_are_not_named(self) -> None:
        """Nor what holds them: what is lost while the password was on its way is called AUTH."""
        net = Net(lambda: Answering("LOGIN", ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "gone"]))
        with self.assertRaises(Exception) as caught:
            result_of(net.run(net.connector.connect(net.destination(credentials=Credentials(plaintext=True, **ADA)))))
        self.assertEqual(str(caught.exception), "AUTH: closed by the far side")

    def test_all_have_a_test(self) -> None:
        tried = {"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"}
        over_tls = {"EXTERNAL", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"}  # test_tls.py
        self.assertEqual({each.name for each in MECHANISMS}, tried | over_tls)
