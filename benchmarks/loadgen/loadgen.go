// Command loadgen puts load on one etcd endpoint with etcd's own Go client and prints one line of JSON.
//
// It exists so that etcdpy and real etcd are measured by a third party's client. Build it with Debian's
// golang-go and golang-etcd-server-dev, which `benchmarks/tools.py` does by itself:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o loadgen loadgen.go
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const (
	callTimeout   = 60 * time.Second
	fanoutTimeout = 180 * time.Second
	leaseSeconds  = 3600
	leaseCount    = 100
)

type settings struct {
	endpoint    string
	operation   string
	connections int
	callers     int
	count       int
	keys        int
	valueBytes  int
	watchers    int
	prefix      string
	stride      int
	offset      int
	skip        int
	rate        int
	samples     string
}

// outcome is what one run reports; times are in milliseconds.
type outcome struct {
	Operation string  `json:"operation"`
	Count     int     `json:"count"`
	Calls     int     `json:"calls"`
	Failed    int64   `json:"failed"`
	FirstFail string  `json:"first_failure,omitempty"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"rate"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
}

// operation does call number n on a client.
type operation func(ctx context.Context, client *clientv3.Client, n int) error

func main() {
	s := settings{}
	flag.StringVar(&s.endpoint, "endpoint", "127.0.0.1:2379", "host:port of the server")
	flag.StringVar(&s.operation, "op", "put", "put, get, sget, txn, list, relist, keepalive, fill or watch")
	flag.IntVar(&s.connections, "connections", 10, "client connections")
	flag.IntVar(&s.callers, "callers", 100, "calls under way at once")
	flag.IntVar(&s.count, "count", 10000, "calls in all; for watch: puts")
	flag.IntVar(&s.keys, "keys", 10000, "size of the key space")
	flag.IntVar(&s.valueBytes, "value", 256, "bytes of a value")
	flag.IntVar(&s.watchers, "watchers", 100, "watchers, for -op watch")
	flag.StringVar(&s.prefix, "prefix", "/bench/keys/", "prefix of every key")
	flag.IntVar(&s.stride, "stride", 1, "key number n is n*stride+offset")
	flag.IntVar(&s.offset, "offset", 0, "see stride")
	flag.IntVar(&s.skip, "skip", 0, "drawn keys that are passed over, which an earlier run has had")
	flag.IntVar(&s.rate, "rate", 0, "calls begun in a second; 0: as many as are answered")
	flag.StringVar(&s.samples, "samples", "", "file for one line per call: when it was due (ns since 1970), its latency (ns)")
	flag.Parse()

	clients := connect(s)
	var result outcome
	if s.operation == "watch" {
		result = fanOut(s, clients)
	} else {
		result = drive(s, clients, prepare(s, clients[0]))
	}
	result.Operation = s.operation
	line, err := json.Marshal(result)
	stopOn(err)
	fmt.Println(string(line))
	if result.Failed > 0 {
		os.Exit(1)
	}
}

func connect(s settings) []*clientv3.Client {
	clients := make([]*clientv3.Client, s.connections)
	for i := range clients {
		client, err := clientv3.New(clientv3.Config{
			Endpoints:          []string{s.endpoint},
			DialTimeout:        10 * time.Second,
			MaxCallRecvMsgSize: 1 << 30,
		})
		stopOn(err)
		clients[i] = client
	}
	return clients
}

func (s settings) key(n int) string {
	return fmt.Sprintf("%s%08d", s.prefix, n%s.keys*s.stride+s.offset)
}

// prepare gives the call that -op names. Keys are drawn at random, but the same ones in every run.
func prepare(s settings, first *clientv3.Client) operation {
	order := rand.New(rand.NewSource(1)).Perm(s.keys)
	value := strings.Repeat("v", s.valueBytes)
	drawn := func(n int) string { return s.key(order[(n+s.skip)%s.keys]) }
	switch s.operation {
	case "put":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			_, err := c.Put(ctx, drawn(n), value)
			return err
		}
	case "fill":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			_, err := c.Put(ctx, s.key(n), value)
			return err
		}
	case "get":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			_, err := c.Get(ctx, drawn(n))
			return err
		}
	case "sget":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			_, err := c.Get(ctx, drawn(n), clientv3.WithSerializable())
			return err
		}
	case "txn":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			k := drawn(n)
			present := clientv3.Compare(clientv3.CreateRevision(k), ">", 0)
			_, err := c.Txn(ctx).If(present).Then(clientv3.OpPut(k, value)).Else(clientv3.OpGet(k)).Commit()
			return err
		}
	case "list":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			answer, err := c.Get(ctx, s.prefix, clientv3.WithPrefix())
			if err == nil && len(answer.Kvs) != s.keys {
				return fmt.Errorf("listed %d keys instead of %d", len(answer.Kvs), s.keys)
			}
			return err
		}
	case "relist":
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			if _, err := c.Put(ctx, drawn(n), value); err != nil {
				return err
			}
			_, err := c.Get(ctx, s.prefix, clientv3.WithPrefix())
			return err
		}
	case "keepalive":
		leases := make([]clientv3.LeaseID, leaseCount)
		for i := range leases {
			granted, err := first.Grant(context.Background(), leaseSeconds)
			stopOn(err)
			leases[i] = granted.ID
		}
		return func(ctx context.Context, c *clientv3.Client, n int) error {
			_, err := c.KeepAliveOnce(ctx, leases[n%len(leases)])
			return err
		}
	}
	stopOn(fmt.Errorf("unknown operation %q", s.operation))
	return nil
}

// sample is one call: when it was due, in ns since 1970, and how long it took from then.
type sample struct{ due, took int64 }

// drive runs count calls from as many goroutines as there are callers; each takes the next number. With a rate, call
// number n is due at its own time, and waiting for a free caller counts as latency: a server that stands still cannot
// hide it by being asked less.
func drive(s settings, clients []*clientv3.Client, call operation) outcome {
	var next, failed int64
	var firstFail atomic.Value
	latencies := make([][]time.Duration, s.callers)
	samples := make([][]sample, s.callers)
	var callers sync.WaitGroup
	start := time.Now()
	for i := 0; i < s.callers; i++ {
		callers.Add(1)
		go func(i int) {
			defer callers.Done()
			client := clients[i%len(clients)]
			for {
				n := int(atomic.AddInt64(&next, 1)) - 1
				if n >= s.count {
					return
				}
				began := time.Now()
				if s.rate > 0 {
					due := start.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
					time.Sleep(due.Sub(began))
					began = due
				}
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				err := call(ctx, client, n)
				took := time.Since(began)
				latencies[i] = append(latencies[i], took)
				if s.samples != "" {
					samples[i] = append(samples[i], sample{began.UnixNano(), took.Nanoseconds()})
				}
				cancel()
				if err != nil && atomic.AddInt64(&failed, 1) == 1 {
					firstFail.Store(err.Error())
				}
			}
		}(i)
	}
	callers.Wait()
	result := summarize(latencies, time.Since(start), s.count)
	if s.samples != "" {
		stopOn(writeSamples(s.samples, samples))
	}
	result.Failed = failed
	if text, ok := firstFail.Load().(string); ok {
		result.FirstFail = text
	}
	return result
}

// fanOut lets every watcher see every one of count puts. A put's value begins with the time it was sent,
// so a watcher can tell the latency of each event; the rate is that of events delivered.
func fanOut(s settings, clients []*clientv3.Client) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), fanoutTimeout)
	defer cancel()
	latencies := make([][]time.Duration, s.watchers)
	var created, finished sync.WaitGroup
	began := time.Now()
	for i := 0; i < s.watchers; i++ {
		created.Add(1)
		finished.Add(1)
		events := clients[i%len(clients)].Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		go func(i int, events clientv3.WatchChan) {
			defer finished.Done()
			for response := range events {
				if response.Created {
					created.Done()
				}
				stopOn(response.Err())
				now := time.Since(began)
				for _, event := range response.Events {
					sent := time.Duration(binary.BigEndian.Uint64(event.Kv.Value))
					latencies[i] = append(latencies[i], now-sent)
				}
				if len(latencies[i]) >= s.count {
					return
				}
			}
		}(i, events)
	}
	created.Wait()
	start := time.Now()
	putAll(ctx, s, clients, began)
	finished.Wait()
	for i, seen := range latencies {
		if len(seen) != s.count {
			stopOn(fmt.Errorf("watcher %d saw %d of %d events", i, len(seen), s.count))
		}
	}
	result := summarize(latencies, time.Since(start), s.count*s.watchers)
	result.Calls = s.count
	return result
}

func putAll(ctx context.Context, s settings, clients []*clientv3.Client, began time.Time) {
	var next int64
	var callers sync.WaitGroup
	for i := 0; i < s.callers; i++ {
		callers.Add(1)
		go func(i int) {
			defer callers.Done()
			value := make([]byte, 8+s.valueBytes)
			for n := int(atomic.AddInt64(&next, 1)) - 1; n < s.count; n = int(atomic.AddInt64(&next, 1)) - 1 {
				binary.BigEndian.PutUint64(value, uint64(time.Since(began)))
				_, err := clients[i%len(clients)].Put(ctx, s.key(n), string(value))
				stopOn(err)
			}
		}(i)
	}
	callers.Wait()
}

func summarize(latencies [][]time.Duration, took time.Duration, count int) outcome {
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(permille int) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[(len(all)-1)*permille/1000].Microseconds()) / 1000
	}
	return outcome{
		Count: count, Calls: count, Seconds: took.Seconds(), Rate: float64(count) / took.Seconds(),
		P50: at(500), P99: at(990), P999: at(999), Max: at(1000),
	}
}

func writeSamples(path string, samples [][]sample) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for _, some := range samples {
		for _, one := range some {
			fmt.Fprintln(out, one.due, one.took)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}

func stopOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(2)
	}
}
