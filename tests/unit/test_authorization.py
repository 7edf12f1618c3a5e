"""Who may do what in a channel: a table to read, and every combination against a second opinion."""

from collections.abc import Iterator
from itertools import product

import msgspec
import pytest

from chalicelib.capabilities import Capabilities, Match, Operation, Rule
from chalicelib.channels import Caller, Channels, Config, Namespace, Options, split, users
from chalicelib.errors import ClientError, ErrorCode

SUB, PUB, PRS, HST = Operation
WORDS = {SUB: "subscribe", PUB: "publish", PRS: "presence", HST: "history"}
ALL = tuple(Operation)


def caps(channel: str, *operations: Operation) -> Capabilities:
    return Capabilities.of([Rule((channel,), operations, Match.WILDCARD)])


def opened(*names: str, **more: object) -> Options:
    return msgspec.convert({**dict.fromkeys(names, True), **more}, Options)


def answer(options: Options, operation: Operation, channel: str, caller: Caller) -> int:
    """The code of the refusal, 0 for none."""
    try:
        assert Channels(Config(options)).may(operation, channel, caller) is options
    except ClientError as error:
        return error.reason.code
    return 0


# -- The table ------------------------------------------------------------------------------------

ANYBODY = Caller()
ADA = Caller("ada")
INSIDE = Caller("ada", subscribed=True)
ANYBODY_INSIDE = Caller(subscribed=True)
TOKEN = Caller("ada", authorised=True)
ANYBODY_TOKEN = Caller(authorised=True)

# options set to true | operation | channel | who | allowed
TABLE = """
-                                 | sub pub prs hst | room      | ada inside         | no
-                                 | sub pub prs hst | room      | anybody            | no
-                                 | sub             | room      | token anybodytoken | yes
-                                 | pub prs hst     | room      | token anybodytoken | no
-                                 | sub             | $secret   | token              | yes
-                                 | sub             | a#bob     | token              | yes
-                                 | sub             | a#ada     | ada                | no
subscribe_for_client              | sub             | room      | ada                | yes
subscribe_for_client              | sub             | room      | anybody            | no
subscribe_for_client              | pub prs hst     | room      | ada inside         | no
subscribe_for_client              | sub             | $secret   | ada                | no
subscribe_for_client              | sub             | a#bob     | ada                | no
subscribe_for_client              | sub             | #ada      | ada                | no
subscribe_for_anonymous           | sub             | room      | ada anybody        | no
subscribe_for_client _anonymous   | sub             | room      | ada anybody        | yes
user_limited_channels             | sub             | room      | ada                | no
user_limited_channels             | sub             | #ada      | ada                | yes
user_limited_channels             | sub             | a#bob,ada | ada                | yes
user_limited_channels             | sub             | a#bob     | ada                | no
user_limited_channels             | sub             | a#        | anybody            | no
user_limited_channels             | sub             | $a#ada    | ada                | no
user_limited_channels             | pub prs hst     | #ada      | ada inside         | no
user_limited_channels publish_for_client | pub      | #ada      | ada                | yes
user_limited_channels publish_for_client | pub      | #bob      | ada inside         | no
publish_for_client                | pub             | room      | ada                | yes
publish_for_client                | pub             | room      | anybody            | no
publish_for_client                | pub             | #ada      | ada                | no
publish_for_client _anonymous     | pub             | room      | anybody            | yes
publish_for_subscriber            | pub             | room      | ada                | no
publish_for_subscriber            | pub             | room      | inside             | yes
publish_for_subscriber            | pub             | #bob      | inside             | yes
publish_for_subscriber            | pub             | room      | anybodyinside      | no
publish_for_subscriber _anonymous | pub             | room      | anybodyinside      | yes
publish_for_subscriber _anonymous | pub             | room      | anybody            | no
presence_for_client               | prs             | room      | ada                | yes
presence_for_client               | hst             | room      | ada                | no
presence_for_subscriber           | prs             | room      | inside             | yes
presence_for_subscriber           | prs             | room      | ada                | no
history_for_client                | hst             | room      | ada                | yes
history_for_client                | prs             | room      | ada                | no
history_for_client                | hst             | #bob      | ada                | no
history_for_subscriber            | hst             | room      | inside             | yes
history_for_subscriber            | hst             | room      | ada                | no
"""
WHO = {
    "anybody": ANYBODY,
    "ada": ADA,
    "inside": INSIDE,
    "anybodyinside": ANYBODY_INSIDE,
    "token": TOKEN,
    "anybodytoken": ANYBODY_TOKEN,
}


def rows() -> Iterator[tuple[str, str, str, str, bool]]:
    for line in TABLE.strip().splitlines():
        options, operations, channel, callers, allowed = (part.strip() for part in line.split("|"))
        for operation, caller in product(operations.split(), callers.split()):
            yield options, operation, channel, caller, allowed == "yes"


@pytest.mark.parametrize(("options", "operation", "channel", "caller", "allowed"), list(rows()))
def test_the_options_open_a_channel_to(
    options: str, operation: str, channel: str, caller: str, *, allowed: bool
) -> None:
    words = options.replace(" _", f" {options.partition('_for_')[0]}_for_").split()
    given = opened(*(f"allow_{word}" for word in words if word != "-"))

    code = answer(given, Operation(operation), channel, WHO[caller])

    assert code == (0 if allowed else ErrorCode.PERMISSION_DENIED.code)


@pytest.mark.parametrize("caller", [ADA, ANYBODY])
@pytest.mark.parametrize("operation", ALL)
def test_capabilities_open_what_they_name_and_nothing_else(
    operation: Operation, caller: Caller
) -> None:
    able = Caller(caller.user, capabilities=caps("chat:*", operation))
    named = Caller(caller.user, capabilities=caps("chat:*#bob", operation))
    channels = Channels(Config(namespaces=(Namespace(name="chat"), Namespace(name="news"))))

    channels.may(operation, "chat:1", able)
    channels.may(operation, "chat:a#bob", named)
    for other in set(ALL) - {operation}:
        with pytest.raises(ClientError, match="103"):
            channels.may(other, "chat:1", able)
    for channel in ("news:1", "chat:a#bob", "room", "$chat:1"):
        with pytest.raises(ClientError, match="103"):
            channels.may(operation, channel, able)


def test_no_permission_opens_a_channel_that_cannot_be() -> None:
    almighty = Caller("ada", subscribed=True, authorised=True, capabilities=caps("*", *ALL))
    allowing = [name for name in Options.__struct_fields__ if name.startswith("allow_")]
    everything = opened(*allowing, channel_regex=r"^\d+$")
    channels = Channels(Config(everything, (Namespace(name="chat", channel_regex="^[a-z]+$"),)))
    for operation in ALL:
        channels.may(operation, "42", almighty)
        channels.may(operation, "chat:room", almighty)
        for channel, code in (
            ("", 107),
            ("x" * 256, 107),
            ("caf\u00e9", 107),
            ("x", 107),
            ("42x", 107),
            ("chat:42", 107),
            ("$chat:42", 107),
            ("none:42", 102),
            (":42", 102),
        ):
            with pytest.raises(ClientError, match=str(code)):
                channels.may(operation, channel, almighty)


# -- Every combination ----------------------------------------------------------------------------

CHANNELS = ("room", "$room", "#ada", "a#ada,bob", "a#bob", "a#ada#bob", "$a#ada", "a#", "#")
SWITCHES = ("client", "anonymous", "subscriber")


def second_opinion(
    switches: dict[str, bool], operation: Operation, channel: str, caller: Caller
) -> bool:
    """The rules once more, as sentences, in another order than the code has them."""
    if caller.capabilities.allows(operation, channel):
        return True
    if operation is SUB and caller.authorised:
        return True
    if caller.user == "" and not switches["anonymous"]:
        return False
    guest_list = channel[channel.rindex("#") + 1 :].split(",") if "#" in channel else []
    on_the_list = (
        switches["limited"]
        and channel[0] != "$"
        and any(guest == caller.user and guest != "" for guest in guest_list)
    )
    public = "#" not in channel and channel[0] != "$"
    by_client = switches["client"] and (public or on_the_list)
    if operation is SUB:
        return on_the_list or by_client
    return by_client or (switches["subscriber"] and caller.subscribed)


def test_every_combination_is_decided_as_the_rules_say() -> None:
    abilities = (Capabilities(), *(caps(p, o) for p in ("*", "*#*") for o in ALL))
    callers = [
        Caller(user, subscribed, authorised, able)
        for user, subscribed, authorised, able in product(
            ("", "ada", "cleo"), (True, False), (True, False), abilities
        )
    ]
    decided = {True: 0, False: 0}
    for operation, values in product(ALL, product((True, False), repeat=4)):
        switches = dict(zip((*SWITCHES, "limited"), values, strict=True))
        word = WORDS[operation]
        on = [who for who in SWITCHES if switches[who] and (operation, who) != (SUB, "subscriber")]
        options = opened(
            *(f"allow_{word}_for_{who}" for who in on),
            allow_user_limited_channels=switches["limited"],
        )
        for channel, caller in product(CHANNELS, callers):
            expected = second_opinion(switches, operation, channel, caller)
            code = answer(options, operation, channel, caller)
            assert (code == 0) is expected, (switches, operation, channel, caller)
            assert code in (0, 103)
            decided[expected] += 1

    assert sum(decided.values()) == 4 * 16 * len(CHANNELS) * len(callers)
    assert min(decided.values()) > 10_000


def test_an_option_of_one_operation_opens_no_other() -> None:
    for operation, other in product(ALL, ALL):
        if operation is not other:
            names = [
                name
                for name in Options.__struct_fields__
                if name.startswith(f"allow_{WORDS[operation]}_")
            ]
            assert names
            assert answer(opened(*names), other, "room", INSIDE) == 103


# -- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "parts"),
    [
        ("room", (None, "room")),
        ("chat:1", ("chat", "1")),
        ("chat:1:2", ("chat", "1:2")),
        ("$chat:1", ("chat", "1")),
        ("$room", (None, "$room")),
        (":1", ("", "1")),
        ("#auth0:1", (None, "#auth0:1")),
        ("chat:a#1,2", ("chat", "a#1,2")),
    ],
)
def test_a_name_has_a_namespace_and_a_rest(channel: str, parts: tuple[str | None, str]) -> None:
    assert split(channel) == parts


@pytest.mark.parametrize(
    ("channel", "who"),
    [
        ("room", set()),
        ("#42", {"42"}),
        ("#1,2", {"1", "2"}),
        ("chat:a#1,,2,", {"1", "2"}),
        ("a#1#2", {"2"}),
        ("#", set()),
        ("#auth0:1", {"auth0:1"}),
    ],
)
def test_a_user_limited_name_says_who_it_is_for(channel: str, who: set[str]) -> None:
    assert users(channel) == who
