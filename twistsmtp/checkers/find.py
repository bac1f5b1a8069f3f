r"""Checkers by name: what ``--auth passwd:/etc/twistsmtp/users:scram=yes`` means.

The name and what is behind it are Twisted's (`twisted.cred.strcred`); any plugin that is an ``ICheckerFactory`` will
do. Behind the name of one of ours stands an argument and options. An option begins with a ``:`` in front of
``name=``; any other colon is an ordinary character, and so URLs need nothing special:
``http:https://auth.example.org:8443/check:timeout=5``. ``\`` makes the character behind it an ordinary one.

Anybody can add one: a file ``twisted/plugins/NAME.py`` in a package of their own, with no ``__init__.py`` beside it,
and in it::

    from twisted.cred.credentials import IUsernamePassword

    from twistsmtp.checkers.find import CheckerMaker

    ldap = CheckerMaker(
        authType="ldap",
        argStringFormat="URL[:base=DN]",
        authHelp="Asks an LDAP server: ldap:ldaps://ldap.example.org:base=dc=example,dc=org",
        credentialInterfaces=(IUsernamePassword,),
        function="mypackage.ldap.make_checker",
    )

The function is imported when somebody asks for it. It gets the argument and the options as text, options by keyword;
what does not fit its signature is refused before it is called.
"""

import re
from dataclasses import dataclass

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from twistsmtp.makers import call

__all__ = ["CheckerMaker", "split_arguments"]


@implementer(IPlugin, ICheckerFactory)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckerMaker:
    """A maker of checkers that imports a function when it is asked for one.

    :param authType: the name.
    :param argStringFormat: the form of what is behind the name.
    :param authHelp: what it checks against, with an example.
    :param credentialInterfaces: of the credentials that its checkers may check.
    :param function: the function's full name; a class and its method will do as well.
    """

    authType: str
    argStringFormat: str
    authHelp: str
    credentialInterfaces: tuple[InterfaceClass, ...]
    function: str

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        """The checker for what stands behind the name.

        :raises InvalidAuthArgumentString: it is wrong, or something that it needs is not there; the text is one line.
        """
        try:
            return self._make(argstring)
        except (ValueError, OSError, ImportError) as error:
            raise InvalidAuthArgumentString(f"{self.authType}: {error}") from error

    def _make(self, argstring: str) -> ICredentialsChecker:
        args, options = split_arguments(argstring)
        checker: ICredentialsChecker = call(self.function, args, options, f"{self.authType}:{self.argStringFormat}")
        return checker


#: A character that is made ordinary, what begins an option, or any other character.
_TOKEN = re.compile(r"\\(?P<quoted>.?)|(?P<option>(?:^|:)[a-z][a-z_]*=)|.", re.DOTALL)


def split_arguments(text: str) -> tuple[list[str], dict[str, str]]:
    """The argument, if there is one, and the options of *text*.

    :raises ValueError: an option stands there twice.
    """
    argument, options, name = "", dict[str, str](), ""
    for token in _TOKEN.finditer(text):
        if token["option"]:
            name = token["option"].strip(":=")
            if name in options:
                raise ValueError(f"the option {name!r} stands there twice")
            options[name] = ""
            continue
        character = token[0] if token["quoted"] is None else token["quoted"]
        if name:
            options[name] += character
        else:
            argument += character
    return [argument] if argument else [], options
