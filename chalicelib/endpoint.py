"""Where the management API is: from the settings, else learnt when a socket connects.

A plain `chalice deploy` cannot tell the functions their own WebSocket API; its first `$connect`
event can, and the table keeps it for the functions that push from HTTP, queues and schedules.
"""

from collections.abc import Callable

from chalicelib import limits, logs
from chalicelib.errors import ConfigError
from chalicelib.ports import Store

FACT = "endpoint"


class Endpoint:
    """Knows the management URL, such as ``https://abc.execute-api.eu-west-1.amazonaws.com/api``.

    Args:
        configured: The setting WEBSOCKET_ENDPOINT; empty: learn it.
        region: The AWS region that the API is in.
    """

    def __init__(
        self, configured: str, region: str, store: Store, clock: Callable[[], float]
    ) -> None:
        self._configured = configured
        self._region = region
        self._store = store
        self._clock = clock
        self._known = ""
        self._read_at = 0.0

    def url(self) -> str:
        """Raises: ConfigError when it is neither configured nor learnt yet."""
        if self._configured:
            return self._configured
        if not self._known or self._clock() - self._read_at > limits.ENDPOINT_SECONDS:
            self._known = self._store.fact(FACT) or ""
            self._read_at = self._clock()
        if not self._known:
            raise ConfigError("WEBSOCKET_ENDPOINT", "is empty, and no socket has connected yet")
        return self._known

    def learn(self, *, api_id: str, domain: str, stage: str) -> None:
        """Note the default endpoint of the API that a `$connect` came through."""
        if self._configured:
            return
        suffix = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        url = f"https://{api_id}.execute-api.{self._region}.{suffix}/{stage}"
        if url != self._known:
            self._store.note_fact(FACT, url)
            self._known, self._read_at = url, self._clock()
            logs.info("endpoint_learnt", url=url)
            if not domain.startswith(f"{api_id}."):
                logs.warning(
                    "custom_domain",
                    domain=domain,
                    advice="set WEBSOCKET_ENDPOINT if the API's default endpoint is disabled",
                )
