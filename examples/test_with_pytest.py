"""Tests by pytest of an application that sends mail: pytest examples/test_with_pytest.py"""

from smtplib import SMTP, SMTPRecipientsRefused

import pytest

from twistsmtp.testing import MailServer


def remind(address: str, host: str, port: int, tries: int = 2) -> None:
    """The application: it tries again when it is told to."""
    try:
        with SMTP(host, port) as client:
            client.sendmail("us@example.org", [address], "Subject: Remember\n\nIt is today.\n")
    except SMTPRecipientsRefused as error:
        if error.recipients[address][0] >= 500 or tries == 1:
            raise
        remind(address, host, port, tries - 1)


def test_reminder(smtpd: MailServer) -> None:
    """It is sent once."""
    remind("ada@example.net", smtpd.host, smtpd.port)
    [message] = smtpd.wait_for()
    assert (message.recipients, message.email["Subject"]) == (("ada@example.net",), "Remember")


def test_tries_again(smtpd: MailServer) -> None:
    """A server that has no time now is asked again."""
    smtpd.defer_once()
    remind("ada@example.net", smtpd.host, smtpd.port)
    assert len(smtpd.wait_for()) == 1


def test_gives_up(smtpd: MailServer) -> None:
    """An address that does not exist is not."""
    smtpd.refuse("ada@example.net", 550, "No such user")
    with pytest.raises(SMTPRecipientsRefused):
        remind("ada@example.net", smtpd.host, smtpd.port)
