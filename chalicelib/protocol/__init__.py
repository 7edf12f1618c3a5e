"""Wire formats, without I/O: one set of commands, and a dialect for each way to spell them."""

from chalicelib.protocol import action, centrifuge
from chalicelib.protocol.commands import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (centrifuge.DIALECT, action.DIALECT)
}


def choose(remembered: str, frame: str) -> Dialect:
    """The dialect that a connection speaks: the one it is remembered for, else by its frame.

    A frame that has no known shape counts as action: its reader is a person with a plain client.
    """
    if remembered:
        return DIALECTS[remembered]
    return centrifuge.DIALECT if centrifuge.recognises(frame) else action.DIALECT
