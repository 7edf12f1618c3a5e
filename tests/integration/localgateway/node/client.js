// Speaks the ws library for a test: options as JSON in argv[2], one line of JSON an event to stdout.
// {url, protocols, send: [text or {binary: base64}], ping, close: [code, reason]}
const WebSocket = require("ws");

const options = JSON.parse(process.argv[2]);
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const socket = new WebSocket(options.url, options.protocols || []);

socket.on("open", () => {
  tell({open: socket.protocol, extensions: socket.extensions});
  for (const each of options.send || []) {
    socket.send(each.binary === undefined ? each : Buffer.from(each.binary, "base64"));
  }
  if (options.ping !== undefined) socket.ping(options.ping);
  if (options.close) socket.close(...options.close);
});
socket.on("message", (data, isBinary) => tell({message: data.toString(), binary: isBinary}));
socket.on("pong", (data) => tell({pong: data.toString()}));
socket.on("unexpected-response", (request, response) => {
  tell({status: response.statusCode});
  process.exit(0);
});
socket.on("error", (error) => tell({error: error.message}));
socket.on("close", (code, reason) => tell({close: code, reason: reason.toString()}));
