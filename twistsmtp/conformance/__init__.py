"""What a server on the network makes of SMTP: ``python -m twistsmtp.conformance HOST:PORT``.

It talks to any SMTP or LMTP server, and judges what comes back against the RFCs, and against every known way to smuggle
mail or commands. It needs nothing but the standard library, and nothing of the rest of this package: a copy of this
folder, under whatever name, is a program of its own.

A check is a function in a module of `topics`, with a decorator that says what it is about::

    @check("order.rcpt-first", 5321, "3.3", MUST, start=Start.HELLO)
    def rcpt_first(talk: Talk) -> None:
        \"""RCPT without MAIL is answered by 503.\"""
        talk.ask(f"RCPT TO:<{talk.target.recipient}>", "503")

It gets a connection of its own that has come as far as *start* says. It returns where all is well, and raises `Failed`
where not; what was said is then in the report. `Skipped` says that this server cannot be judged by it, and why.

How smuggling shows from outside: the message holds the commands of another one. A server that takes the message for one
has one reply to it; whatever else it says, before it answers QUIT, it says to a command that nobody gave.
"""
