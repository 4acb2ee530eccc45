// Command tool is asynq's own side of the tests of our asynq transport. It prints JSON lines.
//
//	tool [-redis HOST:PORT] enqueue                 enqueue the tasks on stdin, one JSON document a line
//	tool [-redis HOST:PORT] inspect QUEUE           print what asynq's Inspector reports about a queue and the servers
//	tool [-redis HOST:PORT] cancel ID               cancel the processing of a task
//	tool [-redis HOST:PORT] work QUEUE CONCURRENCY  process tasks until SIGTERM or the end of stdin
//	tool [-redis HOST:PORT] measure QUEUE CONCURRENCY TASKS  process so many tasks, and print how many a second
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

// order is a task to enqueue; durations are in seconds, 0 leaves out the option.
type order struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Queue     string `json:"queue"`
	Payload   string `json:"payload"`
	MaxRetry  int    `json:"max_retry"`
	Timeout   int    `json:"timeout"`
	Deadline  int64  `json:"deadline"`
	Retention int    `json:"retention"`
	ProcessIn int    `json:"process_in"`
	Unique    int    `json:"unique"`
	Group     string `json:"group"`
}

func seconds(number int) time.Duration { return time.Duration(number) * time.Second }

func (o order) options() []asynq.Option {
	options := []asynq.Option{asynq.TaskID(o.ID), asynq.Queue(o.Queue), asynq.MaxRetry(o.MaxRetry)}
	if o.Timeout > 0 {
		options = append(options, asynq.Timeout(seconds(o.Timeout)))
	}
	if o.Deadline > 0 {
		options = append(options, asynq.Deadline(time.Unix(o.Deadline, 0)))
	}
	if o.Retention > 0 {
		options = append(options, asynq.Retention(seconds(o.Retention)))
	}
	if o.ProcessIn > 0 {
		options = append(options, asynq.ProcessIn(seconds(o.ProcessIn)))
	}
	if o.Unique > 0 {
		options = append(options, asynq.Unique(seconds(o.Unique)))
	}
	if o.Group != "" {
		options = append(options, asynq.Group(o.Group))
	}
	return options
}

func enqueue(redis asynq.RedisClientOpt) error {
	client := asynq.NewClient(redis)
	defer client.Close()
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var next order
		if err := decoder.Decode(&next); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := client.Enqueue(asynq.NewTask(next.Type, []byte(next.Payload)), next.options()...); err != nil {
			return fmt.Errorf("%s: %w", next.ID, err)
		}
	}
}

type seen struct {
	State         string  `json:"state"`
	Type          string  `json:"type"`
	Payload       string  `json:"payload"`
	MaxRetry      int     `json:"max_retry"`
	Retried       int     `json:"retried"`
	LastErr       string  `json:"last_err"`
	LastFailedAt  int64   `json:"last_failed_at"`
	Timeout       float64 `json:"timeout"`
	NextProcessAt int64   `json:"next_process_at"`
	CompletedAt   int64   `json:"completed_at"`
	Retention     float64 `json:"retention"`
	Result        string  `json:"result"`
	Orphaned      bool    `json:"orphaned"`
}

func unix(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}

func tasks(inspector *asynq.Inspector, queue string) (map[string]seen, error) {
	found := map[string]seen{}
	lists := []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		inspector.ListPendingTasks, inspector.ListActiveTasks, inspector.ListScheduledTasks,
		inspector.ListRetryTasks, inspector.ListArchivedTasks, inspector.ListCompletedTasks,
	}
	for _, list := range lists {
		infos, err := list(queue, asynq.PageSize(10000))
		if err != nil {
			return nil, err
		}
		for _, listed := range infos {
			info, err := inspector.GetTaskInfo(queue, listed.ID)
			if err != nil {
				return nil, err
			}
			if info.State != listed.State {
				return nil, fmt.Errorf("%s: listed as %s, stored as %s", info.ID, listed.State, info.State)
			}
			found[info.ID] = seen{
				info.State.String(), info.Type, string(info.Payload), info.MaxRetry, info.Retried, info.LastErr,
				unix(info.LastFailedAt), info.Timeout.Seconds(), unix(info.NextProcessAt), unix(info.CompletedAt),
				info.Retention.Seconds(), string(info.Result), listed.IsOrphaned,
			}
		}
	}
	return found, nil
}

type worker struct {
	TaskID   string `json:"task_id"`
	TaskType string `json:"task_type"`
	Payload  string `json:"payload"`
	Queue    string `json:"queue"`
	LeftS    int64  `json:"left_s"` // from its start to its deadline
}

type server struct {
	PID         int            `json:"pid"`
	Concurrency int            `json:"concurrency"`
	Queues      map[string]int `json:"queues"`
	Strict      bool           `json:"strict"`
	Status      string         `json:"status"`
	StartedS    int64          `json:"started_s"` // seconds ago
	Workers     []worker       `json:"workers"`
}

func inspect(redis asynq.RedisClientOpt, queue string) error {
	inspector := asynq.NewInspector(redis)
	defer inspector.Close()
	found, err := tasks(inspector, queue)
	if err != nil {
		return err
	}
	info, err := inspector.GetQueueInfo(queue)
	if err != nil {
		return err
	}
	infos, err := inspector.Servers()
	if err != nil {
		return err
	}
	servers := []server{}
	for _, each := range infos {
		workers := []worker{}
		for _, active := range each.ActiveWorkers {
			workers = append(workers, worker{
				active.TaskID, active.TaskType, string(active.TaskPayload), active.Queue,
				int64(active.Deadline.Sub(active.Started).Seconds()),
			})
		}
		servers = append(servers, server{
			each.PID, each.Concurrency, each.Queues, each.StrictPriority, each.Status,
			int64(time.Since(each.Started).Seconds()), workers,
		})
	}
	counts := map[string]int{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
		"processed": info.ProcessedTotal, "failed": info.FailedTotal,
		"processed today": info.Processed, "failed today": info.Failed,
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"tasks": found, "counts": counts, "servers": servers})
}

func newServer(redis asynq.RedisClientOpt, queue string, concurrency int) *asynq.Server {
	return asynq.NewServer(redis, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   map[string]int{queue: 1},
		TaskCheckInterval:        20 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          time.Second,
		LogLevel:                 asynq.FatalLevel,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return 0 },
	})
}

// work prints when each run begins and ends. A payload is the time that a run takes, in ms.
func work(redis asynq.RedisClientOpt, queue string, concurrency int) error {
	var mutex sync.Mutex
	output := json.NewEncoder(os.Stdout)
	write := func(event, id string) {
		mutex.Lock()
		defer mutex.Unlock()
		if output.Encode(map[string]any{"event": event, "id": id, "at": time.Now().UnixMicro()}) != nil {
			os.Exit(1)
		}
	}
	handle := func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		duration, err := strconv.Atoi(string(task.Payload()))
		if err != nil {
			return err
		}
		write("began", id)
		time.Sleep(time.Duration(duration) * time.Millisecond)
		write("ended", id)
		return nil
	}
	worker := newServer(redis, queue, concurrency)
	if err := worker.Start(asynq.HandlerFunc(handle)); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
	worker.Shutdown()
	return nil
}

func measure(redis asynq.RedisClientOpt, queue string, concurrency, tasks int) error {
	var done atomic.Int64
	all := make(chan struct{})
	handle := func(context.Context, *asynq.Task) error {
		if done.Add(1) == int64(tasks) {
			close(all)
		}
		return nil
	}
	worker := newServer(redis, queue, concurrency)
	began := time.Now()
	if err := worker.Start(asynq.HandlerFunc(handle)); err != nil {
		return err
	}
	<-all
	took := time.Since(began)
	worker.Shutdown()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	result := map[string]any{
		"per_s":  float64(tasks) / took.Seconds(),
		"cpu_us": float64(cpu.Microseconds()) / float64(tasks),
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func run(redis asynq.RedisClientOpt) error {
	number := func(n int) int {
		value, err := strconv.Atoi(flag.Arg(n))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		return value
	}
	switch {
	case flag.NArg() == 1 && flag.Arg(0) == "enqueue":
		return enqueue(redis)
	case flag.NArg() == 2 && flag.Arg(0) == "inspect":
		return inspect(redis, flag.Arg(1))
	case flag.NArg() == 2 && flag.Arg(0) == "cancel":
		return asynq.NewInspector(redis).CancelProcessing(flag.Arg(1))
	case flag.NArg() == 3 && flag.Arg(0) == "work":
		return work(redis, flag.Arg(1), number(2))
	case flag.NArg() == 4 && flag.Arg(0) == "measure":
		return measure(redis, flag.Arg(1), number(2), number(3))
	}
	flag.Usage()
	os.Exit(2)
	return nil
}

func main() {
	address := flag.String("redis", "127.0.0.1:6379", "host:port of Redis")
	flag.Parse()
	if err := run(asynq.RedisClientOpt{Addr: *address}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
