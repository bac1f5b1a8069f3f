"""What addresses are compared by."""

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.addresskeys import keys_of
from twistsmtp.wire.address import Mailbox, parse_mailbox


class KeysOfTests(SynchronousTestCase):
    def test_the_most_exact_first(self) -> None:
        for address, keys in {
            "Ada@MX.test": [("ada", "mx.test"), (None, "mx.test")],
            "ada+x+y@mx.test": [("ada+x+y", "mx.test"), ("ada", "mx.test"), (None, "mx.test")],
            "ada+@mx.test": [("ada+", "mx.test"), ("ada", "mx.test"), (None, "mx.test")],
            "+x@mx.test": [("+x", "mx.test"), (None, "mx.test")],
            "JO\u0308RG@bücher.test": [("j\xf6rg", "xn--bcher-kva.test"), (None, "xn--bcher-kva.test")],
        }.items():
            self.assertEqual(keys, list(keys_of(parse_mailbox(address))), address)

    def test_no_domain_is_not_every_domain(self) -> None:
        self.assertEqual([("postmaster", "")], list(keys_of(Mailbox("Postmaster", ""))))
