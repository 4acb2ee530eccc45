// Command http_load sends messages to /produce or /batch-produce, over connections that stay open, and prints one JSON
// document. It is written in Go so that it needs little of the CPUs that it shares with the server.
//
//	http_load ADDRESS NAME CONNECTIONS SECONDS BATCH RATE
//
// NAME begins the ids of messages. BATCH 0 sends single messages. RATE 0 lets each connection send its next request after
// the answer to the last one; otherwise so many requests a second become due, whatever the answers are.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	Seconds      float64        `json:"seconds"`
	Statuses     map[string]int `json:"statuses"` // requests by status
	Produced     int            `json:"produced"` // messages answered with 200
	P99MS        float64        `json:"p99_ms"`   // of requests answered with 200
	P99RefusedMS float64        `json:"p99_refused_ms"`
	Late         int            `json:"late"` // requests that were due while all connections waited
}

type load struct {
	address, name string
	batch         int
	interval      time.Duration
	began, end    time.Time
	due           atomic.Int64
	mutex         sync.Mutex
	result        result
	ok, refused   []time.Duration
}

var payload = strings.Repeat("x", 60)

func (l *load) body(connection, number int) (string, []byte) {
	message := func(n int) string {
		return fmt.Sprintf(`{"id":"%s:%d:%d:%d","payload":"%s"}`, l.name, connection, number, n, payload)
	}
	if l.batch == 0 {
		return "/produce", []byte(message(0))
	}
	var body bytes.Buffer
	body.WriteString(`{"messages":[`)
	for n := range l.batch {
		if n > 0 {
			body.WriteByte(',')
		}
		body.WriteString(message(n))
	}
	body.WriteString("]}")
	return "/batch-produce", body.Bytes()
}

// wait returns when the next request is due, and whether that was in the past.
func (l *load) wait() (late bool) {
	if l.interval == 0 {
		return false
	}
	due := l.began.Add(time.Duration(l.due.Add(1)) * l.interval)
	left := time.Until(due)
	time.Sleep(left)
	return left < -l.interval
}

func (l *load) run(connection int) error {
	socket, err := net.Dial("tcp", l.address)
	if err != nil {
		return err
	}
	defer socket.Close()
	reader := bufio.NewReader(socket)
	statuses := map[int]int{}
	var ok, refused []time.Duration
	lateOnes := 0
	for number := 0; ; number++ {
		if l.wait() {
			lateOnes++
		}
		if !time.Now().Before(l.end) {
			break
		}
		path, body := l.body(connection, number)
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
			path, len(body))
		sent := time.Now()
		if _, err := socket.Write(append([]byte(head), body...)); err != nil {
			return err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		took := time.Since(sent)
		statuses[response.StatusCode]++
		if response.StatusCode == http.StatusOK {
			ok = append(ok, took)
		} else {
			refused = append(refused, took)
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for status, count := range statuses {
		l.result.Statuses[strconv.Itoa(status)] += count
	}
	l.result.Late += lateOnes
	l.ok, l.refused = append(l.ok, ok...), append(l.refused, refused...)
	return nil
}

func p99(durations []time.Duration) float64 {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	return float64(durations[len(durations)*99/100].Microseconds()) / 1000
}

func run(arguments []string) (result, error) {
	var numbers [4]int
	for index, argument := range arguments[2:] {
		number, err := strconv.Atoi(argument)
		if err != nil {
			return result{}, err
		}
		numbers[index] = number
	}
	connections, seconds, batch, rate := numbers[0], numbers[1], numbers[2], numbers[3]
	l := &load{address: arguments[0], name: arguments[1], batch: batch, result: result{Statuses: map[string]int{}}}
	if rate > 0 {
		l.interval = time.Second / time.Duration(rate)
	}
	l.began = time.Now()
	l.end = l.began.Add(time.Duration(seconds) * time.Second)
	errors := make(chan error, connections)
	for connection := range connections {
		go func() { errors <- l.run(connection) }()
	}
	for range connections {
		if err := <-errors; err != nil {
			return result{}, err
		}
	}
	l.result.Seconds = time.Since(l.began).Seconds()
	l.result.Produced = len(l.ok) * max(batch, 1)
	l.result.P99MS, l.result.P99RefusedMS = p99(l.ok), p99(l.refused)
	return l.result, nil
}

func main() {
	if len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: http_load ADDRESS NAME CONNECTIONS SECONDS BATCH RATE")
		os.Exit(2)
	}
	measured, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(measured)
}
