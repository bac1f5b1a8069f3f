"""Senders and logins: users have their own addresses, and nobody else has them."""

import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import USER, Anybody, Realm, authenticate, plain, secured
from tests.scripted import ScriptedDelivery
from tests.support import Client, Server, logged
from tests.test_textfile import Threads, at_once
from twistsmtp.policy.senders import SenderLogins, SenderMap, parse_sender_map
from twistsmtp.sasl import load_mechanisms
from twistsmtp.textfile import BadLines
from twistsmtp.wire.grammar import Mailbox, parse_mailbox

MAP = """\
# Who may send as whom
ada@mx.test       ada
office@mx.test    ada, bob
noreply@mx.test   *
@mx.test          root
@lists.test       bob
"""

OK, REFUSED = "250 2.1.0", "553 5.7.1"


def senders(*lines: str) -> SenderMap:
    return parse_sender_map("\n".join(lines).encode())


class MapTests(SynchronousTestCase):
    """The file's lines, and what they mean."""

    def may(self, map: SenderMap, user: str, *mailboxes: str) -> None:
        for each in mailboxes:
            self.assertTrue(map.allows(user, parse_mailbox(each)), f"{user} may not send as {each}")

    def may_not(self, map: SenderMap, user: str, *mailboxes: str) -> None:
        for each in mailboxes:
            self.assertFalse(map.allows(user, parse_mailbox(each)), f"{user} may send as {each}")

    def owned(self, map: SenderMap, *mailboxes: str) -> list[str]:
        return [each for each in mailboxes if map.is_owned(parse_mailbox(each))]

    def test_empty(self) -> None:
        """Nobody has an address, and nobody is kept from one."""
        for octets in (b"", b"\n# nothing\n"):
            map = parse_sender_map(octets)
            self.may_not(map, "ada", "ada@mx.test")
            self.assertFalse(map.is_owned(parse_mailbox("ada@mx.test")))

    def test_address(self) -> None:
        map = senders("ada@mx.test ada")
        self.may(map, "ada", "ada@mx.test")
        self.may_not(map, "bob", "ada@mx.test")
        self.may_not(map, "ada", "bob@mx.test", "ada@sub.mx.test", "ada@test", "ada@elsewhere.test", "a@mx.test")
        self.assertEqual(["ada@mx.test"], self.owned(map, "ada@mx.test", "bob@mx.test", "ada@sub.mx.test"))

    def test_users(self) -> None:
        """Parted by blanks, tabs or commas."""
        for users in ("ada,bob,carl", "ada, bob,carl", "ada bob\tcarl", "ada , bob,, carl, ", "carl ada bob\r"):
            map = senders(f"office@mx.test\t{users}")
            for user in ("ada", "bob", "carl"):
                self.may(map, user, "office@mx.test")
            self.may_not(map, "", "office@mx.test")
            self.may_not(map, "ada,", "office@mx.test")

    def test_users_in_quotes(self) -> None:
        map = senders('ada@mx.test "Ada Lovelace", bob, "x,y"')
        for user in ("Ada Lovelace", "bob", "x,y"):
            self.may(map, user, "ada@mx.test")
        for user in ("Ada", "Lovelace", "x", "y", '"Ada Lovelace"'):
            self.may_not(map, user, "ada@mx.test")

    def test_several_lines(self) -> None:
        map = senders("office@mx.test ada", "OFFICE@mx.test bob", "@mx.test ada", "@MX.test bob")
        for user in ("ada", "bob"):
            self.may(map, user, "office@mx.test", "x@mx.test")

    def test_the_most_exact_line_counts_alone(self) -> None:
        map = senders("@mx.test root", "ada@mx.test ada", "ada+lists@mx.test carl", "* guest")
        self.may(map, "root", "bob@mx.test", "bob+x@mx.test")
        self.may(map, "ada", "ada@mx.test", "ada+x@mx.test", "ada+x+y@mx.test", "ada+@mx.test")
        self.may(map, "carl", "ada+lists@mx.test")
        self.may(map, "guest", "a@elsewhere.test")
        self.may_not(map, "root", "ada@mx.test", "ada+x@mx.test", "ada+lists@mx.test", "a@elsewhere.test")
        self.may_not(map, "ada", "ada+lists@mx.test", "bob@mx.test")
        self.may_not(map, "guest", "bob@mx.test", "ada@mx.test")

    def test_a_plus_in_front_is_no_detail(self) -> None:
        map = senders("@mx.test root", "+@mx.test ada", "+x@mx.test bob", '""@mx.test carl')
        self.may(map, "root", "+y@mx.test")
        self.may(map, "ada", "+@mx.test")
        self.may(map, "bob", "+x@mx.test")

    def test_everybody(self) -> None:
        map = senders("noreply@mx.test *", "@mx.test root")
        self.may(map, "anybody", "noreply@mx.test")
        self.may_not(map, "anybody", "ada@mx.test")
        self.assertEqual(["noreply@mx.test"], self.owned(map, "noreply@mx.test", "x@elsewhere.test"))

    def test_every_other_sender(self) -> None:
        """Who may send as those that no line is for; it keeps nobody from them."""
        map = senders("ada@mx.test ada", "* lists")
        self.may(map, "lists", "x@elsewhere.test", "bob@mx.test", '"*"@mx.test')
        self.may_not(map, "lists", "ada@mx.test")
        self.may_not(map, "ada", "x@elsewhere.test")
        self.assertEqual(["ada@mx.test"], self.owned(map, "x@elsewhere.test", "ada@mx.test", '""@elsewhere.test'))

    def test_everybody_for_every_other(self) -> None:
        map = senders("ada@mx.test ada", "* *")
        self.may(map, "bob", "x@elsewhere.test")
        self.may_not(map, "bob", "ada@mx.test")

    def test_case(self) -> None:
        """That of an address does not matter, that of a user does."""
        map = senders("Ada@MX.Test ada", "@Lists.TEST Bob")
        self.may(map, "ada", "ada@mx.test", "ADA@mx.TEST", "aDa+X@mx.test")
        self.may(map, "Bob", "x@LISTS.test")
        self.may_not(map, "Ada", "ada@mx.test")
        self.may_not(map, "bob", "x@lists.test")

    def test_forms(self) -> None:
        """One mailbox or domain, written in other ways."""
        map = senders(
            "jörg@bücher.test ada", "@xn--bcher-kva.example ada", '"john doe"@mx.test ada', "@[192.0.2.7] ada"
        )
        self.may(map, "ada", "jörg@xn--bcher-kva.test", "JO\u0308RG@BÜCHER.test", "x@bücher.example", "x@[192.0.2.7]")
        self.may(map, "ada", '"john doe"@mx.test', '"john\\ doe"@mx.test', '"x"@[192.0.2.7]')
        self.may_not(map, "ada", "jorg@bücher.test", '"john\\ doe"@elsewhere.test', "x@[192.0.2.8]")

    def test_tricks(self) -> None:
        """What looks like an address in a local part is no address."""
        map = senders("ada@mx.test ada", "@mx.test root", '""@other.test ada', "@other.test root")
        self.may_not(
            map, "ada", '"ada@mx.test"@elsewhere.test', '"@mx.test"@elsewhere.test', "ada%mx.test@elsewhere.test"
        )
        self.may_not(map, "ada", "x@other.test")
        self.may(map, "ada", '""@other.test', '"ada"@mx.test')
        self.may_not(map, "root", '""@other.test')

    def test_names_are_prepared(self) -> None:
        """As those who authenticate are."""
        map = senders("ada@mx.test Ame\u0301lie")
        self.may(map, "Am\u00e9lie", "ada@mx.test")

    def test_bad_lines(self) -> None:
        for line, problem in (
            ("ada@mx.test", "not an address, @domain or *, with users behind it"),
            ("ada@mx.test  \t", "not an address, @domain or *, with users behind it"),
            ("ada@mx.test ,", "not an address, @domain or *, with users behind it"),
            ('ada@mx.test "ada', "not an address, @domain or *, with users behind it"),
            ('ada@mx.test ""', "not an address, @domain or *, with users behind it"),
            ('ada@mx.test "a""b"', "not an address, @domain or *, with users behind it"),
            ("*", "not an address, @domain or *, with users behind it"),
            ("ada ada", "Mailbox has no domain"),
            ("ada@ ada", "Syntax: Domain is malformed"),
            ("@ ada", "Syntax: Domain is malformed"),
            ("@a@b ada", "Syntax: Domain is malformed"),
            ("ada@mx.test, ada", "Syntax: Domain is malformed"),
            ("*@mx.test. ada", "Syntax: Domain is malformed"),
            (" bob@mx.test bob", "it begins with a blank"),
            ("\tbob, carl", "it begins with a blank"),
            ("ada@mx.test a\x07", "a\\x07 cannot be a user"),
            ("ada@mx.test \u00ad", "\\xad cannot be a user"),
            ("ada@mx.test ada, anonymous", "anonymous cannot be a user"),
        ):
            error = self.assertRaises(BadLines, senders, "# one", line)
            self.assertEqual({2: problem}, error.problems, line)

    @given(st.binary() | st.text('ad@*+#", \t\n\\.[]1ü').map(str.encode))
    def test_anything(self, octets: bytes) -> None:
        """A file has a map, or bad lines; and who is not in it has nothing, unless everybody has."""
        try:
            map = parse_sender_map(octets)
        except BadLines:
            return
        if b"*" not in octets:
            self.assertFalse(map.allows("zoe", Mailbox("a", "d")))

    @given(st.emails(), st.from_regex("[a-z]{1,5}", fullmatch=True), st.from_regex("[a-z]{6}", fullmatch=True))
    def test_any_address(self, address: str, user: str, other: str) -> None:
        """Who is listed may use it, in either case, and nobody else."""
        local, _, domain = address.rpartition("@")
        map = senders(f'"{local}"@{domain} {user}')  # in quotes, as it may begin with "#"
        for written in (address, address.upper(), address.lower()):
            self.may(map, user, written)
            self.may_not(map, other, written)
            self.assertTrue(map.is_owned(parse_mailbox(written)))


class PolicyTests(SynchronousTestCase):
    """What clients are told."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text(MAP)
        self.clock = Clock()

    def server(self, *checkers: Any, in_thread: Any = at_once, **settings: Any) -> Server:
        policy = SenderLogins(self.path, seconds=self.clock.seconds, in_thread=in_thread)
        return secured(*checkers, policies=[policy], **settings)

    def connect(self, user: str | None = None, *checkers: Any, **settings: Any) -> Client:
        """A client, that is a user if that is said."""
        client = self.server(*checkers, **settings).connect().hello()
        if user is not None:
            client.session.authenticated(user, client.session.delivery, lambda: None)
        return client

    def senders(self, client: Client, *senders: str, parameters: str = "") -> list[str]:
        """What MAIL gets from each of them."""
        codes = []
        for sender in senders:
            codes += client.codes(f"MAIL FROM:<{sender}>{parameters}")
            client.say("RSET")
        return codes

    def test_strangers(self) -> None:
        """They have none of the addresses that the map has, and all others."""
        client = self.connect()
        ours = ["ada@mx.test", "ADA@MX.TEST", "noreply@mx.test", "x@mx.test", "ada+x@mx.test", "x@lists.test"]
        self.assertEqual([REFUSED] * len(ours), self.senders(client, *ours))
        others = ["x@elsewhere.test", "ada@sub.mx.test", '"ada@mx.test"@elsewhere.test']
        self.assertEqual([OK] * len(others), self.senders(client, *others))

    def test_users(self) -> None:
        """They have theirs, and no others, whether the map has them or not."""
        client = self.connect("ada")
        ours = ["ada@mx.test", "Ada+x@MX.test", "office@mx.test", "noreply@mx.test"]
        self.assertEqual([OK] * len(ours), self.senders(client, *ours))
        others = ["root@mx.test", "x@lists.test", "x@elsewhere.test", "ada@elsewhere.test"]
        self.assertEqual([REFUSED] * len(others), self.senders(client, *others))

    def test_users_of_a_domain(self) -> None:
        client = self.connect("root")
        self.assertEqual([OK, REFUSED], self.senders(client, "x@mx.test", "ada@mx.test"))

    def test_users_that_the_map_has_not(self) -> None:
        client = self.connect("zoe")
        self.assertEqual([OK, REFUSED], self.senders(client, "noreply@mx.test", "zoe@elsewhere.test"))

    def test_null_reverse_path(self) -> None:
        """Notifications: those of other servers, and those that a user's program makes."""
        self.assertEqual([OK], self.senders(self.connect(), ""))
        self.assertEqual([OK], self.senders(self.connect("ada"), ""))

    def test_internationalized(self) -> None:
        self.path.write_text("jörg@bücher.test jörg\n")
        client = self.connect("jörg")
        names = ["JÖRG@bücher.test", "jörg@xn--bcher-kva.test"]
        self.assertEqual([OK] * 2, self.senders(client, *names, parameters=" SMTPUTF8"))
        self.assertEqual([REFUSED] * 2, self.senders(self.connect(), *names, parameters=" SMTPUTF8"))

    def test_a_source_route_is_dropped(self) -> None:
        self.assertEqual([REFUSED], self.senders(self.connect(), "@elsewhere.test:ada@mx.test"))

    def test_what_it_says(self) -> None:
        [reply] = self.connect().say("MAIL FROM:<ada@mx.test>")
        self.assertEqual("553 5.7.1 This sender address is for its owner: authenticate first", reply)
        [reply] = self.connect("bob").say("MAIL FROM:<ada@mx.test>")
        self.assertEqual("553 5.7.1 This sender address is not one of yours", reply)

    def test_log(self) -> None:
        """A user who tries another's address may be one whose password was stolen."""
        client = self.connect("jörg\x1b")
        with logged("twistsmtp.policy") as events:
            self.senders(client, "ada@mx.test")
            self.senders(self.connect(), "ada@mx.test")
        [event] = events
        session = client.session.id
        self.assertEqual(
            f"{session} client=192.0.2.1 user=j\\xf6rg\\x1b may not send as ada@mx.test", formatEvent(event)
        )

    def test_by_auth(self) -> None:
        """From AUTH on, to the end of the session."""
        self.path.write_text(f"tim@mx.test {USER}\n@mx.test root\n")
        client = self.server().connect().hello()
        self.assertEqual([REFUSED], self.senders(client, "tim@mx.test"))
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual([OK, REFUSED], self.senders(client, "tim@mx.test", "x@mx.test"))
        client.say("EHLO client.test")
        self.assertEqual([OK, REFUSED], self.senders(client, "tim@mx.test", "x@mx.test"))

    def test_anonymous(self) -> None:
        """Those are as strangers are; that everybody has an address does not mean them."""
        realm = Realm(visitors=ScriptedDelivery())
        client = self.connect(None, Anybody(), realm=realm, mechanisms=load_mechanisms(["ANONYMOUS"]))
        self.assertIn("235 2.7.0", authenticate(client, "ANONYMOUS")[-1])
        names = ["ada@mx.test", "noreply@mx.test", "x@elsewhere.test", ""]
        self.assertEqual([REFUSED, REFUSED, OK, OK], self.senders(client, *names))

    def test_auth_parameter_is_not_believed(self) -> None:
        """What the client says of who submitted the message (RFC 4954 section 5) is no login."""
        self.assertEqual([REFUSED], self.senders(self.connect(), "ada@mx.test", parameters=" AUTH=ada@mx.test"))

    def test_files_that_are_none(self) -> None:
        self.assertRaises(FileNotFoundError, SenderLogins, self.mktemp())
        self.path.write_text("ada@mx.test ada\nada\n")
        error = self.assertRaises(ValueError, SenderLogins, self.path)
        self.assertEqual(f"{self.path}: line 2: not an address, @domain or *, with users behind it", str(error))


class ChangeTests(PolicyTests):
    """The file changes. All that holds before holds when it has been read again, too."""

    def server(self, *checkers: Any, in_thread: Any = at_once, **settings: Any) -> Server:
        text = self.path.read_text()
        self.path.write_text("ada@elsewhere.test ada\n")
        server = super().server(*checkers, in_thread=in_thread, **settings)
        self.change(text)
        return server

    def change(self, text: str) -> None:
        self.path.write_text(text)
        time = self.path.stat().st_mtime_ns + 10**9
        os.utime(self.path, ns=(time, time))
        self.clock.advance(1)

    def test_a_connection_that_is_there(self) -> None:
        client = self.connect("ada")
        self.assertEqual([OK], self.senders(client, "ada@mx.test"))
        self.change("ada@mx.test bob\n")
        self.assertEqual([REFUSED], self.senders(client, "ada@mx.test"))

    def test_broken(self) -> None:
        """The map stays what it was: nobody has more than before, and nobody less."""
        client = self.connect("ada")
        self.senders(client, "ada@mx.test")
        self.change("@mx.test *\nada\n")
        with logged("twistsmtp.textfile") as events:
            self.assertEqual([OK, REFUSED], self.senders(client, "ada@mx.test", "root@mx.test"))
        [event] = events
        self.assertIn("line 2: not an address", formatEvent(event))

    def test_gone(self) -> None:
        client = self.connect("ada")
        self.senders(client, "ada@mx.test")
        self.path.unlink()
        self.clock.advance(1)
        self.assertEqual([OK, REFUSED], self.senders(client, "ada@mx.test", "root@mx.test"))

    def test_mail_waits_until_it_has_been_read(self) -> None:
        threads = Threads()
        client = self.connect(None, in_thread=threads)
        self.assertEqual([], client.codes("MAIL FROM:<ada@mx.test>", "RSET", "MAIL FROM:<x@elsewhere.test>"))
        threads.finish()
        self.assertEqual([REFUSED, "250 2.0.0", OK], client.codes())

    def test_a_client_that_does_not_wait(self) -> None:
        threads = Threads()
        client = self.connect(None, in_thread=threads)
        client.say("MAIL FROM:<ada@mx.test>")
        client.vanish()
        threads.finish()
        self.assertEqual([REFUSED], self.senders(client.server.connect().hello(), "ada@mx.test"))
        self.assertEqual([], self.flushLoggedErrors())
