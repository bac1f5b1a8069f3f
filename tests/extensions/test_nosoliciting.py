"""NO-SOLICITING: RFC 3865."""

from tests.extensions.parameters import ParameterTestCase
from tests.support import Client
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.nosoliciting import SOLICIT, extension


class NoSolicitingTests(ParameterTestCase):
    def choosy(self) -> Client:
        choosy = extension(["org.example:ADV", "net.example:ADV:ADLT"])
        return self.client(extensions=[*load_extensions(["enhancedstatuscodes"]), choosy])

    def test_it_is_offered_where_the_delivery_looks_at_it(self) -> None:
        self.assertEqual(extension().keyword, "NO-SOLICITING")
        self.assert_offered_where_honoured("NO-SOLICITING", mail="SOLICIT=org.example:ADV")

    def test_the_classes_that_are_refused(self) -> None:
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

    def test_what_is_no_class(self) -> None:
        for refused in (["a b"], ["a", ""], ["1a"], ["a\r\nb"], ["a" * 451], ["ä"]):
            self.assertRaises(ValueError, extension, refused)

    def test_values(self) -> None:
        # Section 2.2.
        for text in ("a", "net.example:ADV", "net.example:ADV,org.example:ADV:ADLT,x", "a-._:9", "a," * 499 + "aa"):
            self.assertEqual(self.mail(f"SOLICIT={text}").get(SOLICIT), tuple(text.split(",")))
        self.assertEqual(self.mail("").get(SOLICIT), ())

    def test_what_is_malformed(self) -> None:
        for each in ("", "=", "=,", "=a,", "=,a", "=a,,b", "=1a", "=.a", "=a;b", "=a/b", "=ä", "=aä", "=" + "a" * 1001):
            self.mail_refused("501 5.5.4", f"SOLICIT{each}")
