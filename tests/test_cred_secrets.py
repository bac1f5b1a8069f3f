"""Secrets are in no log, no reply, no text of an object and no traceback."""

from base64 import b64encode
from collections.abc import Sequence
from io import StringIO
from typing import Any

from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure

from tests.authentication import (
    PASSWORD,
    TOKEN,
    USER,
    WRONG,
    Anybody,
    Bearers,
    Digests,
    Passwords,
    Realm,
    Scrams,
    authenticate,
    encoded,
    plain,
    secured,
)
from tests.credkit import AuthPolicy, CredTestCase, Oops
from tests.scripted import Answer, How, Script, ScriptedDelivery
from twistsmtp.cred import Authentication
from twistsmtp.log import JSONObserver, TextObserver
from twistsmtp.sasl import MECHANISMS, load_mechanisms


class SecretTests(CredTestCase):
    """Secrets are in no log, no reply, no text of an object and no traceback."""

    SECRETS = (PASSWORD, WRONG, TOKEN)

    def setUp(self) -> None:
        #: What was seen anywhere.
        self.seen: list[str] = []

    def see(self, events: Sequence[LogEvent], *objects: object) -> None:
        text, json = StringIO(), StringIO()
        for event in events:
            TextObserver(text)(event)
            JSONObserver(json)(event)
            self.seen.append(formatEvent(event))
            self.seen += [repr(event), *(repr(value) for value in event.values()), *map(str, event.values())]
            failure = event.get("log_failure")
            if isinstance(failure, Failure):
                for detail in ("default", "brief", "verbose"):
                    if detail != "verbose" or not failure.captureVars:
                        self.seen.append(failure.getTraceback(detail=detail))
                self.seen += [failure.getErrorMessage(), repr(failure), str(failure.value)]
        self.seen += [text.getvalue(), json.getvalue()]
        self.seen += [shown(each) for each in objects for shown in (repr, str)]

    def assert_no_secret(self) -> None:
        everything = "\n".join(self.seen)
        for secret in self.SECRETS:
            octets = secret.encode()
            # In base64 a text looks in three ways, as it begins at one octet of three.
            forms = [secret, repr(octets)[2:-1], octets.hex()]
            forms += [b64encode(b"\0" * skip + octets).decode()[4 if skip else 0 : -4] for skip in range(3)]
            for form in forms:
                self.assertEqual([seen[:2000] for seen in self.seen if form in seen], [], form)
        self.assertGreater(len(everything), 1000)

    def talk(
        self, mechanism: str, secret: str, username: str = USER, script: Script | None = None, **settings: Any
    ) -> None:
        checkers = Passwords(script), Digests(script), Bearers(script), Scrams(script), Anybody(script)
        realm = Realm(script, ScriptedDelivery())
        objects: list[object] = []
        init = Authentication.__init__

        def spy(exchange: Any, *arguments: Any) -> None:
            init(exchange, *arguments)
            objects.extend((exchange, exchange._machine))

        self.patch(Authentication, "__init__", spy)
        with capturedLogs() as captured:
            server = secured(
                *checkers,
                realm=realm,
                mechanisms=load_mechanisms([m for m in MECHANISMS if "PLUS" not in m]),
                **settings,
            )
            client = self.connect(server)
            replies = authenticate(client, mechanism, secret, username)
            asked = client.protocol._asked
            replies += client.say("HELP", "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA", "text", ".")
            objects += [client.session, client.session.security, client.protocol, asked, server.factory, *replies]
            objects += [credentials for checker in checkers for credentials in checker.credentials]
            client.say("AUTH", f"AUTH {mechanism} {encoded(secret)} {encoded(secret)}", "QUIT")
            client.vanish()
        self.see(captured, *objects)
        self.flushLoggedErrors()

    def test_every_mechanism_with_right_and_wrong_secrets(self) -> None:
        for mechanism in MECHANISMS:
            if mechanism == "EXTERNAL" or mechanism.endswith("-PLUS"):
                continue
            for secret in (TOKEN if "AUTH" in mechanism else PASSWORD, WRONG):
                for username in (USER, "nobody"):
                    self.talk(mechanism, secret, username)
        self.assert_no_secret()

    def test_checkers_and_realms_that_fail(self) -> None:
        for step in ("check", "realm", "keys", "policy_auth"):
            for how in (How.PLAIN, How.COROUTINE, How.FIRED):
                for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "OAUTHBEARER", "SCRAM-SHA-256"):
                    # The visitor's avatar is the realm's first answer.
                    script = Script(**{step: [Answer(), Answer(how, Oops("out of order")), Answer(how, Oops())]})
                    secret = TOKEN if "AUTH" in mechanism else PASSWORD
                    self.talk(mechanism, secret, script=script, policies=[AuthPolicy(script)])
        self.assert_no_secret()

    def test_what_does_not_parse(self) -> None:
        for line in (
            f"AUTH PLAIN {encoded(PASSWORD)}",
            f"AUTH PLAIN {encoded(PASSWORD)}!",
            f"AUTH PLAIN {PASSWORD}!",
            f"AUTH LOGIN {encoded(USER)} {encoded(PASSWORD)}",
            f"AUTH {encoded(PASSWORD)}",
            f"AUTH PLAIN {plain()}\0",
            f"AUTHPLAIN {plain()}",
            encoded(PASSWORD),
            f"AUTH PLAIN {encoded(PASSWORD) * 1000}",
        ):
            with capturedLogs() as captured:
                client = self.connect(secured())
                replies = client.say(line, "AUTH PLAIN", line, "AUTH LOGIN", encoded(USER), line)
                client.say("QUIT")
                client.vanish()
            self.see(captured, *replies, client.session)
        self.assert_no_secret()
