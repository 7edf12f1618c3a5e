"""Every setting, and the only place that reads the environment.

Stage ``local`` gets working values from .chalice/config.json; docs/settings.md lists them all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import environ as environ  # noqa: TID251 the one reader; rotating credentials pass it on
from pathlib import Path

import msgspec

from chalicelib.apikeys import KEY_CHARACTERS, ApiKeys
from chalicelib.channels import DURATION, Channels, seconds_of
from chalicelib.errors import ConfigError
from chalicelib.tokens import TokenConfig

HERE = Path(__file__).parent
PING_SECONDS = 540
MIN_PING_SECONDS = 120
MAX_DATA_BYTES = 64 * 1024
MAX_CHANNELS = 128
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, checked.

    Attributes:
        stage: The Chalice stage; only ``local`` runs without secrets.
        region: The AWS region, which Lambda sets.
        table: The DynamoDB table's name.
        api_keys: What callers of the HTTP API present, and what each may touch.
        tokens: What the tokens of clients are checked with.
        channels: Namespaces and their options.
        allow_anonymous: Whether a connection without a token may do anything at all.
        fanout_queue_url: The FIFO queue of doorbells; empty: publishers drain shards themselves.
        ping: Seconds between the pings that clients are told to expect; 0: no pings.
        websocket_endpoint: URL of the management API; empty: learnt at ``$connect``.
        max_data_bytes: The largest ``data`` of a publication, in bytes of JSON.
        max_channels: Channels that one connection may be in.
        ingest_channels: Channel of what comes in from AWS and names none, by its type, source,
            queue or topic.
        ingest_dead_letters_url: The queue for what can never be published; empty: it fails, and
            goes where its trigger puts failures.
        ingest_reports_failures: Whether Lambda was told that failed messages of a batch are
            reported, so that the others do not come again.
        function: The Lambda function that this is; empty elsewhere.
        log_level: The least that is logged, on Lambda.
    """

    stage: str
    region: str
    table: str
    api_keys: ApiKeys
    tokens: TokenConfig
    channels: Channels
    allow_anonymous: bool = False
    fanout_queue_url: str = ""
    ping: int = PING_SECONDS
    websocket_endpoint: str = ""
    max_data_bytes: int = MAX_DATA_BYTES
    max_channels: int = MAX_CHANNELS
    ingest_channels: Mapping[str, str] = field(default_factory=dict)
    ingest_dead_letters_url: str = ""
    ingest_reports_failures: bool = False
    function: str = ""
    log_level: str = LOG_LEVELS[1]

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls.parse(environ)

    @classmethod
    def parse(cls, env: Mapping[str, str]) -> "Settings":
        """Raises: ConfigError, which names the key."""
        stage = _required(env, "STAGE")
        tokens = TokenConfig(
            hmac_secret=env.get("TOKEN_HMAC_SECRET", ""),
            public_key=env.get("TOKEN_PUBLIC_KEY", ""),
            jwks_url=env.get("TOKEN_JWKS_URL", ""),
            audience=env.get("TOKEN_AUDIENCE", ""),
            issuer=env.get("TOKEN_ISSUER", ""),
        )
        if stage != "local" and not tokens.checks_tokens:
            problem = "is missing, and so are TOKEN_PUBLIC_KEY and TOKEN_JWKS_URL: one is needed"
            raise ConfigError("TOKEN_HMAC_SECRET", problem)
        key_characters = 1 if stage == "local" else KEY_CHARACTERS
        return cls(
            stage=stage,
            region=env.get("AWS_REGION") or _required(env, "AWS_DEFAULT_REGION"),
            table=_required(env, "TABLE"),
            api_keys=ApiKeys.parse(_required(env, "API_KEYS"), min_characters=key_characters),
            tokens=tokens,
            channels=Channels.parse(_channels(env.get("CHANNELS", ""))),
            allow_anonymous=_flag(env, "ALLOW_ANONYMOUS"),
            fanout_queue_url=env.get("FANOUT_QUEUE_URL", "").strip(),
            ping=_ping(env),
            websocket_endpoint=env.get("WEBSOCKET_ENDPOINT", "").rstrip("/"),
            max_data_bytes=_count(env, "MAX_DATA_BYTES", default=MAX_DATA_BYTES),
            max_channels=_count(env, "MAX_CHANNELS", default=MAX_CHANNELS),
            ingest_channels=_ingest_channels(env.get("INGEST_CHANNELS", "")),
            ingest_dead_letters_url=env.get("INGEST_DEAD_LETTERS_URL", "").strip(),
            ingest_reports_failures=_flag(env, "INGEST_REPORTS_FAILURES"),
            function=env.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            log_level=_log_level(env.get("LOG_LEVEL", "")),
        )


def _required(env: Mapping[str, str], key: str) -> str:
    value = env.get(key, "").strip()
    if not value:
        raise ConfigError(key, "is missing and has no default")
    return value


def _flag(env: Mapping[str, str], key: str) -> bool:
    value = env.get(key, "").strip().lower()
    if value not in ("", "true", "false"):
        raise ConfigError(key, f"expected true or false, got {value!r}")
    return value == "true"


def _count(env: Mapping[str, str], key: str, *, default: int) -> int:
    value = env.get(key, "").strip()
    if not value:
        return default
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(key, f"expected a whole number from 1, got {value!r}")
    return int(value)


def _seconds(env: Mapping[str, str], key: str, *, default: int) -> int:
    """A duration such as ``540s``, in whole seconds; ``0`` is one as well."""
    value = env.get(key, "").strip()
    if not value:
        return default
    if value != "0" and not re.fullmatch(DURATION, value):
        raise ConfigError(key, f"expected a duration such as 540s, or 0, got {value!r}")
    return int(seconds_of(value))


def _ping(env: Mapping[str, str]) -> int:
    seconds = _seconds(env, "PING", default=PING_SECONDS)
    if 0 < seconds < MIN_PING_SECONDS:
        problem = f"expected 0 or at least {MIN_PING_SECONDS}s: the sweep runs once a minute"
        raise ConfigError("PING", problem)
    return seconds


def _channels(value: str) -> bytes:
    """JSON as it stands, or the text of the file that it names (relative to the app's folder)."""
    if value.lstrip().startswith("{"):
        return value.encode()
    path = HERE.parent / value if value else HERE / "channels.json"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError("CHANNELS", f"cannot read {path}: {error.strerror}") from error


def _ingest_channels(value: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(value, type=dict[str, str]) if value.strip() else {}
    except msgspec.MsgspecError as error:
        problem = f"expected a JSON object of channels by type, source, queue or topic: {error}"
        raise ConfigError("INGEST_CHANNELS", problem) from error


def _log_level(value: str) -> str:
    level = value.strip().lower() or LOG_LEVELS[1]
    if level not in LOG_LEVELS:
        raise ConfigError("LOG_LEVEL", f"expected one of {', '.join(LOG_LEVELS)}, got {value!r}")
    return level
