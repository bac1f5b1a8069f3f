"""The deliveries that come with twistsmtp, by name."""

from twistsmtp.delivery.find import DeliveryMaker

maildir = DeliveryMaker(
    name="maildir",
    synopsis="maildir:PATH[:create=yes][:layout=maildir++]",
    help=(
        "keeps mail on the disk, in one Maildir (maildir:/srv/Maildir:create=yes) "
        "or one for each mailbox (maildir:/var/mail/{domain}/{local})"
    ),
    function="twistsmtp.delivery.maildir.Maildir.from_options",
)
memory = DeliveryMaker(
    name="memory",
    synopsis="memory:[keep=COUNT]",
    help="keeps the last messages, 1000 of them or as many as it is told, until the server ends (memory:keep=50)",
    function="twistsmtp.delivery.memory.Memory.from_options",
)
discard = DeliveryMaker(
    name="discard",
    synopsis="discard:",
    help="takes all mail and drops it (discard:)",
    function="twistsmtp.delivery.discard.Discard",
)
