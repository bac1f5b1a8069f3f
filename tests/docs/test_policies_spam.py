"""docs/policies.rst: what it says of DNS lists, reverse DNS and greylisting is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import block, hold
from tests.docs.test_policies import PAGE, TEXT, run_block
from tests.policy.names import Names, a, ptr, txt
from tests.support import Server
from tests.test_textfile import at_once
from twistsmtp.config import load
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.policy.dns import DNS
from twistsmtp.policy.dnsbl import DNSBlockLists, parse_list
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.greylist import Greylist
from twistsmtp.policy.reverse_dns import ReverseDNS
from twistsmtp.policy.triplets import Rule

CLIENT = "1.2.0.192"


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names(
            {
                f"{CLIENT}.bl.example.org": [*a("127.0.0.2"), *txt("see https://bl.example.org/?ip=192.0.2.1")],
                f"{CLIENT}.in-addr.arpa": ptr("client.example.net"),
            }
        )

    def policies(self, name: str) -> list[Any]:
        """Those of a block."""
        path = Path(self.mktemp())
        path.write_text(block(PAGE, name).text)
        policies: list[Any] = list(map(make_policy, load({}, str(path)).policies))
        for policy in policies:
            policy._dns = DNS(self.names, reactor=self.clock)
        return policies

    def hold(self, name: str, *policies: Policy) -> None:
        factory = SMTPFactory(Memory(), hostname="mx.example.org", policies=policies, reactor=self.clock)
        self.assertEqual(*hold(block(PAGE, name).text, factory))

    def test_dnsbl(self) -> None:
        self.hold("dnsbl-conversation", *self.policies("dnsbl"))

    def test_forms_of_lists(self) -> None:
        section = TEXT.partition("\nDNS lists\n")[2].partition("\nReverse DNS\n")[0]
        forms = re.findall(r"``(@?[a-z]+\.example\.(?:org|net)\S*)``", section)
        self.assertGreater(len(forms), 5)
        for form in forms:
            parse_list(form)

    def test_lists_that_most_use(self) -> None:
        [policy] = self.policies("dnsbl-weights")
        assert isinstance(policy, DNSBlockLists)
        spamhaus, dnswl = policy._of_addresses
        self.assertEqual(
            [2, 0, -2], [spamhaus.weigh(["127.0.0.4"]), dnswl.weigh(["127.0.0.255"]), dnswl.weigh(["127.0.9.2"])]
        )

    def test_reverse_dns(self) -> None:
        [policy] = self.policies("reverse-dns")
        assert isinstance(policy, ReverseDNS)
        client = Server(policies=[policy, run_block("reverse-name")["Marked"]()]).connect().hello()
        client.message()
        self.assertIn(b"X-Client-Name: unconfirmed\r\n", client.server.delivery.transactions[-1].octets)

    def test_greylist(self) -> None:
        policy = Greylist(self.mktemp(), now=self.clock.seconds, in_thread=at_once)
        self.addCleanup(policy._triplets.close)
        self.hold("greylist-conversation", policy)

    def test_defaults_of_greylist(self) -> None:
        """As its options are explained, and as the setting of the page has them."""
        section = TEXT.partition("\nGreylisting\n")[2].partition("\nWhat a policy may do\n")[0]
        rule = Rule()
        times = {name: getattr(rule, name) for name in ("delay", "window", "lifetime", "passes", "most")}
        units = {"": 1, "m": 60, "d": 86400}
        explained = {
            name: int(number) * units[unit]
            for name, number, unit in re.findall(r"^``(\w+)=``\n.*?; (\d+)([md]?)[.,]", section, re.MULTILINE)
        } | {"most": int(re.findall(r"Rows in the file at the most; (\d+)", section)[0])}
        explained["passes"] = int(re.findall(r"before all of it does; (\d+)", section)[0])
        self.assertEqual(times, explained)
        [policy] = self.policies("greylist")
        assert isinstance(policy, Greylist)
        self.assertEqual(rule, policy._triplets._rule)
