"""How handlers run: like Lambda functions, in threads, never on the I/O loop."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from localgateway.events import Event
from localgateway.ids import Entropy, new_uuid
from localgateway.verdicts import Ending, Outcome

_LOG = logging.getLogger("localgateway")

Handler = Callable[[Event, Any], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """A handler under the name of its Lambda function."""

    name: str
    handler: Handler


class LambdaContext:
    """The second argument of a handler.

    ``clock`` gives seconds; the remaining time is counted from the moment the handler starts.
    """

    function_version = "$LATEST"
    memory_limit_in_mb = 128  # what Chalice deploys by default
    identity = None
    client_context = None

    def __init__(
        self, function_name: str, request_id: str, *, seconds: float, clock: Callable[[], float]
    ) -> None:
        self.function_name = function_name
        self.aws_request_id = request_id
        # A region that cannot be mistaken for a real one, as in Chalice's own local mode.
        self.invoked_function_arn = (
            f"arn:aws:lambda:mars-west-1:123456789012:function:{function_name}"
        )
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = "localgateway"
        self._clock = clock
        self._deadline = clock() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Count down from the function's timeout, to 0.

        Divergence: Lambda kills the handler at 0; a thread cannot be killed.
        """
        return max(0, int((self._deadline - self._clock()) * 1000))


class Runner:
    """Runs handlers, at most ``concurrency`` in flight. To be used on one event loop."""

    def __init__(
        self,
        *,
        concurrency: int,
        threads: int,
        function_seconds: float,
        clock: Callable[[], float],
        entropy: Entropy,
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="localgateway-handler")
        self._concurrency = concurrency
        self._function_seconds = function_seconds
        self._clock = clock
        self._entropy = entropy
        self._running: set[asyncio.Future[str]] = set()

    @property
    def full(self) -> bool:
        """Whether the next invocation would be throttled."""
        return len(self._running) >= self._concurrency

    async def invoke(
        self, function: Function, event: Event, request_id: str, *, within: float
    ) -> Outcome:
        """Run the handler on a fresh copy of the event, for at most ``within`` seconds.

        A handler that takes longer goes on, and counts as in flight until it ends.
        """
        if self.full:
            return Outcome(Ending.THROTTLED)
        return await self.invoke_regardless(function, event, request_id, within=within)

    async def invoke_regardless(
        self, function: Function, event: Event, request_id: str, *, within: float
    ) -> Outcome:
        """Run the handler even beyond the concurrency cap, where it waits for a thread."""
        sent = json.dumps(event)
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, self._call, function, sent
        )
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        future.add_done_callback(lambda done: _log_failure(function.name, request_id, done))
        await asyncio.wait({future}, timeout=within)
        if not future.done():
            return Outcome(Ending.TIMED_OUT)
        if future.cancelled() or (exc := future.exception()) is not None:
            return Outcome(Ending.RAISED, error="" if future.cancelled() else str(exc))
        return Outcome(Ending.RETURNED, json.loads(future.result()))

    def _call(self, function: Function, sent: str) -> str:
        """Run in a thread. JSON both ways, so that nothing but JSON gets through, as on AWS."""
        context = LambdaContext(
            function.name,
            new_uuid(self._entropy),
            seconds=self._function_seconds,
            clock=self._clock,
        )
        return json.dumps(function.handler(json.loads(sent), context))

    async def quiet(self) -> None:
        """Wait until no handler is in flight."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self, grace: float) -> None:
        """Let handlers finish for ``grace`` seconds; what has not started never will."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        if self._running:
            _LOG.warning("handlers.left", extra={"data": {"running": len(self._running)}})
        else:
            self._threads.shutdown()  # every thread is idle: this joins them


def functions_of(handlers: Mapping[str, Handler]) -> dict[str, Function]:
    """Name plain handlers after their routes: ``$connect`` is the function ``connect``."""
    return {route: Function(route.lstrip("$"), handler) for route, handler in handlers.items()}


def _log_failure(name: str, request_id: str, done: "asyncio.Future[str]") -> None:
    if not done.cancelled() and (exc := done.exception()) is not None:
        data = {"function": name, "request": request_id}
        _LOG.error("handler.raised", extra={"data": data}, exc_info=exc)
