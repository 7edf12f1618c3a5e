"""Limits that are not ours to change, and the bounds of our own loops; each with unit and source.

Limits that a user may set have their defaults in settings.py.
"""

# Bytes of one message to a connection, and from it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MESSAGE_BYTES = 128 * 1024
# Bytes of one frame that a client sends; a larger one closes its socket with 1009. Same page.
FRAME_BYTES = 32 * 1024
# Seconds that a connection lives at most. Same page.
CONNECTION_SECONDS = 2 * 60 * 60
# Seconds that a record outlives its connection, so that a late $disconnect still finds it.
CONNECTION_GRACE_SECONDS = 10 * 60

# Characters of a channel name (printable ASCII); Centrifugo's `channel.max_length`.
CHANNEL_CHARACTERS = 255
# Channels one broadcast may name, and commands one batch may hold; Centrifugo's defaults.
BROADCAST_CHANNELS = 1000
BATCH_COMMANDS = 1000
# Commands in one client frame: 32 KB hold about 600 of the smallest real ones.
FRAME_COMMANDS = 1000
# Connections that `channels` and `info` read before they refuse: they have no index to ask.
LISTED_CONNECTIONS = 10_000

# Seconds that a subscribe waits for an unsubscribe that was sent before it and may be handled
# after it (API Gateway hands the frames of a connection to concurrent Lambdas), and between looks.
REORDER_SECONDS = 1.0
REORDER_LOOK_SECONDS = 0.1
# A channel that was left is remembered this long, so that a late subscribe does not undo it
# (a handler lives 29 s at most), and forgotten when a connection remembers more than this many.
LEFT_SECONDS = 60
LEFT_CHANNELS = 64

# Seconds that a publication may spend on its recipients, and a reply on its client.
FANOUT_SECONDS = 20.0
REPLY_SECONDS = 5.0
# Seconds for which a learnt management endpoint is believed before it is read again.
ENDPOINT_SECONDS = 60
