"""The whole service on a laptop, in one process: embedded AWS, REST, WebSocket gateway."""
