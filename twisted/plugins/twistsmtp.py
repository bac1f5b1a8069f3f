"""``twistd smtp`` and ``twist smtp``."""

from twisted.application.service import ServiceMaker

smtp = ServiceMaker("twistsmtp SMTP server", "twistsmtp.command", "An SMTP server: takes mail and delivers it.", "smtp")
