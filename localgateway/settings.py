"""What can be set on the gateway; every default is API Gateway's own value where one is known."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

# Source of the quotas: AWS API Gateway developer guide, "Quotas for configuring and running a
# WebSocket API".
FRAME_BYTES = 32 * 1024
MESSAGE_BYTES = 128 * 1024
IDLE_SECONDS = 600.0
LIFETIME_SECONDS = 7200.0
INTEGRATION_SECONDS = 29.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The API that is emulated and its limits.

    Sizes are in bytes and include their value; times are in seconds.
    """

    stage: str = "api"
    api_id: str = "localapi00"
    """Ten characters of ``[a-z0-9]``, as on AWS; this one cannot be mistaken for a real one."""
    domain_name: str = ""
    """``domainName`` of every event; empty: the ``host:port`` that is listened on.

    Divergence: on AWS it never has a port. Here ``{scheme}://{domainName}/{stage}`` is where the
    management API really is.
    """
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    authorizer: Callable[..., Any] | None = None
    """A Lambda REQUEST authorizer of ``$connect``: ``f(event, context)`` returns a policy."""
    identity_sources: Collection[str] = ()
    """``route.request.header.X`` or ``route.request.querystring.x``; one missing means 401."""
    route_selection: str = "$request.body.action"
    route_responses: Collection[str] = ()
    """Routes that have a RouteResponse: the ``body`` they return is sent to the client."""
    error_frame_from_status: int | None = None
    """A message handler's ``statusCode`` from here up is answered with the error frame.

    Sources conflict; the only measured table has no frame for any status, hence None.
    """
    frame_bytes: int = FRAME_BYTES
    message_bytes: int = MESSAGE_BYTES
    post_bytes: int = MESSAGE_BYTES
    idle_seconds: float = IDLE_SECONDS
    lifetime_seconds: float = LIFETIME_SECONDS
    ping_is_activity: bool = False
    """Whether a client's ping restarts the idle clock: undocumented; False is the safe guess."""
    integration_seconds: float = INTEGRATION_SECONDS
    function_seconds: float = 60.0
    """A function's own timeout, as its context counts it down; Chalice deploys with 60 s."""
    concurrency: int = 1000
    """Invocations in flight, Lambda's default quota: beyond it 429."""
    threads: int = 128
    """Handlers that truly run at once; the rest of ``concurrency`` waits its turn.

    Divergence: Lambda runs all of them.
    """
    connects_per_second: float | None = None
    """New connections a second (AWS: 500 an account and region), beyond it 429; None: no limit."""
    messages_per_second: float | None = None
    """Messages a second of one client, beyond it 1008; None: no limit (AWS publishes none)."""
    buffer_bytes: int = 256 * 1024
    """Bytes kept for a client that does not read; a post beyond them is answered 429."""
    close_seconds: float = 10.0
    """How long a client has to answer a close before its socket is cut."""
    request_seconds: float = 75.0
    """How long a client has to send the head of a request, and how long an idle one is kept."""
    signed: bool = True
    """Whether ``@connections`` refuses unsigned requests with 403, as AWS does under IAM."""
    credentials: Mapping[str, str] = field(default_factory=dict)
    """Access key id to secret key; when there are any, signatures are recomputed and compared."""
