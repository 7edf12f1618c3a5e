"""Where the management API is found."""

import pytest

from chalicelib import limits
from chalicelib.endpoint import Endpoint
from chalicelib.errors import ConfigError
from chalicelib.store.memory import MemoryStore
from tests.support.world import Clock


def _learn(endpoint: Endpoint, *, domain: str = "abc.execute-api.eu-west-1.amazonaws.com") -> None:
    endpoint.learn(api_id="abc", domain=domain, stage="api")


def test_a_configured_endpoint_is_not_learnt() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    endpoint = Endpoint("http://127.0.0.1:1/api", "eu-west-1", store, clock)
    _learn(endpoint)

    assert endpoint.url() == "http://127.0.0.1:1/api"
    assert store.fact("endpoint") is None


def test_what_one_function_learns_another_reads() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    _learn(Endpoint("", "eu-west-1", store, clock))

    url = Endpoint("", "eu-west-1", store, clock).url()
    assert url == "https://abc.execute-api.eu-west-1.amazonaws.com/api"


def test_china_has_its_own_domain() -> None:
    clock = Clock()
    endpoint = Endpoint("", "cn-north-1", MemoryStore(clock), clock)
    _learn(endpoint)

    assert endpoint.url() == "https://abc.execute-api.cn-north-1.amazonaws.com.cn/api"


def test_a_new_endpoint_is_noticed_after_a_while() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    endpoint = Endpoint("", "eu-west-1", store, clock)
    _learn(endpoint)
    store.note_fact("endpoint", "https://new.execute-api.eu-west-1.amazonaws.com/api")
    assert "abc" in endpoint.url()
    clock.now += limits.ENDPOINT_SECONDS + 1

    assert "new" in endpoint.url()


def test_nothing_known_names_the_setting() -> None:
    clock = Clock()

    with pytest.raises(ConfigError, match="WEBSOCKET_ENDPOINT"):
        Endpoint("", "eu-west-1", MemoryStore(clock), clock).url()


def test_a_custom_domain_is_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level("INFO", logger="chalicelib"):
        _learn(Endpoint("", "eu-west-1", MemoryStore(clock), clock), domain="ws.example.com")

    assert "set WEBSOCKET_ENDPOINT" in caplog.text
