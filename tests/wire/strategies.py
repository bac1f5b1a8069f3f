"""What hypothesis makes of the grammar: built from the RFCs, not from the expressions that are tested."""

import string

from hypothesis import strategies as st

from twistsmtp.wire.address import Mailbox

_LET_DIG = string.ascii_letters + string.digits

_directional = [chr(code) for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))]
utf8_non_ascii = st.characters(min_codepoint=0xA0, exclude_categories=["Cs"], exclude_characters=_directional)
atext = st.sampled_from(_LET_DIG + "!#$%&'*+-/=?^_`{|}~") | utf8_non_ascii
graphic_or_space = st.characters(min_codepoint=0x20, max_codepoint=0x7E)

# 15 characters of 4 octets and two quotes are within 64 octets; so are 31 quoted pairs of two octets.
atoms = st.text(atext, min_size=1, max_size=4)
dot_strings = st.lists(atoms, min_size=1, max_size=3).map(".".join)
local_parts = dot_strings | st.text(graphic_or_space, max_size=31) | st.text(utf8_non_ascii, max_size=15)

# Quoted-string as the client may send it, beside what it means.
_qtext = graphic_or_space.filter(lambda character: character not in '"\\') | utf8_non_ascii
_qcontent = _qtext.map(lambda character: (character, character)) | graphic_or_space.map(
    lambda character: ("\\" + character, character)
)
quoted_strings = st.lists(_qcontent, max_size=15).map(
    lambda content: ('"' + "".join(sent for sent, _ in content) + '"', "".join(meant for _, meant in content))
)

_ldh_labels = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,10}[A-Za-z0-9_])?", fullmatch=True)
_u_labels = st.sampled_from(["bücher", "Bücher", "straße", "例え", "почта", "παράδειγμα", "위키", "מבחן"])
domains = st.lists(_ldh_labels, min_size=1, max_size=4).map(".".join)
u_domains = st.lists(_ldh_labels | _u_labels, min_size=1, max_size=4).map(".".join)
_dcontent = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="[\\]")
literals = (
    st.ip_addresses(v=4).map(lambda address: f"[{address}]")
    | st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]")
    | st.text(_dcontent, min_size=1, max_size=10).map(lambda content: f"[x-tag:{content}]")
)

ascii_mailboxes = st.builds(Mailbox, st.text(graphic_or_space, max_size=31), domains | literals)
mailboxes = ascii_mailboxes | st.builds(Mailbox, local_parts, domains | u_domains | literals)

keywords = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,10}", fullmatch=True)
values = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="=") | utf8_non_ascii,
    min_size=1,
    max_size=20,
)
parameters = st.dictionaries(keywords.map(str.upper), st.none() | values, max_size=32).map(
    lambda pairs: tuple(pairs.items())
)

# Text near enough to the grammar to reach deep into it, and text that is anything, surrogates included.
near_misses = st.text(st.sampled_from(string.printable + "ü\x85\u2028\u202e\u3002\ud800"), max_size=40)
_pieces = ["FROM:", "to:", "a", "B-c", "IPv6:", "::1", "127.0.0.1", "bücher", "postmaster"]
paths = st.lists(st.sampled_from([*'<>@.,:"\\[]= \t\0\ud800', *_pieces]), max_size=14).map("".join)
anything = st.text() | near_misses | paths
