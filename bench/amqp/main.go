// Command amqp is the limit that the bench compares with: the Go client of RabbitMQ, which does nothing else. It prints
// one JSON document.
//
//	amqp URL publish QUEUE COUNT BYTES WINDOW  publish persistent numbers, at most WINDOW of them not confirmed
//	amqp URL consume QUEUE COUNT PREFETCH      receive COUNT messages, acknowledging half a PREFETCH at a time
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type result struct {
	PerS   float64 `json:"per_s"`
	SHA256 string  `json:"sha256,omitempty"` // of the received bodies, each with a newline
}

func publish(channel *amqp.Channel, queue string, count, size, window int) (result, error) {
	if err := channel.Confirm(false); err != nil {
		return result{}, err
	}
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/octet-stream"}
	pending := make([]*amqp.DeferredConfirmation, 0, count)
	began := time.Now()
	for sent := 0; sent < count+window; sent++ {
		if sent < count {
			message.MessageId = strconv.Itoa(sent)
			message.Body = fmt.Appendf(nil, "%0*d", size, sent)
			confirmation, err := channel.PublishWithDeferredConfirm("", queue, true, false, message)
			if err != nil {
				return result{}, err
			}
			pending = append(pending, confirmation)
		}
		if oldest := sent - window; oldest >= 0 && oldest < len(pending) && !pending[oldest].Wait() {
			return result{}, errors.New("a message was refused")
		}
	}
	return result{PerS: float64(count) / time.Since(began).Seconds()}, nil
}

func consume(channel *amqp.Channel, queue string, count, prefetch int) (result, error) {
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return result{}, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	deliveries, err := channel.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return result{}, err
	}
	hash := sha256.New()
	received := 0
	for delivery := range deliveries {
		hash.Write(delivery.Body)
		hash.Write([]byte("\n"))
		received++
		if received == count || received%max(prefetch/2, 1) == 0 {
			if err := delivery.Ack(true); err != nil {
				return result{}, err
			}
		}
		if received == count {
			took := time.Since(began)
			return result{float64(count) / took.Seconds(), hex.EncodeToString(hash.Sum(nil))}, nil
		}
	}
	return result{}, fmt.Errorf("expected %d messages, got %d", count, received)
}

func run(url, command, queue string, numbers []int) (result, error) {
	connection, err := amqp.Dial(url)
	if err != nil {
		return result{}, err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return result{}, err
	}
	switch {
	case command == "publish" && len(numbers) == 3:
		return publish(channel, queue, numbers[0], numbers[1], numbers[2])
	case command == "consume" && len(numbers) == 2:
		return consume(channel, queue, numbers[0], numbers[1])
	}
	return result{}, fmt.Errorf("unknown command %q with %d numbers", command, len(numbers))
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: amqp URL publish|consume QUEUE NUMBER ...")
		os.Exit(2)
	}
	var numbers []int
	for _, argument := range os.Args[4:] {
		number, err := strconv.Atoi(argument)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		numbers = append(numbers, number)
	}
	measured, err := run(os.Args[1], os.Args[2], os.Args[3], numbers)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(measured)
}
