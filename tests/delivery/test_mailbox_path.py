"""Where a mailbox has its folder, whatever its address is."""

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.delivery.mailbox_path import MailboxPath, is_file_name

#: Text as somebody would write it who wants out: little of it is left to chance.
TRICKS = st.text(st.sampled_from("./\\\0\n\x1b ~-%{}[]:@aA\u00e9\u202e\ud800"), max_size=12)
TEXTS = st.one_of(st.text(max_size=300), TRICKS)
TEMPLATES = st.sampled_from(
    [
        "/var/mail/{domain}/{local}",
        "/var/mail/{local}",
        "/var/mail/{domain}/.{local}/x-{local}-{domain}",
        "/{local}@{domain}",
        "/var/../mail/{{x}}/{domain}",
    ]
)


class PathTests(SynchronousTestCase):
    @given(TEMPLATES, TEXTS, TEXTS)
    @example("/var/mail/{domain}/{local}", "..", "..")
    @example("/var/mail/{domain}/{local}", "", "two.example")
    @example("/var/mail/{domain}/{local}", "joe", "")
    @example("/var/mail/{domain}/{local}", "{domain}", "{local.__class__}")
    @example("/var/mail/{domain}/{local}", "a" * 256, "two.example")
    @example("/var/mail/{domain}/.{local}/x-{local}-{domain}", "a" * 120, "b" * 140)
    def test_is_inside_or_nowhere(self, template: str, local: str, domain: str) -> None:
        """There are exactly as many folders as the operator wrote, each with a name that the system takes."""
        path = MailboxPath(template)
        folder = path.fill(local=local, domain=domain)
        if folder is not None:
            self.assertTrue(os.path.isabs(folder))
            self.assertEqual(folder, os.path.normpath(folder))
            self.assertEqual(os.path.commonpath([folder, path.base]), path.base)
            self.assertEqual(folder.count("/"), os.path.abspath(template).count("/"))
            for name in os.fsencode(folder).split(b"/")[1:]:
                self.assertTrue(1 <= len(name) <= 255 and b"\0" not in name, name)

    @given(st.from_regex(r"[a-z0-9!#$%&'*+=?^_`{|}~-]{1,64}", fullmatch=True))
    def test_is_the_address_itself(self, local: str) -> None:
        """Nothing is escaped, so that no two mailboxes can have one folder."""
        path = MailboxPath("/var/mail/{domain}/{local}")
        self.assertEqual(path.fill(local=local, domain="two.example"), f"/var/mail/two.example/{local}")

    @given(TEXTS)
    def test_case_does_not_matter(self, local: str) -> None:
        path = MailboxPath("/{local}")
        self.assertEqual(path.fill(local=local.lower(), domain="d"), path.fill(local=local, domain="d"))

    def test_neither_does_the_form_of_unicode(self) -> None:
        path = MailboxPath("/{local}")
        self.assertEqual(path.fill(local="Zoe\u0308", domain="d"), "/zo\u00eb")

    def test_what_is_not_asked_for_is_not_looked_at(self) -> None:
        self.assertEqual(MailboxPath("/{local}").fill(local="joe", domain=".."), "/joe")
        self.assertEqual(MailboxPath("/srv/mail").fill(local="..", domain="/"), "/srv/mail")

    def test_address_literal(self) -> None:
        path = MailboxPath("/{domain}/{local}")
        self.assertEqual(path.fill(local="joe", domain="[ipv6:::1]"), "/[ipv6:::1]/joe")

    def test_base(self) -> None:
        for template, base in {
            "/var/mail/{domain}/{local}": "/var/mail",
            "/var/mail/{local}@{domain}": "/var/mail",
            "/var/mail/x-{local}/y": "/var/mail",
            "/{local}": "/",
            "/srv/{{mail}}": "/srv/{mail}",
            "/srv/../var/./mail/": "/var/mail",
            "mail/{local}": str(Path.cwd() / "mail"),
        }.items():
            self.assertEqual(MailboxPath(template).base, base)

    def test_stays_where_it_was_when_the_process_goes_elsewhere(self) -> None:
        """A daemon changes its folder after it has read its options."""
        before = Path.cwd()
        path = MailboxPath("mail")
        self.addCleanup(os.chdir, before)
        os.chdir("/")
        self.assertEqual(path.fill(local="joe", domain="d"), str(before / "mail"))

    def test_no_path(self) -> None:
        with self.assertRaisesRegex(ValueError, "the path is empty"):
            MailboxPath("")

    def test_no_such_placeholder(self) -> None:
        for wrong in ("{user}", "{}", "{0}", "{local!r}", "{local:>9}", "{local.__class__}", "{", "}", "{local"):
            with self.assertRaisesRegex(ValueError, r"\A/srv/") as caught:
                MailboxPath(f"/srv/{wrong}")
            self.assertNotIn("\n", str(caught.exception))


class FileNameTests(SynchronousTestCase):
    @given(TEXTS)
    def test_the_system_takes_it(self, text: str) -> None:
        if is_file_name(text):
            folder = Path(self.mktemp())
            folder.mkdir()
            (folder / text).mkdir()
            self.assertEqual(os.listdir(folder), [text])

    def test_what_is_none(self) -> None:
        for text in (
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/",
            "a\0",
            "a\nb",
            "\x1b[2J",
            "\u202e",
            "\ud800",
            "\u00e9" * 128,
        ):
            self.assertFalse(is_file_name(text), ascii(text))

    def test_what_the_system_cannot_write(self) -> None:
        """The character set of its names may be a small one."""
        self.patch(os, "fsencode", lambda text: text.encode("ascii"))
        self.assertFalse(is_file_name("zo\u00eb"))
        self.assertTrue(is_file_name("zoe"))

    def test_what_is_one(self) -> None:
        for text in ("joe", "joe+list", "a b", "a" * 255, "\u00e9" * 127, "*", "[127.0.0.1]", "a..b"):
            self.assertTrue(is_file_name(text), ascii(text))
