"""A configuration as objects: certificates, accounts, policies and endpoints."""

from pathlib import Path
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.support import issue, write
from twistsmtp.assembly import make_certificates, make_endpoint, make_factories
from twistsmtp.config import Config, ConfigError
from twistsmtp.delivery.api import IDelivery
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.senders import SenderLogins
from twistsmtp.session import Phase
from twistsmtp.tls.context import ClientAuth


class AssemblyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def certificate(self, *names: str) -> str:
        return str(write(self.folder / f"{names[0]}.pem", issue(*names)))

    def text(self, name: str, content: str) -> str:
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def config(self, **values: Any) -> Config:
        return Config(**{"hostname": "mx.example", "domains": ("example.org",), "delivery": "discard:"} | values)

    def factory(self, **values: Any) -> SMTPFactory:
        config = self.config(**values)
        return make_factories(config, make_certificates(config, self.reactor), self.reactor)[0]

    def wrong(self, **values: Any) -> str:
        return str(self.assertRaises(ConfigError, self.factory, **values))


class CertificateTests(AssemblyTestCase):
    def test_none(self) -> None:
        self.assertIsNone(make_certificates(self.config(), self.reactor))
        self.assertIsNone(self.factory().security.tls)

    def test_several(self) -> None:
        one, two = self.certificate("a.example"), self.certificate("b.example")
        certificates = make_certificates(self.config(tls_cert=(one, two)), self.reactor)
        assert certificates is not None
        self.assertEqual(certificates.names, ("a.example", "b.example"))
        self.assertIs(certificates.client_auth, ClientAuth.NONE)
        self.assertIs(self.factory(tls_cert=(one,)).security.tls.client_auth, ClientAuth.NONE)

    def test_keys_apart(self) -> None:
        leaf = issue("a.example")
        chain = self.text("chain.pem", b"".join(each.bytes() for each in leaf.cert_chain_pems).decode())
        key = self.text("key.pem", leaf.private_key_pem.bytes().decode())
        certificates = make_certificates(self.config(tls_cert=(chain,), tls_key=(key,)), self.reactor)
        assert certificates is not None
        self.assertEqual(certificates.names, ("a.example",))
        self.assertEqual(
            self.wrong(tls_cert=(chain, chain), tls_key=(key,)),
            "1 tls-key for 2 tls-cert: give one for each, or none",
        )

    def test_clients(self) -> None:
        one = self.certificate("a.example")
        for given, expected in (
            ("", ClientAuth.OPTIONAL),
            ("required", ClientAuth.REQUIRED),
            ("none", ClientAuth.NONE),
        ):
            certificates = make_certificates(
                self.config(tls_cert=(one,), tls_client_ca=one, tls_client_cert=given), self.reactor
            )
            assert certificates is not None
            self.assertIs(certificates.client_auth, expected)
        self.assertIn("tls-cert: ", self.wrong(tls_cert=(one,), tls_client_cert="required"))

    def test_what_is_of_no_use_without(self) -> None:
        for name, value in (
            ("tls_key", ("x",)),
            ("tls_client_ca", "x"),
            ("tls_client_cert", "optional"),
            ("require_tls", True),
            ("auth", ("memory:a:b",)),
        ):
            self.assertEqual(self.wrong(**{name: value}), f"{name.replace('_', '-')} is of no use without tls-cert")

    def test_encrypted_by_the_endpoint(self) -> None:
        factory = self.factory(listen=("ssl:465:privateKey=x",), require_tls=True, auth=("memory:a:b",))
        self.assertTrue(factory.security.require_tls)

    def test_wrong(self) -> None:
        missing = str(self.folder / "none.pem")
        self.assertEqual(self.wrong(tls_cert=(missing,)), f"tls-cert: No such file or directory: {missing}")


class EndpointTests(AssemblyTestCase):
    def test_tls(self) -> None:
        config = self.config(tls_cert=(self.certificate("a.example"),))
        certificates = make_certificates(config, self.reactor)
        factory, _ = make_factories(config, certificates, self.reactor)
        endpoint = make_endpoint("tls:465:interface=127.0.0.1", certificates, self.reactor)
        self.successResultOf(endpoint.listen(factory))
        ((port, wrapper, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (465, "127.0.0.1"))
        assert isinstance(wrapper, TLSMemoryBIOFactory)
        self.assertIs(wrapper.wrappedFactory, factory)

    def test_wrong(self) -> None:
        error = self.assertRaises(ConfigError, make_endpoint, "tls:465", None, self.reactor)
        self.assertEqual(str(error), "listen 'tls:465': tls: needs tls-cert")
        certificates = make_certificates(self.config(tls_cert=(self.certificate("a.example"),)), self.reactor)
        for text in ("tls:smtps", "tls:465:nosuch=1", "nosuch:1"):
            error = self.assertRaises(ConfigError, make_endpoint, text, certificates, self.reactor)
            self.assertTrue(str(error).startswith(f"listen {text!r}: "), error)


class AccountTests(AssemblyTestCase):
    def test_nobody(self) -> None:
        self.assertIsNone(self.factory().security.portal)
        self.assertEqual(
            self.wrong(require_auth=True), "require-auth: authentication is required, but there is no portal"
        )

    def test_everybody_has_the_delivery(self) -> None:
        factory = self.factory(auth=("memory:ada:secret", "memory:bob:other"), plaintext_auth=True)
        portal = factory.security.portal
        assert portal is not None
        for name, password in ((b"ada", b"secret"), (b"bob", b"other")):
            login = portal.login(UsernamePassword(name, password), None, IDelivery)
            interface, avatar, _ = self.successResultOf(login)
            self.assertEqual((interface, avatar), (IDelivery, factory.delivery))
        self.failureResultOf(portal.login(UsernamePassword(b"ada", b"other"), None, IDelivery), UnauthorizedLogin)

    def test_no_such_checker(self) -> None:
        self.assertEqual(
            self.wrong(auth=("nosuch:secret",), plaintext_auth=True), "auth nosuch: is no checker; --help lists them"
        )

    def test_an_error_does_not_tell_what_was_given(self) -> None:
        self.assertNotIn("secret", self.wrong(auth=("memory:ada:secret:bob",), plaintext_auth=True))

    def test_mechanisms(self) -> None:
        security = self.factory(mechanisms=("plain", "LOGIN"), exclude_mechanisms=frozenset({"LOGIN"})).security
        self.assertEqual([each.name for each in security.mechanisms], ["PLAIN"])
        self.assertIn("mechanism: no mechanism 'NOSUCH'", self.wrong(mechanisms=("NOSUCH",)))
        wrong = self.wrong(exclude_mechanisms=frozenset({"NOSUCH"}))
        self.assertEqual(wrong, "exclude-mechanism: there is no NOSUCH")


class PolicyTests(AssemblyTestCase):
    def rule(self, **values: Any) -> RelayRule:
        (check,) = self.factory(**values).checks[Phase.RCPT]
        rule = check.__self__  # type: ignore[attr-defined]  # it is a method
        self.assertIsInstance(rule, RelayRule)
        return rule  # type: ignore[no-any-return]  # as was seen

    def test_relay(self) -> None:
        self.assertFalse(self.rule().authenticated)
        self.assertTrue(self.rule(relay_authenticated=True).authenticated)

    def test_senders(self) -> None:
        self.assertNotIn(Phase.MAIL, self.factory().checks)
        path = self.text("senders", "@example.org ada\n")
        (check,) = self.factory(sender_login=path).checks[Phase.MAIL]
        self.assertIsInstance(check.__self__, SenderLogins)  # type: ignore[attr-defined]  # it is a method

    def test_senders_that_cannot_be_read(self) -> None:
        path = self.text("senders", "@example.org\n")
        self.assertIn(f"sender-login: {path}: line 1: ", self.wrong(sender_login=path))
