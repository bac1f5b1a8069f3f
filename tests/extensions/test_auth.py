"""AUTH: RFC 4954. What a mechanism does is in tests/sasl, what the portal does is in tests/test_cred.py."""

from base64 import b64decode
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

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
    TLSClient,
    authenticate,
    certificates,
    encoded,
    plain,
    secured,
)
from tests.scripted import Answer, Script
from tests.support import Client
from twistsmtp.extensions.auth import AUTH
from twistsmtp.limits import Limits
from twistsmtp.sasl import load_mechanisms
from twistsmtp.tls.facts import TLS

LINE = "500 5.5.6 Authentication exchange line is too long"
RIGHT, NOT_RIGHT = "235 2.7.0", "535 5.7.8"


def keywords(client: Client) -> list[str]:
    return [line[4:] for line in client.say("EHLO client.test")[0].splitlines()]


def offer(client: Client) -> list[str]:
    """The mechanisms that EHLO offers."""
    return next((line.split(" ")[1:] for line in keywords(client) if line.startswith("AUTH")), [])


class AuthTestCase(SynchronousTestCase):
    def client(self, *checkers: Any, **settings: Any) -> Client:
        self.realm = settings.setdefault("realm", Realm())
        return secured(*checkers, **settings).connect().hello()

    def assert_nobody(self, client: Client) -> None:
        """*client* is nobody, and the connection is as good as new."""
        self.assertIsNone(client.session.identity)
        self.assertEqual(self.realm.given, self.realm.left)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}", "NOOP"), [RIGHT, "250 2.0.0"])
        self.assertEqual(client.session.identity, USER)


class OrderTests(AuthTestCase):
    """When AUTH may be said."""

    def test_rfc4954_before_ehlo(self) -> None:
        for required in (False, True):
            client = secured(require_auth=required).connect()
            client.read()
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["503 5.5.1"])

    def test_rfc5321_2_2_1_after_helo(self) -> None:
        # RFC 5321 section 2.2.1: a client that says HELO uses no extensions.
        client = secured().connect()
        client.read()
        self.assertEqual(client.codes("HELO client.test", f"AUTH PLAIN {plain()}"), ["250", "503 5.5.1"])

    def test_rfc4954_in_a_transaction(self) -> None:
        for recipients in ([], ["b@mx.test"]):
            client = self.client()
            client.say("MAIL FROM:<>", *[f"RCPT TO:<{each}>" for each in recipients])
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["503 5.5.1"])
            self.assertIsNotNone(client.session.transaction)
            client.say("RSET")
            self.assert_nobody(client)

    def test_rfc4954_twice(self) -> None:
        client = self.client()
        for command in (f"AUTH PLAIN {plain()}", "AUTH LOGIN", "AUTH NONSENSE"):
            expected = RIGHT if client.session.identity is None else "503 5.5.1"
            self.assertEqual(client.codes(command), [expected])
        self.assertEqual((self.realm.given, self.realm.left), ([USER.encode()], []))

    def test_rfc4954_after_a_message(self) -> None:
        client = self.client()
        client.message()
        self.assert_nobody(client)

    def test_rfc4954_again_behind_starttls(self) -> None:
        realm = Realm()
        client = TLSClient(secured(realm=realm, tls=certificates())).hello()
        assert isinstance(client, TLSClient)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])
        client.start_tls().hello()
        self.assertEqual((client.session.identity, realm.left), (None, [USER.encode()]))
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_rfc4954_encryption_is_required(self) -> None:
        client = secured(plaintext_auth=False, tls=certificates()).connect().hello()
        for command in (f"AUTH PLAIN {plain()}", "AUTH LOGIN", "AUTH NONSENSE"):
            self.assertEqual(client.codes(command), ["538 5.7.11"])

    def test_rfc4954_a_session_that_is_told_it_is_encrypted(self) -> None:
        client = secured(plaintext_auth=False).connect().hello()
        client.session.encrypted(TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        self.assertEqual(offer(client), ["PLAIN", "LOGIN"])

    def test_rfc4954_authentication_is_required(self) -> None:
        client = self.client(require_auth=True)
        for command in ("MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA", "VRFY b", "EXPN b"):
            self.assertEqual(client.codes(command), ["530 5.7.0"])
        for command in ("NOOP", "RSET", "HELP", "HELO client.test", "EHLO client.test"):
            self.assertIn(client.codes(command)[0][:3], ("250", "214"))
        client.say(f"AUTH PLAIN {plain(WRONG)}")
        client.server.clock.advance(1)
        self.assertEqual(client.codes("MAIL FROM:<>"), [NOT_RIGHT, "530 5.7.0"])
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])
        delivery: Any = self.realm.delivery
        self.assertEqual(client.message()[0][:9], "250 2.0.0")
        self.assertEqual(len(delivery.bodies), 1)

    def test_rfc4954_a_mail_client_that_is_done(self) -> None:
        client = self.client(require_auth=True)
        self.assertEqual(client.codes("QUIT"), ["221 2.0.0"])

    def test_rfc4954_it_is_a_command_without_mail(self) -> None:
        client = self.client(limits=Limits(idle_commands=3))
        commands = ["AUTH PLAIN =a"] * 3
        self.assertEqual(client.codes(*commands), ["501 5.5.2"] * 2 + ["421 4.7.0"])  # EHLO was the first


class ExchangeTests(AuthTestCase):
    """Section 4: the command, its challenges and responses."""

    def test_rfc4954_4_with_an_initial_response(self) -> None:
        client = self.client()
        self.assertEqual(client.say(f"AUTH PLAIN {plain()}"), ["235 2.7.0 Authentication succeeded"])
        self.assertEqual(client.session.identity, USER)

    def test_rfc4954_4_without_one_the_challenge_is_empty(self) -> None:
        client = self.client()
        self.assertEqual(client.send(b"AUTH PLAIN\r\n"), b"334 \r\n")
        self.assertEqual(client.codes(plain()), [RIGHT])

    def test_rfc4954_4_an_initial_response_of_nothing(self) -> None:
        # "If the client is transmitting an initial response of zero length, it MUST instead transmit the response as
        # a single equals sign". PLAIN has no use for it, ANONYMOUS has.
        client = self.client(Anybody(), Passwords(), mechanisms=load_mechanisms(["PLAIN", "ANONYMOUS"]))
        self.assertEqual(client.codes("AUTH PLAIN ="), ["501 5.5.2"])
        self.realm.visitors = self.realm.delivery
        self.assertEqual(client.codes("AUTH ANONYMOUS ="), [RIGHT])
        self.assertEqual(client.session.identity, "anonymous")

    def test_rfc4954_4_a_response_of_nothing_is_an_empty_line(self) -> None:
        for line, expected in (("", RIGHT), ("=", "235 2.7.0")):
            realm = Realm()
            client = secured(Anybody(), realm=realm, mechanisms=load_mechanisms(["ANONYMOUS"])).connect().hello()
            realm.visitors = realm.delivery
            self.assertEqual(client.codes("AUTH ANONYMOUS", line), ["334", expected])

    def test_rfc4954_4_padding_that_is_too_much(self) -> None:
        right = plain()
        for wrong in (right.rstrip("=") + "=" * (3 - right.count("=")), right + "==", right + "===="):
            if wrong != right:
                self.assertEqual(self.client().codes(f"AUTH PLAIN {wrong}"), ["501 5.5.2"], wrong)

    def test_rfc4954_4_names_in_any_case(self) -> None:
        for name in ("plain", "Plain", "pLAIN"):
            self.assertEqual(self.client().codes(f"auth {name} {plain()}"), [RIGHT])

    def test_rfc4954_4_prompts(self) -> None:
        client = self.client()
        self.assertEqual(client.say("AUTH LOGIN"), ["334 VXNlcm5hbWU6"])
        self.assertEqual(client.say(encoded(USER)), ["334 UGFzc3dvcmQ6"])
        self.assertEqual(client.codes(encoded(PASSWORD)), [RIGHT])

    def test_rfc4954_4_a_prompt_that_the_client_did_not_wait_for(self) -> None:
        self.assertEqual(
            self.client().codes(f"AUTH LOGIN {encoded(USER)}", encoded(PASSWORD)),
            ["334", RIGHT],
        )

    def test_rfc4954_4_a_challenge_that_has_to_be_awaited(self) -> None:
        # "If the client uses an initial-response argument to the AUTH command with a SASL mechanism in which the client
        # does not begin the authentication exchange, the server MUST reject the AUTH command with a 501 reply. Servers
        # using the enhanced status codes extension SHOULD return an enhanced status code of 5.7.0 in this case."
        client = self.client(Digests(), Passwords())
        for initial in ("=", encoded("tim b913a602c7eda7a495b4e6e7334d3890")):
            self.assertEqual(client.codes(f"AUTH CRAM-MD5 {initial}"), ["501 5.7.0"])
        self.assert_nobody(client)

    def test_rfc4954_4_cancelled(self) -> None:
        for said in (["AUTH PLAIN"], ["AUTH LOGIN"], ["AUTH LOGIN", encoded(USER)], ["AUTH CRAM-MD5"]):
            client = self.client(Passwords(), Digests())
            self.assertEqual(client.say(*said, "*")[-1], "501 5.7.0 Authentication cancelled")
            self.assert_nobody(client)

    def test_rfc4954_4_a_star_is_no_initial_response(self) -> None:
        self.assertEqual(self.client().codes("AUTH PLAIN *"), ["501 5.5.2"])

    def test_rfc4954_4_what_is_not_base64(self) -> None:
        bad = ["!", "a", "ab", "abc", "====", "YQ", "YQ=", "YQ==YQ==", " YQ==", "YQ== ", "Y Q=", "YWI-", "YW_j", "\t"]
        bad += ["YQ==\0", "\x7f", "YQ=\n="]
        for text in bad:
            client = self.client()
            self.assertEqual(client.codes("AUTH PLAIN", text), ["334", "501 5.5.2"], text)
            self.assert_nobody(client)
        for text in ("!", "a", "ab", "====", "YQ", "YQ==YQ=="):
            client = self.client()
            self.assertEqual(client.codes(f"AUTH PLAIN {text}"), ["501 5.5.2"], text)
            self.assert_nobody(client)
        for octets in (b"\xff", "é".encode(), b"YQ==\xc3"):
            client = self.client()
            self.assertEqual(client.codes("AUTH PLAIN", octets), ["334", "501 5.5.2"])
            self.assertEqual(client.codes(b"AUTH PLAIN " + octets)[0][:2], "50")
            self.assert_nobody(client)

    def test_rfc4954_4_what_the_mechanism_cannot_read(self) -> None:
        client = self.client()
        for message in ("", "tim", "\0tim", "\0\0", "\0tim\0", "\0\0secret", "a\0b\0c\0d"):
            self.assertEqual(client.codes("AUTH PLAIN", encoded(message)), ["334", "501 5.5.2"], message)
        self.assertEqual(client.session.counts.auth_failures, 0)
        self.assert_nobody(client)

    def test_rfc4954_4_the_argument(self) -> None:
        client = self.client()
        for argument in ("", "  ", "PLAIN a b", f"PLAIN {plain()} x"):
            self.assertEqual(client.codes(f"AUTH {argument}"), ["501 5.5.4"], argument)
        self.assert_nobody(client)

    def test_rfc4954_4_an_unknown_mechanism(self) -> None:
        client = self.client()
        for name in ("NONSENSE", "PLAI", "PLAIN-PLUS", "CRAM-MD5", "ANONYMOUS", "EXTERNAL", "P" * 300):
            self.assertEqual(client.codes(f"AUTH {name}"), ["504 5.5.4"], name)
            self.assertEqual(client.codes(f"AUTH {name} {plain()}"), ["504 5.5.4"], name)
        self.assert_nobody(client)

    def test_rfc2920_3_1_all_in_one_segment(self) -> None:
        # Nobody may do so (RFC 2920 section 3.1 does not name AUTH), but it must not be taken apart wrongly.
        client = self.client()
        replies = client.codes("AUTH LOGIN", encoded(USER), encoded(PASSWORD), "NOOP", "MAIL FROM:<>")
        self.assertEqual(replies, ["334", "334", RIGHT, "250 2.0.0", "250 2.1.0"])

    def test_rfc4954_4_responses_that_look_like_commands(self) -> None:
        client = self.client()
        self.assertEqual(client.codes("AUTH PLAIN", "QUIT"), ["334", "501 5.5.2"])
        self.assertFalse(client.closed)


class LineTests(AuthTestCase):
    """Section 4: a line of the exchange has 12288 octets with its CRLF at the most."""

    def test_rfc4954_4_the_longest_command(self) -> None:
        client = self.client()
        room = 12288 - len("AUTH PLAIN \r\n")
        base64 = "A" * (room - room % 4)
        for initial, code in ((base64, "501 5.5.2"), ("A" * room, "501 5.5.2"), ("A" * (room + 1), "500 5.5.6")):
            self.assertEqual(client.codes(f"AUTH PLAIN {initial}"), [code], len(initial))
        self.assert_nobody(client)

    def test_rfc4954_4_a_command_that_is_too_long(self) -> None:
        for length in (12289, 20_000, 200_000):
            for cut in (False, True):
                client = self.client()
                line = f"AUTH PLAIN {'A' * (length - 13)}\r\nNOOP\r\n".encode()
                pieces = [line[start : start + 5000] for start in range(0, len(line), 5000)] if cut else [line]
                said = b"".join(map(client.send, pieces)).decode().splitlines()
                self.assertEqual(said, [LINE, "250 2.0.0 OK"], (length, cut))
                self.assert_nobody(client)

    def test_rfc4954_4_a_response(self) -> None:
        for length, code in (
            (12284, "501 5.5.2"),
            (12287, "500 5.5.6"),
            (12288, "500 5.5.6"),
            (20_000, "500 5.5.6"),
            (200_000, "500 5.5.6"),
        ):
            for cut in (False, True):
                client = self.client()
                client.say("AUTH PLAIN")
                line = b"A" * length + b"\r\n"
                pieces = [line[start : start + 5000] for start in range(0, len(line), 5000)] if cut else [line]
                said = b"".join(map(client.send, pieces)).decode()
                self.assertEqual(said[:9], code, (length, cut))
                self.assertEqual(client.codes("NOOP"), ["250 2.0.0"])
                self.assert_nobody(client)

    def test_rfc4954_4_a_line_without_an_end(self) -> None:
        client = self.client()
        client.say("AUTH PLAIN")
        said = b"".join(client.send(b"A" * 65536) for _ in range(20))
        self.assertEqual(said, b"421 4.7.0 Line without end\r\n")
        self.assertTrue(client.closed)
        self.assertEqual(self.realm.given, [])

    def test_rfc4954_4_a_long_challenge_goes_out_whole(self) -> None:
        hostname = "mx." + "x" * 60 + ".test"
        client = self.client(Digests(), hostname=hostname)
        [challenge] = client.say("AUTH CRAM-MD5")
        self.assertTrue(b64decode(challenge[4:], validate=True).endswith(f"@{hostname}>".encode()))


class FailureTests(AuthTestCase):
    """What the client is told; what it costs is in tests/test_cred.py."""

    def test_rfc4954_a_wrong_password_and_an_unknown_user_look_the_same(self) -> None:
        for message in (plain(WRONG), plain(PASSWORD, "nobody"), plain(WRONG, "nobody")):
            client = self.client()
            self.assertEqual(client.say(f"AUTH PLAIN {message}"), [])
            client.server.clock.advance(1)
            self.assertEqual(client.say(), ["535 5.7.8 Authentication credentials invalid"])
            self.assert_nobody(client)

    def test_rfc4954_every_mechanism(self) -> None:
        checkers = Passwords(), Digests(), Bearers(), Scrams()
        client = self.client(*checkers, limits=Limits(auth_failures=100, auth_delay=0.1))
        for name in offer(client):
            replies = authenticate(client, name, WRONG)
            self.assertEqual(replies[-1], "535 5.7.8 Authentication credentials invalid", name)
            replies = authenticate(client, name, TOKEN if "AUTH" in name else PASSWORD, "nobody")
            self.assertEqual(replies[-1], "535 5.7.8 Authentication credentials invalid", name)
        for name in offer(client):
            other = client.server.connect("192.0.2.2").hello()
            self.assertEqual(authenticate(other, name, TOKEN if "AUTH" in name else PASSWORD)[-1][:9], RIGHT, name)
            self.assertEqual(other.session.identity, USER)

    def test_rfc4954_a_checker_that_fails(self) -> None:
        for step in ("check", "realm"):
            script = Script(**{step: [Answer(result=ZeroDivisionError("no database"))]})
            client = self.client(Passwords(script), realm=Realm(script))
            self.assertEqual(client.say(f"AUTH PLAIN {plain()}"), ["454 4.7.0 Temporary authentication failure"])
            self.assertEqual(client.session.counts.auth_failures, 0)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assert_nobody(client)

    def test_rfc4954_a_lookup_that_fails(self) -> None:
        script = Script(keys=[Answer(result=ZeroDivisionError("no database"))])
        client = self.client(Scrams(script), Passwords())
        self.assertEqual(authenticate(client, "SCRAM-SHA-1")[-1], "454 4.7.0 Temporary authentication failure")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_nobody(client)


class TranscriptTests(AuthTestCase):
    """As in sections 4 and 5; the hostnames and the secrets are ours."""

    def test_rfc4954_4_plain(self) -> None:
        client = self.client(Passwords(), Digests())
        self.assertEqual(client.say("AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ="), [])  # test, test, 1234
        client.server.clock.advance(1)
        self.assertEqual(client.codes(), [NOT_RIGHT])
        self.assertEqual(client.codes("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"), [RIGHT])

    def test_rfc4954_4_cram_md5(self) -> None:
        client = self.client(Passwords(), Digests())
        replies = authenticate(client, "CRAM-MD5")
        self.assertRegex(b64decode(replies[0][4:]).decode(), r"\A<[0-9]+\.[0-9]+@mx\.test>\Z")
        self.assertEqual([reply[:9] for reply in replies[1:]], [RIGHT])

    def test_rfc4954_4_the_parameter_of_mail(self) -> None:
        client = self.client()
        self.assertEqual(client.codes("MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com"), ["250 2.1.0"])
        reverse_path = client.session.current.reverse_path
        self.assertEqual(str(reverse_path.get(AUTH)), str(reverse_path.mailbox))

    def test_rfc4954_4_a_unix_socket(self) -> None:
        server = secured()
        client = server.connect(UNIXAddress("/run/smtp")).hello()
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])
