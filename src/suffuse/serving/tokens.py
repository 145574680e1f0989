"""Who may ask: tokens, of which the server knows the hashes alone."""

import hashlib
import hmac
import ipaddress
from pathlib import Path

from suffuse.errors import UserError

_LEAST = 24
"""Letters of a token: fewer can be guessed."""


class Tokens:
    """Tokens that are let in; without any, everyone is.

    Args:
        tokens: as their owners have them.

    Raises:
        UserError: one is so short that it can be guessed.

    Example:
        >>> tokens = Tokens(["a" * 32])
        >>> tokens.admits("Bearer " + "a" * 32), tokens.admits("Bearer b"), Tokens([]).admits(None)
        (True, False, True)
    """

    def __init__(self, tokens: list[str]) -> None:
        if any(len(token) < _LEAST for token in tokens):
            raise UserError(f"a token has at least {_LEAST} letters, else it can be guessed; "
                            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one")  # fmt: skip
        self._hashes = [hashlib.sha256(token.encode()).digest() for token in tokens]

    @classmethod
    def read(cls, path: Path | None) -> "Tokens":
        """The tokens of a file, one on each line; without a file none.

        Raises:
            UserError: the file cannot be read, has none, or one is too short.
        """
        if path is None:
            return cls([])
        try:
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the tokens {path} cannot be read; give a text file with one on each line") from error
        if not found:
            raise UserError(f"{path} has no token; write one on each line")
        return cls(found)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def admits(self, header: str | None) -> bool:
        """Whether an Authorization header has one of the tokens; all are compared, each in constant time."""
        if not self._hashes:
            return True
        scheme, _, token = (header or "").partition(" ")
        own = hashlib.sha256(token.strip().encode()).digest()
        matches = [hmac.compare_digest(own, each) for each in self._hashes]
        return scheme.lower() == "bearer" and any(matches)


def check_open(host: str, tokens: Tokens) -> None:
    """Refuse to be reached from other machines by everyone.

    Raises:
        UserError: the address is none of this machine alone, and there are no tokens.
    """
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if not alone and not tokens:
        raise UserError(f"at {host} other machines reach this server: give --tokens FILE, with one on each line, "
                        "or serve at 127.0.0.1")  # fmt: skip
