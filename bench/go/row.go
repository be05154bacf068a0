package main

import (
	"fmt"
	"runtime"
	"time"
)

// Operations per call, unless a row says otherwise. The JavaScript side has the same counts.
const N = 5000

// The sum of 0 ... N-1, which most channel rows must receive.
const sumN = N * (N - 1) / 2

// work is returned by a row's prepare. call does the row's operations once and checks their result, and only call is
// timed. end, if there is one, checks the last state and frees what prepare made.
type work struct {
	call func() error
	end  func() error
}

// row has prepare, or, for a memory row, measure, which returns bytes per object.
type row struct {
	id      string
	ops     int
	prepare func() work
	measure func() (float64, error)
}

// plain is a row that has only a call.
func plain(id string, ops int, call func() error) row {
	return row{id: id, ops: ops, prepare: func() work { return work{call: call} }}
}

func allRows() []row {
	var rows []row
	for _, more := range [][]row{
		channelRows, selectRows, contextRows, timeRows, semaphoreRows, errgroupRows, rateRows, poolRows, shardmapRows,
		singleflightRows, syncRows, memoryRows,
	} {
		rows = append(rows, more...)
	}
	return rows
}

// time calls the row once to warm it up, then until ms milliseconds are over, at least once. It returns the mean of the
// calls' nanoseconds per operation. A row that leaves a goroutine behind fails.
func (r row) time(ms float64) (ns float64, calls int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	goroutines := runtime.NumGoroutine()
	w := r.prepare()
	defer func() {
		if w.end != nil {
			if e := w.end(); err == nil {
				err = e
			}
		}
		if e := ends(goroutines); err == nil {
			err = e
		}
	}()
	if err := w.call(); err != nil {
		return 0, 0, err
	}
	runtime.GC() // This row must not collect the garbage of earlier ones.
	var samples []float64
	for begin := time.Now(); ; {
		start := time.Now()
		if err := w.call(); err != nil {
			return 0, 0, err
		}
		samples = append(samples, float64(time.Since(start))/float64(r.ops))
		if float64(time.Since(begin)) >= ms*1e6 {
			break
		}
	}
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	return sum / float64(len(samples)), len(samples), nil
}

// ends waits for the row's goroutines to end, and fails if there are still more than before.
func ends(before int) error {
	for begin := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(begin) > time.Second {
			return fmt.Errorf("%d goroutines are left behind", runtime.NumGoroutine()-before)
		}
	}
	return nil
}

// check is nil if a row's result is right.
func check(got, want int) error {
	if got != want {
		return fmt.Errorf("wrong result: %d instead of %d", got, want)
	}
	return nil
}
