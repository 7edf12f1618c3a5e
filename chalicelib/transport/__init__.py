"""Ways to connections, behind ``ports.Transport``: the management API, and memory."""
