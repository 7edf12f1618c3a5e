"""Who may call the HTTP API, and which channels they may touch. Pure.

Several keys hold at once, so that one can be replaced without a moment in which callers fail.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from chalicelib import limits
from chalicelib.capabilities import matches
from chalicelib.errors import ConfigError

SETTING = "API_KEYS"
# Characters that a key needs at least, outside stage `local`: 16 of base64 are 96 random bits,
# which nobody guesses over HTTP.
KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Grant:
    """What the caller with one key may touch.

    Attributes:
        name: Tells keys apart in logs and counters without giving them away.
        patterns: The channels, with ``*`` for any run of characters but ``#``; empty: everything.
    """

    name: str
    patterns: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether it also opens what is about no channel: connections, users, the service."""
        return not self.patterns

    def touches(self, channel: str) -> bool:
        return self.everything or any(matches(pattern, channel) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes = field(repr=False)
    pattern: str


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The setting API_KEYS: ``key`` or ``key:channel-pattern``, separated by commas."""

    _keys: tuple[_Key, ...]

    @classmethod
    def parse(cls, text: str, *, min_characters: int = KEY_CHARACTERS) -> "ApiKeys":
        """Raises: ConfigError, which tells the place of the key that is wrong, never the key."""
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        if not entries:
            raise ConfigError(SETTING, "is missing and has no default")
        return cls(
            tuple(
                _parse(entry, f"entry {place} of {len(entries)}", min_characters)
                for place, entry in enumerate(entries, 1)
            )
        )

    def match(self, presented: str) -> Grant | None:
        """What a caller who presents this may touch; None: it is no key of ours.

        Takes the same time for every wrong key: digests are compared, and all of them. A key
        that stands in several entries has what each of them gives.
        """
        digest = _digest(presented)
        found = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if not found:
            return None
        patterns = tuple(key.pattern for key in found)
        return Grant(digest.hex()[:16], () if "" in patterns else patterns)


def _parse(entry: str, place: str, min_characters: int) -> _Key:
    key, colon, pattern = (part.strip() for part in entry.partition(":"))
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(SETTING, f"{place}: a key is printable ASCII without spaces")
    if len(key) < max(min_characters, 1):
        problem = f"{place}: the key has {len(key)} characters, at least {min_characters}"
        raise ConfigError(SETTING, problem)
    if colon and not pattern:
        raise ConfigError(SETTING, f"{place}: no channel pattern after the colon")
    if len(pattern) > limits.CHANNEL_CHARACTERS:
        problem = f"{place}: the pattern has more than {limits.CHANNEL_CHARACTERS} characters"
        raise ConfigError(SETTING, problem)
    return _Key(_digest(key), pattern)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
