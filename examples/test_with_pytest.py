"""Tests by pytest of an application that sends mail: pytest examples/test_with_pytest.py"""

from smtplib import SMTP, SMTPRecipientsRefused

import pytest

from twistsmtp.testing import MailServer


def remind(address: str, host: str, port: int, tries: int = 2) -> int:
    """The application: it tries again when it is told to.

    :returns: how often it tried.
    """
    for number in range(1, tries + 1):
        try:
            with SMTP(host, port) as client:
                client.sendmail("us@example.org", [address], "Subject: Remember\n\nIt is today.\n")
        except SMTPRecipientsRefused as error:
            if error.recipients[address][0] >= 500 or number == tries:
                raise
        else:
            return number
    return 0


def test_reminder(smtpd: MailServer) -> None:
    """It is sent once."""
    assert remind("ada@example.net", smtpd.host, smtpd.port) == 1
    [message] = smtpd.wait_for()
    assert message.recipients == ("ada@example.net",)
    assert message.email["Subject"] == "Remember"


def test_tries_again(smtpd: MailServer) -> None:
    """A server that has no time now is asked again."""
    smtpd.defer_once()
    assert remind("ada@example.net", smtpd.host, smtpd.port) == 2
    assert len(smtpd.wait_for()) == 1


def test_gives_up(smtpd: MailServer) -> None:
    """An address that does not exist is not."""
    smtpd.refuse("ada@example.net", 550, "No such user")
    with pytest.raises(SMTPRecipientsRefused):
        remind("ada@example.net", smtpd.host, smtpd.port)
    assert smtpd.messages == []
