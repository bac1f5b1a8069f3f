"""The SMTP server for Python, on Twisted.

Everything that an application commonly needs is here, by the names of `__all__`; the modules that they come from, and
what else there is in them, are in the reference. A name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistsmtp.checkers.passwd_file import PasswdFile
    from twistsmtp.client import send
    from twistsmtp.config import Config
    from twistsmtp.delivery.api import Delivery, DeliveryTransaction, IDelivery
    from twistsmtp.delivery.callback import Callback, Mail, MailStream, StreamCallback
    from twistsmtp.delivery.discard import Discard
    from twistsmtp.delivery.maildir import Maildir
    from twistsmtp.delivery.memory import Memory
    from twistsmtp.delivery.relay import Relay
    from twistsmtp.envelope import Envelope, Parameter, Recipient, ReversePath
    from twistsmtp.factory import LMTPFactory, SMTPFactory
    from twistsmtp.limits import Limits
    from twistsmtp.policy.api import Policy
    from twistsmtp.policy.relay import RelayRule
    from twistsmtp.portals import portal_for
    from twistsmtp.sasl.api import Mechanism
    from twistsmtp.security import Security
    from twistsmtp.service import SMTPService
    from twistsmtp.serving import serve
    from twistsmtp.session import Session, Stage
    from twistsmtp.tls.certificates import Certificates
    from twistsmtp.verb import Extension, Verb
    from twistsmtp.wire.grammar import Mailbox, parse_mailbox
    from twistsmtp.wire.reply import Catalogue, Refusal, Reply

__all__ = [
    "Callback",
    "Catalogue",
    "Certificates",
    "Config",
    "Delivery",
    "DeliveryTransaction",
    "Discard",
    "Envelope",
    "Extension",
    "IDelivery",
    "LMTPFactory",
    "Limits",
    "Mail",
    "MailStream",
    "Mailbox",
    "Maildir",
    "Mechanism",
    "Memory",
    "Parameter",
    "PasswdFile",
    "Policy",
    "Recipient",
    "Refusal",
    "Relay",
    "RelayRule",
    "Reply",
    "ReversePath",
    "SMTPFactory",
    "SMTPService",
    "Security",
    "Session",
    "Stage",
    "StreamCallback",
    "Verb",
    "parse_mailbox",
    "portal_for",
    "send",
    "serve",
]

#: Where each name is from. To import them all would cost whoever wants one of them, as twistd's plugins do, the time
#: of all.
_ORIGINS = {
    "checkers.passwd_file": ("PasswdFile",),
    "client": ("send",),
    "config": ("Config",),
    "delivery.api": ("Delivery", "DeliveryTransaction", "IDelivery"),
    "delivery.callback": ("Callback", "Mail", "MailStream", "StreamCallback"),
    "delivery.discard": ("Discard",),
    "delivery.maildir": ("Maildir",),
    "delivery.memory": ("Memory",),
    "delivery.relay": ("Relay",),
    "envelope": ("Envelope", "Parameter", "Recipient", "ReversePath"),
    "factory": ("LMTPFactory", "SMTPFactory"),
    "limits": ("Limits",),
    "policy.api": ("Policy",),
    "policy.relay": ("RelayRule",),
    "portals": ("portal_for",),
    "sasl.api": ("Mechanism",),
    "security": ("Security",),
    "service": ("SMTPService",),
    "serving": ("serve",),
    "session": ("Session", "Stage"),
    "tls.certificates": ("Certificates",),
    "verb": ("Extension", "Verb"),
    "wire.grammar": ("Mailbox", "parse_mailbox"),
    "wire.reply": ("Catalogue", "Refusal", "Reply"),
}

if not TYPE_CHECKING:  # for a type checker, a name that is not there is an error
    _MODULES = {name: module for module, names in _ORIGINS.items() for name in names}

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
