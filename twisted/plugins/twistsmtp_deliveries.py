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
mbox = DeliveryMaker(
    name="mbox",
    synopsis="mbox:PATH[:create=yes][:lock_time=SECONDS]",
    help=(
        "appends mail to an mbox file (mbox:/srv/mail/all:create=yes), "
        "or to one for each mailbox (mbox:/var/mail/{local})"
    ),
    function="twistsmtp.delivery.mbox.Mbox.from_options",
)
program = DeliveryMaker(
    name="program",
    synopsis="program:COMMAND[:each=yes][:apart=yes][:newline=crlf][:timeout=SECONDS][:at_once=COUNT]",
    help=(
        "runs a program with the message on standard input, for all recipients together or for each; "
        "its exit status is the verdict (program:/usr/local/bin/take -f {sender} {recipient})"
    ),
    function="twistsmtp.delivery.program.Program.from_options",
)
webhook = DeliveryMaker(
    name="webhook",
    synopsis="webhook:URL[:secret=FILE][:timeout=SECONDS][:ca=FILE][:insecure=yes]",
    help=(
        "sends each message to a web server by POST, signed if there is a secret "
        "(webhook:https://app.example.org/mail:secret=/etc/twistsmtp/webhook)"
    ),
    function="twistsmtp.delivery.webhook.Webhook.from_options",
)
discard = DeliveryMaker(
    name="discard",
    synopsis="discard:",
    help="takes all mail and drops it (discard:)",
    function="twistsmtp.delivery.discard.Discard",
)
relay = DeliveryMaker(
    name="relay",
    synopsis=(
        "relay:HOST:PORT[:tls=none|opportunistic|required|implicit][:ca=FILE][:certificate=FILE]"
        "[:username=NAME:password-file=FILE|token-file=FILE][:insecure=yes][:hostname=NAME][:chunking=no]"
        "[:connections=N][:idle=SECONDS][:timeout=SECONDS]"
    ),
    help="hands mail on to another server while it comes, whose word is ours (relay:smtp.example.net:25:tls=required)",
    function="twistsmtp.delivery.relay.Relay.from_options",
)
lmtp = DeliveryMaker(
    name="lmtp",
    synopsis="lmtp:HOST:PORT or lmtp:unix:PATH, with the options of relay: and apart=yes",
    help=(
        "hands mail to a server that keeps it, as Dovecot, with a word for each recipient (lmtp:unix:/run/dovecot/lmtp)"
    ),
    function="twistsmtp.delivery.lmtp.LMTP.from_options",
)
