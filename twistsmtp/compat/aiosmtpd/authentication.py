"""AUTH, as the original has it: mechanisms are methods, of the server or of the handler."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any
from warnings import warn

from twistsmtp.compat.aiosmtpd.engine import LINE
from twistsmtp.compat.aiosmtpd.server import Server
from twistsmtp.compat.aiosmtpd.values import MISSING, AuthResult, LoginPassword, _Missing, log, syntax
from twistsmtp.verb import Ask, Close
from twistsmtp.wire.reply import Reply

__all__ = ["Authentication"]

SUCCESSFUL = "235 2.7.0 Authentication successful"
INVALID = "535 5.7.8 Authentication credentials invalid"
NOT_BASE64 = "501 5.5.2 Can't decode base64"


class Authentication(Server):
    """A server's side of AUTH."""

    #: What LOGIN asks, both ended by a NUL, as many clients know them.
    AuthLoginUsernameChallenge = "User Name\x00"
    AuthLoginPasswordChallenge = "Password\x00"

    @syntax("AUTH <mechanism>")
    async def smtp_AUTH(self, arg: str | None) -> None:
        """AUTH: find the mechanism, and have it do its work."""
        refusal = await self._may_authenticate(arg)
        if refusal is not None:
            if refusal:
                await self.push(refusal)
            return
        args = (arg or "").split()
        status = await self._call_handler_hook("AUTH", args)
        if status is MISSING:
            status = self._authenticated(await _there(await self._auth_methods[args[0]].method(self, args)))
        if status is not None:
            if str(status).startswith("535"):
                self._count_failure()
            await self.push(status)

    async def _may_authenticate(self, arg: str | None) -> str | None:
        """Why AUTH is not for now; empty where that was said already, and ``None`` where it is."""
        if await self.check_helo_needed("EHLO"):
            return ""
        if not self.session.extended_smtp:
            return "500 Error: command 'AUTH' not recognized"
        if self._auth_require_tls and self.session.ssl is None:
            return "538 5.7.11 Encryption required for requested authentication mechanism"
        if self.session.authenticated:
            return "503 Already authenticated"
        args = (arg or "").split()
        if not args:
            return "501 Not enough value"
        if len(args) > 2:
            return "501 Too many values"
        return None if args[0] in self._auth_methods else "504 5.5.4 Unrecognized authentication type"

    def _authenticated(self, result: Any) -> str | None:
        """The reply for what a mechanism has answered; ``None`` where it has said everything itself.

        Older mechanisms answer ``None`` for that, ``MISSING`` or ``False`` for wrong credentials, and else whom they
        have let in.
        """
        if isinstance(result, AuthResult):
            if not result.success:
                return None if result.handled else result.message or INVALID
            self.session.authenticated = True
            self.session.auth_data = result.auth_data
            self.session._login_data = getattr(result.auth_data, "login", None)
            return result.message or SUCCESSFUL
        if result is None:
            return None
        if result is MISSING or result is False:
            return INVALID
        self.session._login_data = result
        return SUCCESSFUL

    def _count_failure(self) -> None:
        """Who guesses may do so a few times only."""
        engine = self._engine
        engine.session.counts.auth_failures += 1
        if engine.session.counts.auth_failures >= engine.session.limits.auth_failures:
            engine.finally_do(Close(Reply(421, "4.7.0", "Too many authentication failures")))

    # --- what mechanisms call ---------------------------------------------------------------------------------

    async def challenge_auth(
        self, challenge: str | bytes, encode_to_b64: bool = True, log_client_response: bool = False
    ) -> bytes | _Missing:
        """Send *challenge*, and wait for the client's response.

        :param encode_to_b64: whether *challenge* is still to be encoded.
        :param log_client_response: write what the client says, a password perhaps, to the log. Do not.
        :returns: the response, decoded; ``MISSING`` where it was none, and the client was told so.
        """
        octets = challenge.encode() if isinstance(challenge, str) else challenge
        await self.push(b"334 " + (b64encode(octets) if encode_to_b64 else octets))
        engine = self._engine
        line: bytes | None = await engine.exchange(lambda answer: Ask(None, answer, LINE))
        if line is None:
            await self.push("500 5.5.6 Authentication exchange line is too long")
            return MISSING
        if log_client_response:
            warn("AUTH interaction logging is enabled!", stacklevel=2)
            warn("Sensitive information might be leaked!", stacklevel=2)
            log.debug("%r >> %r", self._peer, line)
        line = line.strip()
        if line == b"*":  # RFC 4954 section 4
            log.warning("%r aborted AUTH with '*'", self._peer)
            await self.push("501 5.7.0 Auth aborted")
            return MISSING
        try:
            return b64decode(line, validate=True)
        except binascii.Error:
            await self.push(NOT_BASE64)
            return MISSING

    async def _auth_interact(self, server_message: str) -> bytes | _Missing:
        """The older name of `challenge_auth`, which is given the whole reply."""
        warn("_auth_interact is deprecated: use challenge_auth() instead", DeprecationWarning, stacklevel=2)
        return await self.challenge_auth(re.sub("^334 ", "", server_message), encode_to_b64=False)

    # --- mechanisms -------------------------------------------------------------------------------------------

    async def _response(self, args: Sequence[str], challenge: str) -> bytes | _Missing:
        """The initial response, or the one to *challenge* where the client has sent none."""
        if len(args) == 1:
            return await self.challenge_auth(challenge)
        try:
            return b64decode(args[1].encode(), validate=True)
        except ValueError:
            await self.push(NOT_BASE64)
            return MISSING

    async def auth_PLAIN(self, _: Any, args: Sequence[str]) -> Any:
        """PLAIN (RFC 4616). Whom the client wants to act as is not looked at: it is who it has proved to be."""
        response = await self._response(args, "")
        if isinstance(response, _Missing):
            return AuthResult(success=False)
        parts = response.split(b"\x00")
        if len(parts) != 3:
            await self.push("501 5.5.2 Can't split auth value")
            return AuthResult(success=False)
        return await _there(self._authenticate("PLAIN", LoginPassword(*parts[1:])))

    async def auth_LOGIN(self, _: Any, args: Sequence[str]) -> Any:
        """LOGIN: the name, and then the password."""
        login = await self._response(args, self.AuthLoginUsernameChallenge)
        if isinstance(login, _Missing):
            return AuthResult(success=False)
        password = await self.challenge_auth(self.AuthLoginPasswordChallenge)
        if isinstance(password, _Missing):
            return AuthResult(success=False)
        return await _there(self._authenticate("LOGIN", LoginPassword(login, password)))

    def _authenticate(self, mechanism: str, auth_data: Any) -> Any:
        """Ask the program whether *auth_data* are right. It may answer later: a coroutine alone is no yes."""
        if self._authenticator is not None:
            return self._authenticator(self, self.session, self.envelope, mechanism, auth_data)
        answer = self._auth_callback(mechanism, *auth_data)
        return _result_later(answer, auth_data) if hasattr(answer, "__await__") else _result(answer, auth_data)


def _result(answer: object, auth_data: Any) -> AuthResult:
    return AuthResult(success=True, auth_data=auth_data) if answer else AuthResult(success=False, handled=False)


async def _result_later(answer: Any, auth_data: Any) -> AuthResult:
    return _result(await answer, auth_data)


async def _there(answer: Any) -> Any:
    return await answer if hasattr(answer, "__await__") else answer
