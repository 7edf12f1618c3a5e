"""How fast to ask: a token bucket that also gives way when the account is throttled.

API Gateway allows an account 10,000 requests a second in a region, with a burst of 5,000, over all
its APIs: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
"""

import threading

_WINDOW = 0.2  # seconds between two judgements
_THROTTLED_SHARE = 0.3  # of a window's answers: above it the account is throttled, not a recipient
_SLOWER = 0.5  # of the rate, after a throttled window
_FASTER = 1.1  # of the rate, after any other
_SLOWEST = 20.0  # requests a second
_FEWEST = 20  # answers, to judge by


class Pace:
    """A bucket of requests for all the threads of a process; ``rate`` a second, half as burst.

    A recipient whose own buffer is full answers 429 too; only a window with many of them slows
    everybody down.
    """

    def __init__(self, rate: float) -> None:
        self._top = self._rate = rate
        self._tokens = rate / 2
        self._filled: float | None = None
        self._window = 0.0
        self._answers = self._throttled = 0
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Requests a second, as of the last judgement."""
        return self._rate

    def take(self, wanted: int, now: float) -> int:
        """Take up to ``wanted`` requests, and return how many; ``now`` is monotonic, in seconds."""
        with self._lock:
            if self._filled is not None:
                earned = max(0.0, now - self._filled) * self._rate
                self._tokens = min(self._rate / 2, self._tokens + earned)
            self._filled = now
            if self._tokens >= wanted:
                taken = wanted
            else:
                taken = int(self._tokens)
            self._tokens -= taken
            return taken

    def give_back(self, unused: int) -> None:
        """Return requests that were taken and not made."""
        with self._lock:
            self._tokens += unused

    def delay(self) -> float:
        """Return the seconds until the next request, if the bucket is empty now."""
        with self._lock:
            return max(0.0, 1 - self._tokens) / self._rate

    def report(self, answers: int, throttled: int, now: float) -> None:
        """Count answers, 429s among them, and now and then judge the rate by them."""
        with self._lock:
            self._answers += answers
            self._throttled += throttled
            elapsed = now - self._window
            if elapsed < _WINDOW or self._answers < _FEWEST:
                return
            if self._throttled > _THROTTLED_SHARE * self._answers:
                measured = self._answers / min(elapsed, 1.0)
                self._rate = max(_SLOWEST, _SLOWER * min(self._rate, measured))
                self._tokens = min(self._tokens, self._rate / 2)
            else:
                self._rate = min(self._top, self._rate * _FASTER)
            self._window, self._answers, self._throttled = now, 0, 0
