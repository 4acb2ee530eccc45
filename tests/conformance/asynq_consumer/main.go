// Command asynq_consumer takes health-check tasks off a queue as Peekaping's Go workers do, and says in JSON lines
// what it got. The tests read those lines.
//
//	asynq_consumer [-redis HOST:PORT] [-db N] [-queue NAME]              take tasks until SIGTERM or the end of stdin
//	asynq_consumer [-redis HOST:PORT] [-db N] [-queue NAME] inspect ID   print what asynq says about one task
//
// A monitor's name chooses what becomes of its task: "fail" fails at once, "hang" holds on until asynq's deadline, and
// every other one succeeds.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

const taskType = "monitor:healthcheck"

// taken is written when a task has been taken and its payload decoded.
type taken struct {
	Event      string    `json:"event"`
	TaskID     string    `json:"task_id"`
	Queue      string    `json:"queue"`
	MonitorID  string    `json:"monitor_id"`
	Tick       time.Time `json:"scheduled_at"`
	ReceivedMs int64     `json:"received_ms"`
	TimeoutS   float64   `json:"timeout_s"` // what is left until the deadline that asynq set
	MaxRetry   int       `json:"max_retry"`
	Payload    payload   `json:"payload"` // decoded and encoded again
}

// ended is written when the handler is about to return; Error is absent after a success.
type ended struct {
	Event     string `json:"event"`
	TaskID    string `json:"task_id"`
	MonitorID string `json:"monitor_id"`
	AfterMs   int64  `json:"after_ms"`
	Error     string `json:"error,omitempty"`
}

// lines writes one JSON document a line, for several goroutines at once.
type lines struct {
	mutex   sync.Mutex
	encoder *json.Encoder
}

func (l *lines) write(document any) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if err := l.encoder.Encode(document); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write:", err)
		os.Exit(1)
	}
}

func (l *lines) handle(ctx context.Context, task *asynq.Task) error {
	start := time.Now()
	id, _ := asynq.GetTaskID(ctx)
	got, err := decode(task.Payload())
	if err == nil {
		l.write(describe(ctx, id, start, got))
		err = behave(ctx, got.MonitorName)
	}
	end := ended{Event: "ended", TaskID: id, MonitorID: got.MonitorID, AfterMs: time.Since(start).Milliseconds()}
	if err != nil {
		end.Error = err.Error()
	}
	l.write(end)
	return err
}

func decode(document []byte) (payload, error) {
	var got payload
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		return got, fmt.Errorf("payload: %w", err)
	}
	return got, nil
}

func describe(ctx context.Context, id string, start time.Time, got payload) taken {
	deadline, _ := ctx.Deadline()
	queue, _ := asynq.GetQueueName(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	return taken{
		Event:      "taken",
		TaskID:     id,
		Queue:      queue,
		MonitorID:  got.MonitorID,
		Tick:       got.ScheduledAt,
		ReceivedMs: start.UnixMilli(),
		TimeoutS:   deadline.Sub(start).Seconds(),
		MaxRetry:   maxRetry,
		Payload:    got,
	}
}

func behave(ctx context.Context, name string) error {
	switch name {
	case "fail":
		return errors.New("failed as its name asks")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func consume(redis asynq.RedisClientOpt, queue string) error {
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency:       10,
		Queues:            map[string]int{queue: 1},
		TaskCheckInterval: 20 * time.Millisecond,
		ShutdownTimeout:   time.Second,
		LogLevel:          asynq.ErrorLevel,
	})
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, (&lines{encoder: json.NewEncoder(os.Stdout)}).handle)
	if err := server.Start(mux); err != nil {
		return err
	}
	untilToldToStop()
	server.Shutdown()
	return nil
}

// untilToldToStop returns at SIGTERM or SIGINT, and when stdin ends: this program never outlives the test it serves.
func untilToldToStop() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
}

// inspect prints the task as asynq's own tools would see it; a state of "" says that there is none.
func inspect(redis asynq.RedisClientOpt, queue, id string) error {
	inspector := asynq.NewInspector(redis)
	defer inspector.Close()
	seen := map[string]any{"state": ""}
	info, err := inspector.GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
	case err != nil:
		return err
	default:
		seen = map[string]any{
			"state":      info.State.String(),
			"type":       info.Type,
			"payload":    string(info.Payload),
			"timeout_s":  info.Timeout.Seconds(),
			"max_retry":  info.MaxRetry,
			"last_error": info.LastErr,
		}
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

func main() {
	address := flag.String("redis", "127.0.0.1:6379", "host:port of Redis")
	db := flag.Int("db", 0, "number of the Redis database")
	queue := flag.String("queue", "healthcheck", "name of the queue")
	flag.Parse()
	redis := asynq.RedisClientOpt{Addr: *address, DB: *db}
	var err error
	switch {
	case flag.NArg() == 0:
		err = consume(redis, *queue)
	case flag.NArg() == 2 && flag.Arg(0) == "inspect":
		err = inspect(redis, *queue, flag.Arg(1))
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
