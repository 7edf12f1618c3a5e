"""Channel names, namespaces, their options, and who may do what in them. Pure.

Option names, meanings and defaults are Centrifugo's:
https://centrifugal.dev/docs/server/channels
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal
from zlib import crc32

import msgspec

from chalicelib import limits
from chalicelib.errors import ClientError, ConfigError, ErrorCode

# As Go writes durations: "300s", "10m", "1h30m"; https://pkg.go.dev/time#ParseDuration
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"\d+(?:\.\d+)?(?:ms|h|m|s)"
DURATION = rf"^(?:{_PART})+$"
Duration = Annotated[str, msgspec.Meta(pattern=DURATION)]


@cache
def seconds_of(duration: str) -> float:
    """The seconds in a duration such as ``1h30m``."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", duration)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds in every channel of a namespace."""

    allow_subscribe_for_client: bool = False
    allow_subscribe_for_anonymous: bool = False
    allow_publish_for_client: bool = False
    allow_publish_for_anonymous: bool = False
    allow_publish_for_subscriber: bool = False
    allow_presence_for_client: bool = False
    allow_presence_for_anonymous: bool = False
    allow_presence_for_subscriber: bool = False
    allow_history_for_client: bool = False
    allow_history_for_anonymous: bool = False
    allow_history_for_subscriber: bool = False
    # A channel has a history, and so a stream, where size and ttl are both above 0.
    history_size: int = 0
    history_ttl: Duration = "0s"
    history_meta_ttl: Duration = "720h"
    force_recovery: bool = False
    allow_recovery: bool = False
    force_recovery_mode: Literal["stream", "cache"] = "stream"
    force_positioning: bool = False
    allow_positioning: bool = False
    presence: bool = False
    join_leave: bool = False
    force_push_join_leave: bool = False
    # Ours: how many rows sets the subscriptions of one channel are spread over.
    shards: int = 1
    # Ours: what `shards` was before, for two hours after lowering it, while rows are out there.
    previous_shards: int = 0

    @property
    def all_shards(self) -> int:
        return max(self.shards, self.previous_shards)

    @property
    def keeps_history(self) -> bool:
        return self.history_size > 0 and self.history_seconds > 0

    @property
    def history_seconds(self) -> float:
        return seconds_of(self.history_ttl)

    @property
    def meta_seconds(self) -> float:
        return seconds_of(self.history_meta_ttl)


class Namespace(Options, frozen=True, kw_only=True):
    """A named set of options; `name` is what stands before the colon."""

    name: str


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file channels.json, or the setting CHANNELS."""

    without_namespace: Options = Options()
    namespaces: tuple[Namespace, ...] = ()


class Channels:
    """Every channel's options, and the answer to "may this connection do that here"."""

    def __init__(self, config: Config) -> None:
        self._default = config.without_namespace
        self._named: Mapping[str, Options] = {space.name: space for space in config.namespaces}

    @classmethod
    def parse(cls, text: bytes) -> "Channels":
        """Raises: ConfigError, which names the option."""
        try:
            config = msgspec.json.decode(text, type=Config)
        except msgspec.MsgspecError as error:
            raise ConfigError("CHANNELS", str(error)) from error
        names = [space.name for space in config.namespaces]
        for name in names:
            if not name or ":" in name or not is_printable(name):
                raise ConfigError("CHANNELS", f"namespace name {name!r} is not usable")
            if names.count(name) > 1:
                raise ConfigError("CHANNELS", f"namespace {name!r} is defined twice")
        for name, options in (("without_namespace", config.without_namespace), *cls._rows(config)):
            if not 1 <= options.shards <= 256:
                raise ConfigError("CHANNELS", f"{name}.shards must be 1 to 256")
            if options.history_size < 0:
                raise ConfigError("CHANNELS", f"{name}.history_size must be 0 or more")
            if (options.history_size > 0) != (options.history_seconds > 0):
                raise ConfigError("CHANNELS", f"{name} needs history_size and history_ttl, or none")
            if options.meta_seconds < options.history_seconds:
                problem = f"{name}.history_meta_ttl must not be below history_ttl"
                raise ConfigError("CHANNELS", problem)
        return cls(config)

    @staticmethod
    def _rows(config: Config) -> list[tuple[str, Options]]:
        return [(f"namespace {space.name!r}", space) for space in config.namespaces]

    def options(self, channel: str) -> Options:
        """Raises: ClientError 107 for an unusable name, 102 for an unknown namespace."""
        if not channel:
            raise ClientError(ErrorCode.BAD_REQUEST, "channel is required")
        if len(channel) > limits.CHANNEL_CHARACTERS:
            raise ClientError(
                ErrorCode.BAD_REQUEST,
                f"channel has {len(channel)} characters, at most {limits.CHANNEL_CHARACTERS}",
            )
        if not is_printable(channel):
            raise ClientError(ErrorCode.BAD_REQUEST, "channel must be printable ASCII")
        namespace, colon, _ = channel.partition(":")
        if not colon:
            return self._default
        try:
            return self._named[namespace]
        except KeyError:
            raise ClientError(
                ErrorCode.UNKNOWN_CHANNEL, f"no namespace {namespace!r} is configured"
            ) from None

    def find(self, channel: str) -> Options | None:
        """The options of a channel, if its namespace is still there."""
        namespace, colon, _ = channel.partition(":")
        return self._named.get(namespace) if colon else self._default

    def check_subscribe(self, channel: str, user: str) -> Options:
        """Raises: ClientError 102, 103 or 107."""
        options = self.options(channel)
        allowed = (
            options.allow_subscribe_for_client if user else options.allow_subscribe_for_anonymous
        )
        if not allowed:
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        return options

    def check_publish(self, channel: str, user: str, *, subscribed: bool) -> Options:
        """Raises: ClientError 102, 103 or 107."""
        options = self.options(channel)
        flags = (
            options.allow_publish_for_client,
            options.allow_publish_for_anonymous,
            options.allow_publish_for_subscriber,
        )
        if not _allowed(flags, user, subscribed=subscribed):
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        return options

    def check_history(self, channel: str, user: str, *, subscribed: bool) -> Options:
        """Raises: ClientError 102, 103, 107, or 108 where the channel keeps none."""
        options = self.options(channel)
        flags = (
            options.allow_history_for_client,
            options.allow_history_for_anonymous,
            options.allow_history_for_subscriber,
        )
        if not _allowed(flags, user, subscribed=subscribed):
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        if not options.keeps_history:
            raise ClientError(ErrorCode.NOT_AVAILABLE, "the channel keeps no history")
        return options

    def check_presence(self, channel: str, user: str, *, subscribed: bool) -> Options:
        """Raises: ClientError 102, 103, 107, or 108 where the channel has none."""
        options = self.options(channel)
        flags = (
            options.allow_presence_for_client,
            options.allow_presence_for_anonymous,
            options.allow_presence_for_subscriber,
        )
        if not _allowed(flags, user, subscribed=subscribed):
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        if not options.presence:
            raise ClientError(ErrorCode.NOT_AVAILABLE, "the channel has no presence")
        return options


def _allowed(flags: tuple[bool, bool, bool], user: str, *, subscribed: bool) -> bool:
    """Whether a caller may, by what clients, anonymous ones and subscribers may."""
    client, anonymous, subscriber = flags
    return (client if user else anonymous) or (subscribed and subscriber)


def is_printable(name: str) -> bool:
    """Whether all of `name` is printable ASCII (0x20 to 0x7e)."""
    return all(" " <= character <= "~" for character in name)


def shard_of(connection_id: str, shards: int) -> int:
    """The shard that holds a connection's rows in a channel with that many shards."""
    return crc32(connection_id.encode()) % shards
