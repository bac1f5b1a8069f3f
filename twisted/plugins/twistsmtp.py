"""``twistd smtp`` and ``twist smtp``."""

from twisted.application.service import ServiceMaker

smtp = ServiceMaker("twistsmtp SMTP server", "twistsmtp.service", "An SMTP server: takes mail and delivers it.", "smtp")
