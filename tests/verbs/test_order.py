"""The order of commands: all verbs in all stages, as RFC 5321 sections 4.1.4 and 4.3.2 have it."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.session import Stage

CONNECTED, READY, MAIL, RCPT, BARRED, CHUNKS = Stage

#: What brings a new connection to each stage.
WAYS = {
    CONNECTED: [],
    READY: ["EHLO client.test"],
    MAIL: ["EHLO client.test", "MAIL FROM:<a@client.test>"],
    RCPT: ["EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>"],
}

#: For each command: the code in each stage, and the stage behind it; ``None`` where the connection has ended.
TABLE: dict[str, list[tuple[int, Stage | None]]] = {
    "EHLO client.test": [(250, READY), (250, READY), (250, READY), (250, READY)],
    "HELO client.test": [(250, READY), (250, READY), (250, READY), (250, READY)],
    "MAIL FROM:<a@client.test>": [(503, CONNECTED), (250, MAIL), (503, MAIL), (503, RCPT)],
    "RCPT TO:<b@mx.test>": [(503, CONNECTED), (503, READY), (250, RCPT), (250, RCPT)],
    "DATA": [(503, CONNECTED), (503, READY), (503, MAIL), (354, RCPT)],
    "RSET": [(250, CONNECTED), (250, READY), (250, READY), (250, READY)],
    "NOOP": [(250, CONNECTED), (250, READY), (250, MAIL), (250, RCPT)],
    "HELP": [(214, CONNECTED), (214, READY), (214, MAIL), (214, RCPT)],
    "VRFY b": [(252, CONNECTED), (252, READY), (252, MAIL), (252, RCPT)],
    "EXPN b": [(502, CONNECTED), (502, READY), (502, MAIL), (502, RCPT)],
    "QUIT": [(221, None), (221, None), (221, None), (221, None)],
    "STARTTLS": [(454, CONNECTED), (454, READY), (503, MAIL), (503, RCPT)],
    "AUTH PLAIN": [(503, CONNECTED), (502, READY), (503, MAIL), (503, RCPT)],
    # "An SMTP server that does not recognize such a command is expected to reply with 500" (section 4.1.5).
    "XUNKNOWN": [(500, CONNECTED), (500, READY), (500, MAIL), (500, RCPT)],
    "TURN": [(500, CONNECTED), (500, READY), (500, MAIL), (500, RCPT)],
    # A command that is refused for its syntax leaves everything as it is.
    "EHLO": [(501, CONNECTED), (501, READY), (501, MAIL), (501, RCPT)],
    "HELO a b": [(501, CONNECTED), (501, READY), (501, MAIL), (501, RCPT)],
    "MAIL TO:<a@client.test>": [(503, CONNECTED), (501, READY), (503, MAIL), (503, RCPT)],
    "RCPT FROM:<b@mx.test>": [(503, CONNECTED), (503, READY), (501, MAIL), (501, RCPT)],
    "DATA now": [(503, CONNECTED), (503, READY), (503, MAIL), (501, RCPT)],
    "RSET now": [(501, CONNECTED), (501, READY), (501, MAIL), (501, RCPT)],
    "QUIT now": [(501, CONNECTED), (501, READY), (501, MAIL), (501, RCPT)],
}


class OrderTests(SynchronousTestCase):
    def at(self, stage: Stage) -> Client:
        client = Server().connect()
        client.read()
        for command in WAYS[stage]:
            self.assertEqual([reply[:3] for reply in client.say(command)], ["250"])
        self.assertIs(client.session.stage, stage)
        return client

    def test_rfc5321_4_1_4_every_command_in_every_stage(self) -> None:
        for command, row in TABLE.items():
            for stage, (code, after) in zip(WAYS, row, strict=True):
                client = self.at(stage)
                self.assertEqual([reply[:3] for reply in client.say(command)], [str(code)], (command, stage))
                self.assertEqual(client.closed, after is None, (command, stage))
                if after is not None:
                    self.assertIs(client.session.stage, after, (command, stage))

    def test_rfc5321_4_1_4_what_ends_a_transaction_aborts_it(self) -> None:
        for command in ("EHLO client.test", "HELO client.test", "RSET", "QUIT"):
            for stage in (MAIL, RCPT):
                client = self.at(stage)
                client.say(command)
                [transaction] = client.server.delivery.transactions
                self.assertEqual((transaction.aborts, client.session.transaction), (1, None), (command, stage))

    def test_rfc5321_4_1_4_what_does_not_end_a_transaction_leaves_it_whole(self) -> None:
        for command, row in TABLE.items():
            if row[3][1] is not RCPT or command == "DATA":
                continue
            client = self.at(RCPT)
            client.say(command)
            self.assertEqual(
                client.codes("RCPT TO:<c@mx.test>", "DATA", "."), ["250 2.1.5", "354", "250 2.0.0"], command
            )
            [transaction] = client.server.delivery.transactions
            self.assertEqual((transaction.commits, transaction.aborts), (1, 0))

    def test_rfc5321_4_1_4_why_a_command_is_out_of_order(self) -> None:
        for stage, command, reply in (
            (CONNECTED, "MAIL FROM:<>", "hello_first"),
            (CONNECTED, "RCPT TO:<b@mx.test>", "hello_first"),
            (CONNECTED, "DATA", "hello_first"),
            (READY, "RCPT TO:<b@mx.test>", "mail_first"),
            (READY, "DATA", "mail_first"),
            (MAIL, "DATA", "rcpt_first"),
            (MAIL, "MAIL FROM:<>", "transaction_open"),
            (RCPT, "MAIL FROM:<>", "transaction_open"),
        ):
            client = self.at(stage)
            self.assertEqual(
                client.say(command), [str(getattr(client.server.factory.replies, reply))], (command, stage)
            )

    def test_rfc5321_4_1_4_out_of_order_comes_before_syntax(self) -> None:
        self.assertEqual(self.at(CONNECTED).codes("MAIL nonsense", "RCPT nonsense", "DATA x"), ["503 5.5.1"] * 3)

    def test_rfc5321_4_1_4_verbs_in_any_case(self) -> None:
        client = Server().connect()
        client.read()
        commands = ["eHLO client.test", "mail from:<a@client.test>", "Rcpt tO:<b@mx.test>", "noop", "dAtA", ".", "quit"]
        self.assertEqual(
            [reply[:3] for reply in client.say(*commands)], ["250", "250", "250", "250", "354", "250", "221"]
        )

    def test_rfc5321_4_1_4_blanks_around_arguments(self) -> None:
        client = self.at(READY)
        commands = ["MAIL  FROM:<a@client.test>  ", "RCPT\tTO:<b@mx.test>\t", "NOOP ", "DATA ", ".", "QUIT \t"]
        self.assertEqual([reply[:3] for reply in client.say(*commands)], ["250", "250", "250", "354", "250", "221"])
