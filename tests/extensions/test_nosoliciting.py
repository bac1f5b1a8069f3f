"""NO-SOLICITING: RFC 3865."""

import re

from tests.extensions.parameters import ParameterTestCase, memory
from tests.support import Client
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.nosoliciting import SOLICIT, extension


class NoSolicitingTests(ParameterTestCase):
    def choosy(self) -> Client:
        choosy = extension(["org.example:ADV", "net.example:ADV:ADLT"])
        return self.client(extensions=[*load_extensions(["enhancedstatuscodes"]), choosy])

    def test_rfc3865_it_is_offered_where_the_delivery_looks_at_it(self) -> None:
        self.assertEqual(extension().keyword, "NO-SOLICITING")
        self.assert_offered_where_honoured("NO-SOLICITING", mail="SOLICIT=org.example:ADV")

    def test_rfc3865_2_1_the_classes_that_are_refused(self) -> None:
        # Section 2.1.
        self.assertEqual(self.offers(self.choosy())[1:], ["NO-SOLICITING org.example:ADV,net.example:ADV:ADLT"])
        # Section 2.4: "5.7.1", and "the solicitation class keyword(s) that matched".
        self.mail_refused("550 5.7.1", "SOLICIT=org.example:ADV", client=self.choosy())
        for said, told in (
            ("com.example:X,org.example:adv", "org.example:ADV"),
            ("net.example:ADV:ADLT,ORG.example:ADV,org.example:ADV", "org.example:ADV,net.example:ADV:ADLT"),
        ):
            [reply] = self.choosy().say(f"MAIL FROM:<> SOLICIT={said}")
            self.assertEqual(reply, f"550 5.7.1 No soliciting: SOLICIT={told}")
        self.mail_refused("550 5.7.1", "SOLICIT=com.example:X,NET.example:adv:ADLT", client=self.choosy())
        for each in ("com.example:ADV", "org.example", "org.example:ADV:ADLT"):
            self.assertEqual(self.mail(f"SOLICIT={each}", self.choosy()).get(SOLICIT), (each,))

    def received(self, solicit: str) -> str:
        """The Received field of a message of these classes."""
        client = self.client()
        client.say(f"MAIL FROM:<> SOLICIT={solicit}", "RCPT TO:<b@mx.test>", "DATA")
        client.send(b"\r\n.\r\n")
        return memory(client).messages[0].octets.decode()

    def test_rfc3865_2_6_the_received_field_has_the_classes(self) -> None:
        # Section 2.6.
        self.assertIn(
            "\r\n\tby mx.test (twistsmtp) with ESMTP\r\n\t(SOLICIT=net.example:ADV,org.example:ADV:ADLT) id ",
            self.received("net.example:ADV,org.example:ADV:ADLT"),
        )

    def test_rfc3865_no_line_of_the_received_field_is_too_long(self) -> None:
        for solicit in ("a" * 900, "a" * 500 + "," + "b" * 499, "a" * 1000, "a" * 901 + ",b", "a," * 499 + "aa"):
            field = self.received(solicit).partition("\r\n\r\n")[0]
            self.assertLess(max(map(len, field.split("\r\n"))), 998)
            shown = re.findall(r"\(SOLICIT=([^)]*)\)", field)
            fitting = [each for each in solicit.split(",") if len(each) <= 900]
            self.assertEqual(re.sub(r"\s", "", "".join(shown)), ",".join(fitting))
            self.assertEqual(bool(shown), bool(fitting))

    def test_rfc3865_what_is_no_class(self) -> None:
        for refused in (["a b"], ["a", ""], ["1a"], ["a\r\nb"], ["a" * 451], ["ä"]):
            self.assertRaises(ValueError, extension, refused)

    def test_rfc3865_2_2_values(self) -> None:
        # Section 2.2.
        for text in ("a", "net.example:ADV", "net.example:ADV,org.example:ADV:ADLT,x", "a-._:9", "a," * 499 + "aa"):
            self.assertEqual(self.mail(f"SOLICIT={text}").get(SOLICIT), tuple(text.split(",")))
        self.assertEqual(self.mail("").get(SOLICIT), ())

    def test_rfc3865_what_is_malformed(self) -> None:
        for each in ("", "=", "=,", "=a,", "=,a", "=a,,b", "=1a", "=.a", "=a;b", "=a/b", "=ä", "=aä", "=" + "a" * 1001):
            self.mail_refused("501 5.5.4", f"SOLICIT{each}")
