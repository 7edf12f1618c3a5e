"""The exception tree, and the tables of what clients are told.

CarillonError
├── ConfigError        a setting is missing or malformed: no handler works until it is mended
├── StoreError         the table did not take or give what it must
├── ClientError        the answer to one command; the connection stays open
├── DisconnectError    the connection is told why, then closed
├── TokenInvalidError  not a token of ours, or not for this use: no other try will do better
├── TokenExpiredError  was valid once: the client is to bring a newer one
└── KeysUnavailableError  the keys that tokens are checked with cannot be fetched: try later

Codes, their meaning and their text are Centrifugo's, so that its SDKs act on them:
https://centrifugal.dev/docs/server/codes
"""

from enum import Enum, IntEnum


class CarillonError(Exception):
    """The root of every error of ours."""


class ConfigError(CarillonError):
    """A setting that nothing can run with."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key = key
        self.problem = problem

    def __str__(self) -> str:
        return f"setting {self.key}: {self.problem}"


class StoreError(CarillonError):
    """The store failed after its retries; the caller may try again later."""


class ErrorCode(Enum):
    """An error reply: code, message, and whether the same command may succeed later."""

    INTERNAL = (100, "internal server error", True)
    UNAUTHORIZED = (101, "unauthorized", False)
    UNKNOWN_CHANNEL = (102, "unknown channel", False)
    PERMISSION_DENIED = (103, "permission denied", False)
    METHOD_NOT_FOUND = (104, "method not found", False)
    ALREADY_SUBSCRIBED = (105, "already subscribed", False)
    LIMIT_EXCEEDED = (106, "limit exceeded", False)
    BAD_REQUEST = (107, "bad request", False)
    NOT_AVAILABLE = (108, "not available", False)
    TOKEN_EXPIRED = (109, "token expired", False)
    UNRECOVERABLE_POSITION = (112, "unrecoverable position", False)
    CONCURRENT_PAGINATION = (113, "concurrent pagination", False)

    def __init__(self, code: int, message: str, temporary: bool) -> None:  # noqa: FBT001 a table row
        self.code = code
        self.message = message
        self.temporary = temporary


class ClientError(CarillonError):
    """What a client or API caller is answered; ``detail``: which field, and what was expected."""

    def __init__(self, reason: ErrorCode, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    @property
    def message(self) -> str:
        """The text for the client; never holds a token or a payload."""
        return f"{self.reason.message}: {self.detail}" if self.detail else self.reason.message

    def __str__(self) -> str:
        return f"{self.reason.code} {self.message}"


class UnsubscribeCode(IntEnum):
    """Why the server ended a subscription; from 2500 on the client subscribes again by itself."""

    SERVER = 2000
    INSUFFICIENT_STATE = 2500
    EXPIRED = 2501


class DisconnectCode(Enum):
    """Why a connection is closed; below 3500 the client comes back by itself."""

    EXPIRED = (3005, "connection expired")
    SLOW = (3008, "slow")
    INSUFFICIENT_STATE = (3010, "insufficient state")
    STATE_INVALIDATED = (3014, "state invalidated")
    INVALID_TOKEN = (3500, "invalid token")
    FORCE_NO_RECONNECT = (3503, "force disconnect")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class DisconnectError(CarillonError):
    """The connection cannot go on; it is told why and then closed."""

    def __init__(self, why: DisconnectCode) -> None:
        super().__init__(why)
        self.why = why


class TokenInvalidError(CarillonError):
    """Why a token is refused; the problem quotes nothing of the token."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the token {self.problem}"


class TokenExpiredError(CarillonError):
    """A token of ours, for this use, whose time has passed."""


class KeysUnavailableError(CarillonError):
    """The key set could not be fetched or read, so whether a token is valid is not known."""
