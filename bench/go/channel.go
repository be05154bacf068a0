package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

var channelRows = []row{
	plain("chan.pingpong", N, pingPong),
	plain("chan.stream", N, func() error { return stream(0) }),
	plain("chan.buffered", N, func() error { return stream(128) }),
	plain("chan.fanin", N, func() error { return fanIn(100) }),
	plain("chan.sieve", 1, func() error { return sieve(200, 1223) }),
	{id: "chan.waiters1", ops: N, prepare: func() work { return waiters(1) }},
	{id: "chan.waiters10", ops: N, prepare: func() work { return waiters(10) }},
	{id: "chan.waiters1000", ops: N, prepare: func() work { return waiters(1000) }},
}

func pingPong() error {
	a, b := make(chan int), make(chan int)
	go func() {
		for i := 0; i < N; i++ {
			b <- <-a
		}
	}()
	sum := 0
	for i := 0; i < N; i++ {
		a <- i
		sum += <-b
	}
	return check(sum, sumN)
}

func stream(capacity int) error {
	ch := make(chan int, capacity)
	received := make(chan int)
	go func() {
		sum := 0
		for i := 0; i < N; i++ {
			sum += <-ch
		}
		received <- sum
	}()
	for i := 0; i < N; i++ {
		ch <- i
	}
	return check(<-received, sumN)
}

func fanIn(senders int) error {
	ch := make(chan int)
	each := N / senders
	for s := 0; s < senders; s++ {
		go func() {
			for i := 0; i < each; i++ {
				ch <- i
			}
		}()
	}
	sum := 0
	for i := 0; i < N; i++ {
		sum += <-ch
	}
	return check(sum, senders*each*(each-1)/2)
}

// sieve ends its goroutines from the top: the generator closes its channel, each filter closes its own when the one
// above is closed, while the receiver drains the last one. So no send needs a select with a quit channel.
func sieve(primes, last int) error {
	var stop atomic.Bool
	ch := make(chan int)
	go func(out chan<- int) {
		for i := 2; !stop.Load(); i++ {
			out <- i
		}
		close(out)
	}(ch)
	prime := 0
	for i := 0; i < primes; i++ {
		prime = <-ch
		next := make(chan int)
		go func(in <-chan int, out chan<- int, prime int) {
			for v := range in {
				if v%prime != 0 {
					out <- v
				}
			}
			close(out)
		}(ch, next, prime)
		ch = next
	}
	stop.Store(true)
	for range ch {
	}
	return check(prime, last)
}

// waiters parks n goroutines in receive on one unbuffered channel before the first call. A call sends N values, each to
// the front receiver, and ends when all have been received: each receiver adds its value to sum, and parks again.
func waiters(n int) work {
	ch := make(chan int)
	var sum atomic.Int64
	var started, ended atomic.Int64
	for w := 0; w < n; w++ {
		go func() {
			started.Add(1)
			for v := range ch {
				sum.Add(int64(v))
			}
			ended.Add(1)
		}()
	}
	begun := reaches(&started, n)
	return work{
		call: func() error {
			if begun != nil {
				return begun
			}
			sum.Store(0)
			for i := 1; i <= N; i++ {
				ch <- i
			}
			return reaches(&sum, N*(N+1)/2)
		},
		end: func() error {
			close(ch)
			return reaches(&ended, n)
		},
	}
}

// reaches yields until the counter is at want.
func reaches(counter *atomic.Int64, want int) error {
	for begin := time.Now(); counter.Load() != int64(want); runtime.Gosched() {
		if time.Since(begin) > 10*time.Second {
			return fmt.Errorf("wrong result: %d instead of %d after 10 s", counter.Load(), want)
		}
	}
	return nil
}
