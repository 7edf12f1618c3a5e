// The official Go SDK (its JSON client), driven over stdin and stdout: see ../__init__.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

type command struct {
	As          string
	Do          string
	ID          int
	URL         string
	Token       string
	Channel     string
	Recoverable bool
	Positioned  bool
	JoinLeave   bool `json:"join_leave"`
	Times       int
	Method      string
	Data        json.RawMessage
	Limit       int32
	Since       *centrifuge.StreamPosition
	Reverse     bool
}

type fields = map[string]any

var clients = map[string]*centrifuge.Client{}

var commands = map[string]func(command) error{
	"connect": func(c command) error {
		client := centrifuge.NewJsonClient(c.URL, centrifuge.Config{
			Token:             c.Token,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      10 * time.Second,
			HandshakeTimeout:  10 * time.Second,
			MinReconnectDelay: 50 * time.Millisecond,
			MaxReconnectDelay: 500 * time.Millisecond,
		})
		clients[c.As] = client
		listen(client, sayer(c.As))
		return client.Connect()
	},
	"disconnect": func(c command) error {
		return clients[c.As].Disconnect()
	},
	"subscribe": func(c command) error {
		subscription, known := clients[c.As].GetSubscription(c.Channel)
		if !known {
			var err error
			subscription, err = clients[c.As].NewSubscription(c.Channel, centrifuge.SubscriptionConfig{
				Recoverable:         c.Recoverable,
				Positioned:          c.Positioned,
				JoinLeave:           c.JoinLeave,
				Token:               c.Token,
				MinResubscribeDelay: 50 * time.Millisecond,
				MaxResubscribeDelay: 500 * time.Millisecond,
			})
			if err != nil {
				return err
			}
			listenTo(subscription, sayer(c.As))
		}
		return subscription.Subscribe()
	},
	"unsubscribe": func(c command) error {
		subscription, _ := clients[c.As].GetSubscription(c.Channel)
		return subscription.Unsubscribe()
	},
	"churn": func(c command) error {
		subscription, _ := clients[c.As].GetSubscription(c.Channel)
		for range c.Times {
			if err := errors.Join(subscription.Unsubscribe(), subscription.Subscribe()); err != nil {
				return err
			}
		}
		return nil
	},
	"send": func(c command) error {
		return clients[c.As].Send(context.Background(), c.Data)
	},
	"publish": replied(func(client *centrifuge.Client, c command) (any, error) {
		_, err := client.Publish(context.Background(), c.Channel, c.Data)
		return fields{}, err
	}),
	"rpc": replied(func(client *centrifuge.Client, c command) (any, error) {
		result, err := client.RPC(context.Background(), c.Method, c.Data)
		return fields{"data": json.RawMessage(result.Data)}, err
	}),
	"history": replied(func(client *centrifuge.Client, c command) (any, error) {
		result, err := client.History(
			context.Background(),
			c.Channel,
			centrifuge.WithHistoryLimit(c.Limit),
			centrifuge.WithHistorySince(c.Since),
			centrifuge.WithHistoryReverse(c.Reverse),
		)
		publications := make([]fields, 0, len(result.Publications))
		for _, each := range result.Publications {
			publications = append(publications, publication(c.Channel, each))
		}
		return fields{
			"publications": publications, "offset": result.Offset, "epoch": result.Epoch,
		}, err
	}),
	"presence": replied(func(client *centrifuge.Client, c command) (any, error) {
		result, err := client.Presence(context.Background(), c.Channel)
		members := map[string]fields{}
		for id, each := range result.Clients {
			members[id] = info(&each)
		}
		return fields{"clients": members}, err
	}),
	"presence_stats": replied(func(client *centrifuge.Client, c command) (any, error) {
		result, err := client.PresenceStats(context.Background(), c.Channel)
		return fields{"num_clients": result.NumClients, "num_users": result.NumUsers}, err
	}),
}

func listen(client *centrifuge.Client, say func(string, fields)) {
	client.OnConnecting(func(e centrifuge.ConnectingEvent) {
		say("connecting", fields{"code": e.Code, "reason": e.Reason})
	})
	client.OnConnected(func(e centrifuge.ConnectedEvent) {
		say("connected", fields{"client": e.ClientID})
	})
	client.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		say("disconnected", fields{"code": e.Code, "reason": e.Reason})
	})
	client.OnMessage(func(e centrifuge.MessageEvent) {
		say("message", fields{"data": json.RawMessage(e.Data)})
	})
	client.OnError(func(e centrifuge.ErrorEvent) { say("error", named(e.Error)) })

	onServerSide := func(event string, more fields) {
		more["server_side"] = true
		say(event, more)
	}
	client.OnSubscribing(func(e centrifuge.ServerSubscribingEvent) {
		onServerSide("subscribing", fields{"channel": e.Channel})
	})
	client.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		onServerSide("subscribed", subscribed(
			e.Channel, e.Recoverable, e.WasRecovering, e.Recovered, e.StreamPosition,
		))
	})
	client.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) {
		onServerSide("unsubscribed", fields{"channel": e.Channel})
	})
	client.OnPublication(func(e centrifuge.ServerPublicationEvent) {
		onServerSide("publication", publication(e.Channel, e.Publication))
	})
	client.OnJoin(func(e centrifuge.ServerJoinEvent) {
		onServerSide("joined", fields{"channel": e.Channel, "info": info(&e.ClientInfo)})
	})
	client.OnLeave(func(e centrifuge.ServerLeaveEvent) {
		onServerSide("left", fields{"channel": e.Channel, "info": info(&e.ClientInfo)})
	})
}

func listenTo(subscription *centrifuge.Subscription, say func(string, fields)) {
	channel := subscription.Channel
	subscription.OnSubscribing(func(e centrifuge.SubscribingEvent) {
		say("subscribing", fields{"channel": channel})
	})
	subscription.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		say("subscribed", subscribed(
			channel, e.Recoverable, e.WasRecovering, e.Recovered, e.StreamPosition,
		))
	})
	subscription.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		say("unsubscribed", fields{"channel": channel, "code": e.Code, "reason": e.Reason})
	})
	subscription.OnPublication(func(e centrifuge.PublicationEvent) {
		say("publication", publication(channel, e.Publication))
	})
	subscription.OnJoin(func(e centrifuge.JoinEvent) {
		say("joined", fields{"channel": channel, "info": info(&e.ClientInfo)})
	})
	subscription.OnLeave(func(e centrifuge.LeaveEvent) {
		say("left", fields{"channel": channel, "info": info(&e.ClientInfo)})
	})
	subscription.OnError(func(e centrifuge.SubscriptionErrorEvent) {
		more := named(e.Error)
		more["channel"] = channel
		say("error", more)
	})
}

func subscribed(
	channel string, recoverable, wasRecovering, recovered bool, at *centrifuge.StreamPosition,
) fields {
	more := fields{
		"channel":        channel,
		"recoverable":    recoverable,
		"was_recovering": wasRecovering,
		"recovered":      recovered,
	}
	if at != nil {
		more["offset"], more["epoch"] = at.Offset, at.Epoch
	}
	return more
}

func publication(channel string, p centrifuge.Publication) fields {
	more := fields{"channel": channel, "data": json.RawMessage(p.Data)}
	if p.Offset > 0 {
		more["offset"] = p.Offset
	}
	if p.Tags != nil {
		more["tags"] = p.Tags
	}
	if p.Info != nil {
		more["info"] = info(p.Info)
	}
	return more
}

func info(i *centrifuge.ClientInfo) fields {
	return fields{"client": i.Client, "user": i.User}
}

func replied(call func(*centrifuge.Client, command) (any, error)) func(command) error {
	return func(c command) error {
		client := clients[c.As]
		go func() {
			result, err := call(client, c)
			more := fields{"id": c.ID, "result": result}
			if err != nil {
				more = fields{"id": c.ID, "error": named(err)}
			}
			sayer(c.As)("reply", more)
		}()
		return nil
	}
}

func named(err error) fields {
	var known *centrifuge.Error
	if errors.As(err, &known) {
		return fields{"code": known.Code, "message": known.Message}
	}
	return fields{"message": err.Error()}
}

var stdout struct {
	sync.Mutex
	*json.Encoder
}

func sayer(as string) func(string, fields) {
	return func(event string, more fields) {
		more["as"], more["event"] = as, event
		stdout.Lock()
		defer stdout.Unlock()
		if err := stdout.Encode(more); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	stdout.Encoder = json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fail(err)
		}
		// A failed first dial is also an event, and the client goes on trying.
		if err := commands[c.Do](c); err != nil && c.Do != "connect" {
			fail(err)
		}
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
}
