"""A configuration as objects: certificates, accounts, policies and endpoints."""

from pathlib import Path
from typing import Any

from twisted.cred import strcred
from twisted.cred.credentials import ICredentials, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.support import issue, log_of, write
from twistsmtp.assembly import make_certificates, make_endpoint, make_factories
from twistsmtp.config import DEFAULT_DELIVERY, Config, ConfigError
from twistsmtp.delivery.api import Delivery, IDelivery
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.delivery.route import Route
from twistsmtp.delivery.tee import Tee
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.senders import SenderLogins
from twistsmtp.proxied import ProxiedFactory
from twistsmtp.security import Audience
from twistsmtp.session import Phase
from twistsmtp.tls.context import ClientAuth
from twistsmtp.wire.grammar import parse_mailbox


class AssemblyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.folder = Path(self.mktemp()).absolute()
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
        """What is wrong, before all else."""
        error: ConfigError = self.assertRaises(ConfigError, self.factory, **values)
        return error.problems[0]

    def warned(self, **values: Any) -> list[str]:
        """What is warned of where these settings make a factory."""
        with log_of("twistsmtp.service") as log:
            self.factory(**values)
        return [line.removeprefix("warn: ") for line in log]


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
            self.factory(tls_cert=(one,), tls_client_ca=one, tls_client_cert=given)
            certificates = make_certificates(
                self.config(tls_cert=(one,), tls_client_ca=one, tls_client_cert=given), self.reactor
            )
            assert certificates is not None
            self.assertIs(certificates.client_auth, expected)
        self.assertIn("tls-cert: ", self.wrong(tls_cert=(one,), tls_client_cert="required"))

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

    def test_proxies(self) -> None:
        config = self.config(tls_cert=(self.certificate("a.example"),))
        certificates = make_certificates(config, self.reactor)
        factory, _ = make_factories(config, certificates, self.reactor)
        for text in "proxy:tcp:25", "proxy:tls:465":
            endpoint = make_endpoint(text, certificates, self.reactor, ["10.0.0.0/24"])
            self.successResultOf(endpoint.listen(factory))
        plain, encrypted = (each[1] for each in self.reactor.tcpServers)
        assert isinstance(plain, ProxiedFactory) and isinstance(encrypted, ProxiedFactory)
        self.assertIs(plain.factory, factory)
        assert isinstance(encrypted.factory, TLSMemoryBIOFactory)
        self.assertIs(encrypted.factory.wrappedFactory, factory)
        self.assertIn(IPv4Address("TCP", "10.0.0.7", 1), plain.trusted)

    def test_proxies_that_are_wrong(self) -> None:
        for text, trusted, why in (
            ("proxy:tcp:25", (), "proxy: needs proxy-trusted"),
            ("proxy:tls:465", ("unix",), "tls: needs tls-cert"),
            ("proxy:haproxy:tcp:25", ("unix",), "proxy: stands in front of tcp, tls, unix, systemd and fd"),
        ):
            error = self.assertRaises(ConfigError, make_endpoint, text, None, self.reactor, trusted)
            self.assertIn(why, str(error))

    def test_who_is_trusted(self) -> None:
        self.assertEqual(self.wrong(proxy_trusted=("::1",)), "proxy-trusted is of no use without an endpoint proxy:")
        self.assertNotIn("XCLIENT", self.factory().registry.verbs)
        verbs = self.factory(xclient_trusted=("::1",), xforward_trusted=("unix",)).registry.verbs
        self.assertLessEqual({"XCLIENT", "XFORWARD"}, set(verbs))

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


class IdleTests(AssemblyTestCase):
    """What would do nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.pem = self.certificate("a.example")
        self.tls = {"tls_cert": (self.pem,)}
        self.accounts = {**self.tls, "auth": ("memory:a:b",)}

    def test_without_a_certificate(self) -> None:
        for name, value in (
            ("tls_key", ("x",)),
            ("tls_client_ca", "x"),
            ("tls_client_cert", "optional"),
            ("tls_client_cert", "required"),
            ("require_tls", True),
            ("auth", ("memory:a:b",)),
        ):
            wrong = self.wrong(**{name: value})
            self.assertEqual(wrong, f"{name.replace('_', '-')} is of no use without tls-cert")
        self.factory(tls_client_cert="none")

    def test_encrypted_by_the_endpoint(self) -> None:
        settings = {"require_tls": True, "auth": ("memory:a:b",)}
        for endpoint in ("ssl:465:privateKey=x", "haproxy:ssl:465", "elsewhere:465", "proxy:elsewhere:465"):
            for listen in ({"listen": ("tcp:25", endpoint)}, {"listen_lmtp": (endpoint,)}):
                self.assertTrue(self.factory(**settings, **listen).security.require_tls, endpoint)
        for endpoint in ("tcp:25", "tcp6:25:interface=x", "unix:/run/ssl:x", "systemd:domain=INET", "haproxy:tcp:25"):
            self.assertEqual(self.wrong(**settings, listen=(endpoint,)), "require-tls is of no use without tls-cert")

    def test_trusted_behind_haproxy(self) -> None:
        """There everybody would be: the address is the proxy's."""
        for name in "xclient-trusted", "xforward-trusted":
            trusted = {name.replace("-", "_"): ("10.0.0.1",)}
            for setting in "listen", "listen_lmtp":
                wrong = self.wrong(**trusted, **{setting: ("tcp:25", "haproxy:tcp:26")})
                why = "behind haproxy:, where every client has the proxy's address: use proxy:"
                self.assertEqual(wrong, f"{name} is of no use {why}")
        self.factory(listen=("haproxy:tcp:26",))

    def test_tls_that_nobody_can_begin(self) -> None:
        expected = "tls-cert is of no use without the extension starttls or an endpoint tls:"
        without = {**self.tls, "extensions": ("size",)}
        for more in ({}, {"require_tls": True}, {"listen": ("ssl:465",)}):
            self.assertEqual(self.wrong(**without, **more), expected)
        for listen in ({"listen": ("tcp:25", "tls:465")}, {"listen_lmtp": ("tls:24",)}, {"listen": ("proxy:tls:465",)}):
            self.assertTrue(self.factory(**without, **listen, require_tls=True).security.require_tls)

    def test_without_accounts(self) -> None:
        for name in ("require_auth", "relay_authenticated", "plaintext_auth"):
            for more in ({}, self.tls):
                wrong = self.wrong(**{name: True}, **more)
                self.assertEqual(wrong, f"{name.replace('_', '-')} is of no use without auth")

    def test_verify_for_users_without_accounts(self) -> None:
        self.assertEqual(self.wrong(verify=Audience.USERS), "verify users is of no use without auth")
        for audience in Audience:
            settings = {"auth": ("memory:ada:x",), "plaintext_auth": True, "verify": audience}
            self.assertIs(self.factory(**settings).security.verify, audience)
        self.assertIs(self.factory(verify=Audience.EVERYBODY).security.verify, Audience.EVERYBODY)

    def test_sender_login_without_accounts(self) -> None:
        """It keeps the addresses that it has from everybody."""
        self.assertEqual(self.warned(sender_login=self.text("senders", "@example.org ada\n")), [])

    def test_without_auth(self) -> None:
        for more in ({}, {"require_auth": True}):
            wrong = self.wrong(**self.accounts, **more, extensions=("starttls",))
            self.assertEqual(wrong, "auth is of no use without the extension auth")
        self.factory(**self.accounts, extensions=("starttls", "twistsmtp.extensions.auth"))

    def test_passwords_in_plain_text_where_mail_needs_tls(self) -> None:
        wrong = self.wrong(**self.accounts, require_tls=True, plaintext_auth=True)
        self.assertEqual(wrong, "plaintext-auth is of no use with require-tls")

    def test_checkers_that_no_mechanism_asks(self) -> None:
        users = self.text("users", "ada:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n")
        file = f"passwd:{users}:scram=no"
        cases: dict[str, dict[str, Any]] = {
            "auth anonymous is of no use without mechanism ANONYMOUS": {"auth": ("anonymous",)},
            "auth passwd is of no use without mechanism PLAIN or LOGIN": {
                "auth": (file,),
                "mechanisms": ("CRAM-MD5", "SCRAM-SHA-256"),
            },
            "auth memory is of no use without mechanism CRAM-MD5 or PLAIN or LOGIN": {
                "auth": (f"passwd:{users}", "memory:a:b"),
                "mechanisms": ("SCRAM-SHA-256",),
            },
        }
        for expected, values in cases.items():
            self.assertEqual(self.wrong(**self.tls, **values), expected)
        self.factory(**self.tls, auth=(file,), exclude_mechanisms=frozenset({"PLAIN"}))
        self.factory(**self.tls, auth=("anonymous", file), mechanisms=("ANONYMOUS", "PLAIN"))

    def test_checker_of_what_no_mechanism_of_ours_has(self) -> None:
        class Checker:
            credentialInterfaces = (IAlien,)

        self.patch(strcred, "makeChecker", lambda text: Checker())
        wrong = self.wrong(**self.tls, auth=("alien:",))
        self.assertEqual(wrong, "auth alien is of no use without a mechanism for its kind of credentials")

    def test_certificates_that_nobody_asks_for(self) -> None:
        settings = {**self.tls, "auth": ("certificate:", "memory:a:b")}
        self.assertEqual(self.wrong(**settings), "auth certificate is of no use without tls-client-ca")
        self.assertEqual(
            self.wrong(**settings, tls_client_ca=self.pem, tls_client_cert="none"),
            "auth certificate is of no use with tls-client-cert none",
        )
        self.factory(**settings, tls_client_ca=self.pem)
        self.factory(**settings, listen=("elsewhere:465",))  # which may ask for them

    def test_harmless(self) -> None:
        """It is only said."""
        cases: dict[str, dict[str, Any]] = {
            "tls-client-ca is of no use with tls-client-cert none": {
                **self.tls,
                "tls_client_ca": self.pem,
                "tls_client_cert": "none",
            },
            "mechanism is of no use without auth": {"mechanisms": ("PLAIN",)},
            "exclude-mechanism is of no use without auth": {"exclude_mechanisms": frozenset({"LOGIN"})},
        }
        for expected, values in cases.items():
            self.assertEqual(self.warned(**values), [expected])
        self.assertEqual(self.warned(), [])
        self.assertEqual(self.warned(**self.accounts, mechanisms=("PLAIN",), tls_client_ca=self.pem), [])


class IAlien(ICredentials):
    """Credentials of another kind."""


class DeliveryTests(AssemblyTestCase):
    """Where mail goes."""

    def find(self, route: Route, address: str) -> Delivery | None:
        return route.find(parse_mailbox(address), "mx.example")

    def test_several(self) -> None:
        tee = self.factory(delivery=("discard:", "memory:")).delivery
        assert isinstance(tee, Tee)
        self.assertEqual([Discard, Memory], [type(each) for each in tee.deliveries])

    def test_routes(self) -> None:
        """What stands there more than once is one delivery."""
        routes = (("a.example", ("memory:",)), ("b.example", ("discard:", "memory:")), ("c.example", ("memory:",)))
        route = self.factory(delivery="discard:", routes=routes).delivery
        assert isinstance(route, Route)
        memory, tee, other = (self.find(route, f"x@{name}.example") for name in "abd")
        self.assertIs(memory, self.find(route, "x@c.example"))
        assert isinstance(tee, Tee)
        self.assertEqual((other, memory), tee.deliveries)
        self.assertIsInstance(other, Discard)

    def test_routes_apart(self) -> None:
        routes = (("a.example", ("memory:",)),)
        for apart in (False, True):
            route = self.factory(delivery="discard:", routes=routes, route_apart=apart).delivery
            assert isinstance(route, Route)
            self.assertIs(apart, route.apart)
        self.assertEqual("route-apart is of no use without route", self.wrong(delivery="discard:", route_apart=True))

    def test_route_for_all(self) -> None:
        """Then there is no other delivery, by default or at all."""
        route = self.factory(delivery=DEFAULT_DELIVERY, routes=(("*", ("discard:",)),)).delivery
        assert isinstance(route, Route)
        self.assertEqual([Discard], [type(each) for each in route.deliveries])
        problem = self.wrong(delivery="memory:", routes=(("*", ("discard:",)),))
        self.assertEqual("delivery is of no use with a route for *", problem)

    def test_wrong(self) -> None:
        self.assertIn("delivery 'nothing:': no delivery is called", self.wrong(delivery=("discard:", "nothing:")))
        problem = self.wrong(delivery="discard:", routes=(("a.example", ("nothing:",)),))
        self.assertIn("route a.example 'nothing:': no delivery is called", problem)
        routes = (("a.example", ("discard:",)), ("A.example", ("memory:",)))
        self.assertEqual("route: A.example is there twice", self.wrong(delivery="discard:", routes=routes))


class PolicyTests(AssemblyTestCase):
    def rule(self, **values: Any) -> RelayRule:
        (check,) = self.factory(**values).checks[Phase.RCPT]
        rule = check.__self__  # type: ignore[attr-defined]  # it is a method
        self.assertIsInstance(rule, RelayRule)
        return rule  # type: ignore[no-any-return]  # as was seen

    def test_relay(self) -> None:
        self.assertFalse(self.rule().authenticated)
        accounts = {"auth": ("memory:a:b",), "plaintext_auth": True}
        self.assertTrue(self.rule(relay_authenticated=True, **accounts).authenticated)

    def test_senders(self) -> None:
        self.assertNotIn(Phase.MAIL, self.factory().checks)
        path = self.text("senders", "@example.org ada\n")
        (check,) = self.factory(sender_login=path).checks[Phase.MAIL]
        self.assertIsInstance(check.__self__, SenderLogins)  # type: ignore[attr-defined]  # it is a method

    def test_senders_that_cannot_be_read(self) -> None:
        path = self.text("senders", "@example.org\n")
        self.assertIn(f"sender-login: {path}: line 1: ", self.wrong(sender_login=path))
