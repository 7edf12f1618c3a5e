"""Loopback ports: which are taken, and a clear error for it."""

import socket

HOST = "127.0.0.1"


class PortTakenError(Exception):
    """Another program listens there already."""

    def __init__(self, port: int, option: str) -> None:
        super().__init__(f"port {port} is taken; stop what listens there, or give {option} PORT")


def check_free(port: int, option: str) -> None:
    """Raises: PortTakenError, which names the option that would choose another port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(port, option) from error
