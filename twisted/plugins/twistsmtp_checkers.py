"""The credential checkers that come with twistsmtp, by name."""

from dataclasses import replace

from twisted.cred.credentials import IUsernamePassword

from twistsmtp.checkers.find import CheckerMaker
from twistsmtp.sasl.credentials import IBearerToken, IClientCertificate, IScramProof

_PASSWD_HELP = """\
A file with a line user:hash for each account, read again when it changes
(passwd:/etc/twistsmtp/users). Hashes are argon2, bcrypt, sha512-crypt,
sha256-crypt, Apache's apr1 and {SHA}, and SCRAM keys, as htpasswd and
doveadm pw write them; python -m twistsmtp.passwd PATH USER adds an account.
SCRAM is offered where every account has keys for it (auto), where any has
(yes), or never (no)."""

passwd = CheckerMaker(
    authType="passwd",
    argStringFormat="PATH[:scram=auto|yes|no]",
    authHelp=_PASSWD_HELP,
    credentialInterfaces=(IUsernamePassword, IScramProof),
    function="twistsmtp.checkers.passwd_file.PasswdFile.from_options",
)
htpasswd = replace(passwd, authType="htpasswd")
http = CheckerMaker(
    authType="http",
    argStringFormat="URL[:timeout=SECONDS][:ca=FILE][:insecure=yes]",
    authHelp="""\
Asks a web server, with a GET that has the name and the password as HTTP
Basic authentication (http:https://auth.example.org/check). 200 to 299 is
yes, 401 and 403 are no, and anything else is "try again later".""",
    credentialInterfaces=(IUsernamePassword,),
    function="twistsmtp.checkers.http.HTTPChecker.from_options",
)
oauth = CheckerMaker(
    authType="oauth",
    argStringFormat=(
        "introspect=URL:client=FILE or jwks=URL:issuer=ISSUER:audience=NAME, "
        "then [:claim=NAME][:scope=NAMES][:timeout=SECONDS][:ca=FILE][:insecure=yes]"
    ),
    authHelp="""\
Tokens of OAuth 2, for XOAUTH2 and OAUTHBEARER. Either their issuer is asked,
which knows us by a file with id:secret
(oauth:introspect=https://id.example.org/check:client=/etc/twistsmtp/client),
or its signature is checked
(oauth:jwks=https://id.example.org/keys:issuer=https://id.example.org:audience=smtp).
The user is who the claim "email" names, or another (claim=preferred_username).""",
    credentialInterfaces=(IBearerToken,),
    function="twistsmtp.checkers.oauth.OAuthChecker.from_options",
)
pam = CheckerMaker(
    authType="pam",
    argStringFormat="[SERVICE]",
    authHelp="""\
Asks PAM, by the file of that name in /etc/pam.d, or smtp (pam:smtp). For the
accounts of the system the server has to run as root.""",
    credentialInterfaces=(IUsernamePassword,),
    function="twistsmtp.checkers.pam.PAMChecker.from_options",
)
certificate = CheckerMaker(
    authType="certificate",
    argStringFormat="[FILE]",
    authHelp="""\
Certificates of clients, for EXTERNAL: every name in them that the authorities of
--tls-client-ca vouch for, or those in a file, one a line
(certificate:/etc/twistsmtp/certificates), each with the SHA-256 fingerprint of
the one certificate that it may have, if one stands behind it.""",
    credentialInterfaces=(IClientCertificate,),
    function="twistsmtp.checkers.certificate.CertificateChecker.from_options",
)
