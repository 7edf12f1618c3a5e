"""Channel names, namespaces, their options, and who may do what in them. Pure.

Option names, meanings and defaults are Centrifugo's:
https://centrifugal.dev/docs/server/channels
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal
from zlib import crc32

import msgspec

from chalicelib import limits
from chalicelib.capabilities import Capabilities, Operation
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
    # Whether `dialog#1,2` is open to users 1 and 2.
    allow_user_limited_channels: bool = False
    # Found somewhere in the name after `namespace:` (anchor it), or clients get a 107.
    channel_regex: str = ""
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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for something in a channel.

    Attributes:
        user: Empty for an anonymous one.
        subscribed: Whether it is in the channel.
        authorised: Whether it showed a valid subscription token for the channel.
        capabilities: What its connection token lets it do.
    """

    user: str = ""
    subscribed: bool = False
    authorised: bool = False
    capabilities: Capabilities = Capabilities()


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
            if not name or set(name) & set(":#$") or not is_printable(name):
                raise ConfigError("CHANNELS", f"namespace name {name!r} is not usable")
            if names.count(name) > 1:
                raise ConfigError("CHANNELS", f"namespace {name!r} is defined twice")
        for name, options in (("without_namespace", config.without_namespace), *cls._rows(config)):
            _check(name, options)
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
        namespace, _ = split(channel)
        if namespace is None:
            return self._default
        try:
            return self._named[namespace]
        except KeyError:
            raise ClientError(
                ErrorCode.UNKNOWN_CHANNEL, f"no namespace {namespace!r} is configured"
            ) from None

    def find(self, channel: str) -> Options | None:
        """The options of a channel, if its namespace is still there."""
        namespace, _ = split(channel)
        return self._default if namespace is None else self._named.get(namespace)

    def may(self, operation: Operation, channel: str, caller: Caller) -> Options:
        """The channel's options, if the caller may do that in it. Nothing is open by default.

        Raises: ClientError 102 unknown namespace, 107 unusable name, 103 not allowed.
        """
        options = self.options(channel)
        if options.channel_regex and not re.search(options.channel_regex, split(channel)[1]):
            raise ClientError(ErrorCode.BAD_REQUEST, "channel does not match channel_regex")
        if not (
            (operation is Operation.SUBSCRIBE and caller.authorised)
            or caller.capabilities.allows(operation, channel)
            or _opened(options, operation, channel, caller)
        ):
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        return options


def _check(name: str, options: Options) -> None:
    """Raises: ConfigError for options that make no sense, or not together."""
    if not 1 <= options.shards <= 256:
        raise ConfigError("CHANNELS", f"{name}.shards must be 1 to 256")
    if not 0 <= options.previous_shards <= 256:
        raise ConfigError("CHANNELS", f"{name}.previous_shards must be 0 to 256")
    if options.history_size < 0:
        raise ConfigError("CHANNELS", f"{name}.history_size must be 0 or more")
    if (options.history_size > 0) != (options.history_seconds > 0):
        raise ConfigError("CHANNELS", f"{name} needs history_size and history_ttl, or none")
    if options.meta_seconds < options.history_seconds:
        problem = f"{name}.history_meta_ttl must not be below history_ttl"
        raise ConfigError("CHANNELS", problem)
    try:
        re.compile(options.channel_regex)
    except re.error as error:
        raise ConfigError("CHANNELS", f"{name}.channel_regex: {error}") from error


def _opened(options: Options, operation: Operation, channel: str, caller: Caller) -> bool:
    """Whether the namespace's options open a channel to the caller.

    Centrifugo's rules, but that the options for clients reach neither `$private` channels nor
    user-limited ones whose users do not include the caller: there only subscribing is guarded,
    here also publishing, presence and history.
    """
    for_client, for_anonymous, for_subscriber = _switches(options, operation)
    if not (caller.user or for_anonymous):
        return False
    private, limited = channel.startswith("$"), "#" in channel
    named = options.allow_user_limited_channels and not private and caller.user in users(channel)
    if operation is Operation.SUBSCRIBE and named:
        return True
    if for_subscriber and caller.subscribed:
        return True
    return for_client and (named or not (private or limited))


def _switches(options: Options, operation: Operation) -> tuple[bool, bool, bool]:
    """The options of one operation: for clients, for anonymous ones too, for subscribers."""
    o = options
    match operation:
        case Operation.SUBSCRIBE:
            return o.allow_subscribe_for_client, o.allow_subscribe_for_anonymous, False
        case Operation.PUBLISH:
            return (
                o.allow_publish_for_client,
                o.allow_publish_for_anonymous,
                o.allow_publish_for_subscriber,
            )
        case Operation.PRESENCE:
            return (
                o.allow_presence_for_client,
                o.allow_presence_for_anonymous,
                o.allow_presence_for_subscriber,
            )
        case Operation.HISTORY:
            return (
                o.allow_history_for_client,
                o.allow_history_for_anonymous,
                o.allow_history_for_subscriber,
            )


def split(channel: str) -> tuple[str | None, str]:
    """The namespace, if there is one, and the rest; `#…`, as every personal channel, has none."""
    namespace, colon, rest = channel.removeprefix("$").partition(":")
    if not colon or channel.startswith("#"):
        return None, channel
    return namespace, rest


def users(channel: str) -> frozenset[str]:
    """Who a user-limited channel is for: the comma-separated names after its last `#`."""
    _, boundary, names = channel.rpartition("#")
    return frozenset(names.split(",")) - {""} if boundary else frozenset()


def is_printable(name: str) -> bool:
    """Whether all of `name` is printable ASCII (0x20 to 0x7e)."""
    return all(" " <= character <= "~" for character in name)


def shard_of(connection_id: str, shards: int) -> int:
    """The shard that holds a connection's rows in a channel with that many shards."""
    return crc32(connection_id.encode()) % shards
