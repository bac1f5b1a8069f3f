"""A test of an application that sends mail, with the server in its own process: trial examples/test_welcome.py"""

from email.message import EmailMessage
from smtplib import SMTP

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from twistsmtp import Memory, SMTPFactory


def send_welcome(address: str, port: int) -> None:
    """The application: it knows nothing of the test."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "us@example.org", address, "Welcome"
    message.set_content("It is good to have you here.")
    with SMTP("127.0.0.1", port) as client:
        client.send_message(message)


class WelcomeTests(TestCase):
    """New users are welcomed."""

    async def test_welcome(self) -> None:
        """One message goes to the new user, and to nobody else."""
        memory = Memory()
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(SMTPFactory(memory))
        self.addCleanup(port.stopListening)
        await deferToThread(send_welcome, "ada@example.net", port.getHost().port)
        [message] = memory.messages
        self.assertEqual(["ada@example.net"], [str(recipient) for recipient in message.envelope.recipients])
        self.assertEqual("Welcome", message.email["Subject"])
