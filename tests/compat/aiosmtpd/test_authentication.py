"""AUTH in memory: what is its own, beside what it says as the original does (`test_original`)."""

import asyncio
import base64
from typing import Any

from twisted.internet.defer import succeed

from tests.compat.aiosmtpd.kit import Memory, MemoryTestCase, warned
from twistsmtp.compat.aiosmtpd.smtp import MISSING, AuthResult, LoginPassword, auth_mechanism


def plain(name: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


RIGHT, WRONG = plain("ada", "enigma"), plain("ada", "wrong")
SUCCESSFUL, INVALID = "235 2.7.0 Authentication successful", "535 5.7.8 Authentication credentials invalid"


class Authentication(MemoryTestCase):
    def connect(self, *arguments: Any, **parameters: Any) -> Memory:
        memory = super().connect(*arguments, auth_require_tls=False, **parameters)
        memory.say("EHLO x")
        return memory

    def test_a_coroutine_alone_is_no_yes(self) -> None:
        """The original lets everybody in where the callback is ``async def``."""

        async def callback(mechanism: str, login: bytes, password: bytes) -> bool:
            await asyncio.sleep(0)
            return password == b"enigma"

        async def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            return AuthResult(success=await succeed(data.password == b"enigma"), handled=False)

        for parameters in ({"auth_callback": callback}, {"authenticator": authenticator}):
            self.assertEqual(self.connect(**parameters).say(WRONG, RIGHT), [INVALID, SUCCESSFUL])

    def test_who_guesses_is_sent_away(self) -> None:
        memory = self.connect(auth_callback=lambda mechanism, login, password: False)
        said = memory.say(*[WRONG] * 6)
        self.assertEqual(said, [*[INVALID] * 5, "421 4.7.0 Too many authentication failures"])
        self.assertTrue(memory.wire.closing)

    def test_what_is_known_of_the_user(self) -> None:
        memory = self.connect(auth_callback=lambda mechanism, login, password: True)
        memory.say(RIGHT)
        session = memory.server.session
        self.assertEqual((session.authenticated, session.auth_data), (True, LoginPassword(b"ada", b"enigma")))
        with self.assertLogs("mail.log", "WARNING"):
            self.assertEqual(session.login_data, b"ada")
        self.assertNotIn("enigma", f"{session.auth_data} {session.auth_data!r}")

    def test_secrets_are_not_logged(self) -> None:
        memory = self.connect(auth_callback=lambda mechanism, login, password: True)
        with self.assertLogs("mail.log", "DEBUG") as logged:
            memory.say(RIGHT, "RSET")
            memory = self.connect(auth_callback=lambda mechanism, login, password: True)
            memory.say("AUTH LOGIN", base64.b64encode(b"ada").decode(), base64.b64encode(b"enigma").decode())
        text = "\n".join(logged.output)
        for secret in (b"enigma", b"\0ada\0enigma"):
            self.assertNotIn(base64.b64encode(secret).decode(), text)
        self.assertIn("AUTH PLAIN ********", text)

    def test_a_handlers_mechanisms(self) -> None:
        class Handler:
            @auth_mechanism("x-named")
            async def auth_whatever(self, server: Any, args: list[str]) -> Any:
                return {"NONE": None, "MISSING": MISSING, "FALSE": False}.get(args[1], args[1])

            async def auth_TWO__WORDS(self, server: Any, args: list[str]) -> Any:
                await server.push("250 my own word")

            async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult:
                return AuthResult(success=False, handled=False, message="454 4.7.0 Not now")

        memory = self.connect(Handler())
        self.assertIn("250-AUTH LOGIN PLAIN TWO-WORDS X-NAMED", memory.say("EHLO x")[0])
        self.assertEqual(
            memory.say("AUTH X-NAMED MISSING", "AUTH X-NAMED FALSE", "AUTH TWO-WORDS", RIGHT, "AUTH X-NAMED ada"),
            [INVALID, INVALID, "250 my own word", "454 4.7.0 Not now", SUCCESSFUL],
        )

    def test_a_hook_in_the_place_of_mechanisms(self) -> None:
        class Handler:
            async def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: list[str]) -> Any:
                return MISSING if args[0] == "LOGIN" else f"454 {args[0]}"

        memory = self.connect(Handler())
        self.assertEqual(
            memory.say(RIGHT, "AUTH LOGIN", "*"), ["454 PLAIN", "334 VXNlciBOYW1lAA==", "501 5.7.0 Auth aborted"]
        )

    def test_no_mechanism_is_no_offer(self) -> None:
        memory = self.connect(auth_exclude_mechanism=["PLAIN", "LOGIN"])
        self.assertNotIn("AUTH", memory.say("EHLO x")[0])

    def test_the_older_way_to_ask(self) -> None:
        class Handler:
            async def auth_OLD(self, server: Any, args: list[str]) -> Any:
                return await server._auth_interact("334 how?")

        memory = self.connect(Handler())
        with warned(DeprecationWarning):
            self.assertEqual(memory.say("AUTH OLD", "YWRh"), ["334 how?", SUCCESSFUL])

    def test_one_that_logs_what_the_client_says(self) -> None:
        class Handler:
            async def auth_LOUD(self, server: Any, args: list[str]) -> Any:
                return await server.challenge_auth("say it", log_client_response=True)

        memory = self.connect(Handler())
        with self.assertLogs("mail.log", "DEBUG") as logged, warned(UserWarning):
            memory.say("AUTH LOUD", "YWRh")
        self.assertIn("b'YWRh'", "\n".join(logged.output))

    def test_a_response_that_is_too_long(self) -> None:
        memory = self.connect()
        memory.say("AUTH PLAIN")
        self.assertEqual(
            memory.say("x" * 13000, "NOOP"), ["500 5.5.6 Authentication exchange line is too long", "250 OK"]
        )

    def test_a_long_response_is_taken(self) -> None:
        """As long as RFC 4954 section 4 has it."""
        seen: list[int] = []

        def callback(mechanism: str, login: bytes, password: bytes) -> bool:
            seen.append(len(password))
            return True

        memory = self.connect(auth_callback=callback)
        memory.say("AUTH PLAIN")
        response = base64.b64encode(b"\0ada\0" + b"x" * 9000).decode()
        self.assertEqual((memory.say(response), seen), ([SUCCESSFUL], [9000]))

    def test_a_mechanism_that_asks_as_the_others_do(self) -> None:
        """`_authenticate` answers at once where the program does, and else later."""

        class Handler:
            async def auth_OWN(self, server: Any, args: list[str]) -> Any:
                return server._authenticate("OWN", LoginPassword(b"ada", args[1].encode()))

        async def later(mechanism: str, login: bytes, password: bytes) -> bool:
            return password == b"secret"

        for callback in (lambda _, login, password: password == b"secret", later):
            memory = self.connect(Handler(), auth_callback=callback)
            self.assertEqual(memory.say("AUTH OWN wrong", "AUTH OWN secret"), [INVALID, SUCCESSFUL])
