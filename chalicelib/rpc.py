"""Methods that an application offers to its clients, by name, in both dialects::

    from chalicelib import rpc


    @rpc.method("sendMessage")
    def send_message(call: rpc.Call) -> object:
        call.notifier.publish("chat:lobby", call.decode(Message).text)
        return {"ok": True}

An SDK calls it as ``{"rpc": {"method": "sendMessage", "data": …}}``, a plain client as
``{"action": "sendMessage", …}``, where the data is the whole frame. A ``send``, which has no
reply, runs the method named ``send``, if there is one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from chalicelib.errors import ClientError, ErrorCode
from chalicelib.model import Connection
from chalicelib.notifier import Notifier

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method: who calls, with what, and the way to answer everybody else."""

    connection: Connection
    data: msgspec.Raw
    notifier: Notifier

    def decode(self, kind: type[_T]) -> _T:
        """The data as that type. Raises: ClientError 107, which names the field."""
        try:
            return msgspec.json.decode(self.data, type=kind)
        except msgspec.MsgspecError as error:
            raise ClientError(ErrorCode.BAD_REQUEST, str(error)) from error


Method = Callable[[Call], object]  # returns anything that JSON can hold


class Registry:
    """Methods by name."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def method(self, name: str) -> Callable[[Method], Method]:
        """Register the decorated function under a name. Raises: ValueError if that is taken."""

        def register(function: Method) -> Method:
            if name in self._methods:
                raise ValueError(f"rpc method {name!r} is registered already")
            self._methods[name] = function
            return function

        return register

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def call(self, name: str, call: Call) -> msgspec.Raw:
        """What the method returns, as JSON. Raises: ClientError 104, or whatever it raises."""
        if name not in self._methods:
            raise ClientError(ErrorCode.METHOD_NOT_FOUND, f"no method {name[:64]!r}")
        return msgspec.Raw(msgspec.json.encode(self._methods[name](call)))


registry = Registry()
method = registry.method
