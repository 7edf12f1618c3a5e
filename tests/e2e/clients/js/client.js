// The official JavaScript SDK, driven over stdin and stdout: see ../__init__.py.
import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const clients = new Map();

const commands = {
  connect({ as, url, token = "" }) {
    const client = new Centrifuge(url, {
      websocket: WebSocket,
      token,
      timeout: 10_000,
      minReconnectDelay: 50,
      maxReconnectDelay: 500,
    });
    clients.set(as, client);
    const say = sayer(as);
    client
      .on("connecting", ({ code, reason }) => say("connecting", { code, reason }))
      .on("connected", ({ client: id }) => say("connected", { client: id }))
      .on("disconnected", ({ code, reason }) => say("disconnected", { code, reason }))
      .on("message", ({ data }) => say("message", { data }))
      .on("error", ({ error }) => say("error", named(error)));
    listen(client, (event, fields) => say(event, { ...fields, server_side: true }));
    client.connect();
  },

  disconnect({ as }) {
    clients.get(as).disconnect();
  },

  subscribe({ as, channel, recoverable, positioned, join_leave, token }) {
    const client = clients.get(as);
    let subscription = client.getSubscription(channel);
    if (subscription === null) {
      subscription = client.newSubscription(channel, {
        recoverable,
        positioned,
        joinLeave: join_leave,
        token,
        minResubscribeDelay: 50,
        maxResubscribeDelay: 500,
      });
      const say = sayer(as);
      listen(subscription, say);
      subscription.on("error", ({ error }) => say("error", { channel, ...named(error) }));
    }
    subscription.subscribe();
  },

  unsubscribe({ as, channel }) {
    clients.get(as).getSubscription(channel).unsubscribe();
  },

  churn({ as, channel, times }) {
    const subscription = clients.get(as).getSubscription(channel);
    for (let i = 0; i < times; i++) {
      subscription.unsubscribe();
      subscription.subscribe();
    }
  },

  send({ as, data }) {
    clients.get(as).send(data);
  },

  publish({ as, id, channel, data }) {
    reply(as, id, clients.get(as).publish(channel, data));
  },

  rpc({ as, id, method, data }) {
    reply(as, id, clients.get(as).rpc(method, data));
  },

  history({ as, id, channel, limit = 0, since, reverse = false }) {
    reply(as, id, clients.get(as).history(channel, { limit, since, reverse }));
  },

  presence({ as, id, channel }) {
    reply(as, id, clients.get(as).presence(channel));
  },

  presence_stats({ as, id, channel }) {
    const stats = clients.get(as).presenceStats(channel);
    const renamed = ({ numClients, numUsers }) => ({ num_clients: numClients, num_users: numUsers });
    reply(as, id, stats.then(renamed));
  },
};

function listen(emitter, say) {
  emitter
    .on("subscribing", ({ channel }) => say("subscribing", { channel }))
    .on("subscribed", ({ channel, recoverable, wasRecovering, recovered, streamPosition }) =>
      say("subscribed", {
        channel,
        recoverable,
        was_recovering: wasRecovering,
        recovered,
        ...streamPosition,
      }),
    )
    .on("unsubscribed", ({ channel, code, reason }) =>
      say("unsubscribed", { channel, code, reason }),
    )
    .on("publication", ({ channel, data, offset, tags, info }) =>
      say("publication", { channel, data, offset, tags, info }),
    )
    .on("join", ({ channel, info }) => say("joined", { channel, info }))
    .on("leave", ({ channel, info }) => say("left", { channel, info }));
}

function reply(as, id, promise) {
  const say = sayer(as);
  promise.then(
    (result) => say("reply", { id, result }),
    (error) => say("reply", { id, error: named(error) }),
  );
}

function named({ code, message }) {
  return { code, message };
}

function sayer(as) {
  return (event, fields) => process.stdout.write(`${JSON.stringify({ as, event, ...fields })}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
process.exit(0);
