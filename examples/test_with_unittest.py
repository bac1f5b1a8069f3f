"""Tests by unittest of an application that sends mail: python -m unittest examples/test_with_unittest.py"""

from email.message import EmailMessage
from smtplib import SMTP
from ssl import SSLContext
from unittest import TestCase, main

from twistsmtp.testing import MailServer


def report(text: str, host: str, port: int, context: SSLContext, password: str) -> None:
    """The application: it sends a report over TLS, as a user."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "us@example.org", "boss@example.org", "Report"
    message.set_content(text)
    with SMTP(host, port) as client:
        client.starttls(context=context)
        client.login("robot", password)
        client.send_message(message)


class ReportTests(TestCase):
    """The report is sent."""

    def setUp(self) -> None:
        """Start a server, and stop it at the end of the test."""
        self.server = self.enterContext(MailServer(tls=True, accounts={"robot": "sesame"}))

    def test_report(self) -> None:
        """As it is, over TLS, by the user, to a server that takes its time."""
        self.server.delay("message", 0.1)
        report("All is well.", self.server.host, self.server.port, self.server.ssl_context, "sesame")
        [message] = self.server.wait_for()
        self.assertEqual(message.email.get_content(), "All is well.\n")
        self.assertEqual((message.identity, message.encrypted), ("robot", True))


if __name__ == "__main__":
    main()
