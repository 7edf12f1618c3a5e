"""Channel names, namespaces, their options, and who may do what in them. Pure.

Option names, meanings and defaults are Centrifugo's:
https://centrifugal.dev/docs/server/channels
"""

from collections.abc import Mapping
from zlib import crc32

import msgspec

from chalicelib import limits
from chalicelib.errors import ClientError, ConfigError, ErrorCode


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds in every channel of a namespace."""

    allow_subscribe_for_client: bool = False
    allow_subscribe_for_anonymous: bool = False
    allow_publish_for_client: bool = False
    allow_publish_for_anonymous: bool = False
    allow_publish_for_subscriber: bool = False
    # Ours: how many rows sets the subscriptions of one channel are spread over.
    shards: int = 1


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
        allowed = options.allow_publish_for_client if user else options.allow_publish_for_anonymous
        if not (allowed or (subscribed and options.allow_publish_for_subscriber)):
            raise ClientError(ErrorCode.PERMISSION_DENIED)
        return options


def is_printable(name: str) -> bool:
    """Whether all of `name` is printable ASCII (0x20 to 0x7e)."""
    return all(" " <= character <= "~" for character in name)


def shard_of(connection_id: str, shards: int) -> int:
    """The shard that holds a connection's rows in a channel with that many shards."""
    return crc32(connection_id.encode()) % shards
