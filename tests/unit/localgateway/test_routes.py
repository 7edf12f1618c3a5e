"""Which route a message takes."""

import pytest

from localgateway.routes import check_expression, select_route

ACTION = "$request.body.action"


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ('{"action":"join"}', "join"),
        ('{"action":"other"}', "$default"),
        ('{"action":7}', "$default"),
        ('{"action":["join"]}', "$default"),
        ('{"action":"$connect"}', "$default"),
        ('{"action":"$disconnect"}', "$default"),
        ('{"action":"$default"}', "$default"),
        ("[1]", "$default"),
        ('"action"', "$default"),
        ("no json", "$default"),
        ("", "$default"),
        ("[" * 100_000, "$default"),
    ],
)
def test_the_action_selects_a_route_and_all_else_is_default(text: str, route: str) -> None:
    assert select_route(ACTION, text, {"$connect", "$disconnect", "$default", "join"}) == route


def test_25_without_default_there_may_be_no_route() -> None:
    assert select_route(ACTION, '{"action":"other"}', {"join"}) is None
    assert select_route(ACTION, '{"action":"join"}', {"join"}) == "join"


def test_a_nested_field_can_select() -> None:
    expression = "$request.body.meta.kind"

    assert select_route(expression, '{"meta":{"kind":"join"}}', {"join"}) == "join"
    assert select_route(expression, '{"meta":"join"}', {"join", "$default"}) == "$default"


@pytest.mark.parametrize("wrong", ["action", "$request.body", "$request.body.", "$request.body.a."])
def test_an_expression_of_another_shape_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="route selection"):
        check_expression(wrong)
