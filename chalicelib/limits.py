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

# Seconds that a drain may spend on the recipients of one stretch of a stream, and a reply on its
# client. Together with cutting those that failed they stay below the 29 s that API Gateway gives
# an HTTP request, and below the lease.
FANOUT_SECONDS = 15.0
REPLY_SECONDS = 5.0
# Seconds for which whoever drains a shard holds it; afterwards somebody else may take it.
LEASE_SECONDS = 30
# Seconds for which the cursor of a shard that nobody publishes to is kept: longer than any stream's
# history_meta_ttl would be pointless, shorter would make its next drain read the stream from 1.
CURSOR_SECONDS = 30 * 24 * 60 * 60
# Seconds after which an inline drain hands a shard that is rung without end to the next ring.
DRAIN_SECONDS = 10.0
# Publications that a drain reads at once.
DRAIN_PUBLICATIONS = 500

# Publications that a recovery or one page of history may hold; Centrifugo's default.
RECOVERY_PUBLICATIONS = 300
# Bytes of publications that a subscribe reply carries; what does not fit follows as pushes. The
# reply's own fields, and the other replies of its frame, need the rest of the 128 KB.
REPLY_BYTES = 96 * 1024
# Newest publications that a fresh subscribe looks at for one that is still being written.
FRESH_LOOK = 8
# Seconds between the looks at an offset that was allocated but is not written yet, 0.1 in all;
# then it is taken for its writer's death and given a tombstone.
HOLE_LOOKS_SECONDS = (0.01, 0.03, 0.06)
# Seconds that a writer can live between allocating an offset and writing it: Lambda's timeout.
WRITER_SECONDS = 30
# Times that a joining client is brought up to date before it is asked to come back (3010), and
# seconds after which its join counts as dead.
JOIN_TRIES = 3
JOIN_SECONDS = 30
# Times that a publisher whose offset was taken for dead allocates another.
PUBLISH_TRIES = 5
# Bytes of an idempotency key; seconds for which its claim, and its outcome, are kept, and for
# which others wait for the outcome.
IDEMPOTENCY_KEY_BYTES = 256
IDEMPOTENCY_CLAIM_SECONDS = 30
IDEMPOTENCY_SECONDS = 5 * 60
IDEMPOTENCY_WAIT_SECONDS = 2.0
IDEMPOTENCY_LOOK_SECONDS = 0.05
# Bytes of a whole publication on the wire, data with info and tags; its push needs some more.
PUBLICATION_BYTES = 120 * 1024
# Seconds for which a learnt management endpoint is believed before it is read again.
ENDPOINT_SECONDS = 60

# Seconds for which a token that has ended still carries its connection or subscription, so that
# a refresh in time costs nothing; Centrifugo's default.
TOKEN_GRACE_SECONDS = 25

# Seconds between two sweeps, that one of them may take, and in which all connections are visited
# where no ping interval says so. Ten idle minutes cut a socket.
SWEEP_EVERY_SECONDS = 60
SWEEP_SECONDS = 40.0
SWEEP_ROUND_SECONDS = 540
