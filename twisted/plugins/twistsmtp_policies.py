"""The policies that come with twistsmtp, by name."""

from twistsmtp.policy.find import PolicyMaker

recipients = PolicyMaker(
    name="recipients",
    synopsis="recipients:FILE[:strict=yes]",
    help="takes mail for the recipients that a file has, its aliases included (recipients:/etc/twistsmtp/recipients)",
    function="twistsmtp.policy.recipients.Recipients.from_options",
)
sender_access = PolicyMaker(
    name="sender-access",
    synopsis="sender-access:FILE",
    help="refuses the senders that a file has (sender-access:/etc/twistsmtp/sender-access)",
    function="twistsmtp.policy.sender_access.SenderAccess.from_options",
)
helo = PolicyMaker(
    name="helo",
    synopsis="helo[:strict=yes][:own=NAMES][:trusted=NETWORKS]",
    help="refuses clients that say in HELO what cannot be, as the name of this server (helo:own=mail.example.org)",
    function="twistsmtp.policy.helo.HeloSanity.from_options",
)
rate = PolicyMaker(
    name="rate",
    synopsis=("rate:[client=RATE][:user=RATE][:sender=RATE][:connections=RATE][:count=recipients][:trusted=NETWORKS]"),
    help="defers what comes faster than a rate (rate:client=100/h:user=500/d:connections=30/m)",
    function="twistsmtp.policy.rate.RateLimits.from_options",
)
early_talker = PolicyMaker(
    name="early-talker",
    synopsis="early-talker[:seconds=2][:trusted=NETWORKS][:refuse=no]",
    help="has strangers wait for the greeting, and refuses those who do not (early-talker:seconds=5)",
    function="twistsmtp.policy.talkers.EarlyTalkers.from_options",
)
dnsbl = PolicyMaker(
    name="dnsbl",
    synopsis="dnsbl:LIST[:LIST...][:threshold=1][:timeout=5][:server=ADDRESS][:trusted=NETWORKS]",
    help="refuses clients that DNS lists have, each as zone=filter*weight (dnsbl:bl.example.org*2:threshold=2)",
    function="twistsmtp.policy.dnsbl.DNSBlockLists.from_options",
)
reverse_dns = PolicyMaker(
    name="reverse-dns",
    synopsis="reverse-dns[:require=name|confirmed][:defer=yes][:timeout=5][:server=ADDRESS][:trusted=NETWORKS]",
    help="looks up the client's name, and may refuse those that have none (reverse-dns:require=name)",
    function="twistsmtp.policy.reverse_dns.ReverseDNS.from_options",
)
greylist = PolicyMaker(
    name="greylist",
    synopsis=("greylist:FILE[:delay=5m][:window=2d][:lifetime=35d][:passes=5][:most=200000][:trusted=NETWORKS]"),
    help="has unknown clients come again after a while, as mail servers do (greylist:/var/lib/twistsmtp/greylist.db)",
    function="twistsmtp.policy.greylist.Greylist.from_options",
)
