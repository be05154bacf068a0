package main

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

var syncRows = []row{
	plain("sync.lock", N, lockUnlock),
	plain("sync.contend", N, func() error { return lockContend(100) }),
	plain("sync.rw", N, func() error { return readMostly(100) }),
	plain("sync.waitgroup", N, func() error { return waitGroup(100) }),
}

func lockUnlock() error {
	var mu sync.Mutex
	n := 0
	for i := 0; i < N; i++ {
		mu.Lock()
		n++
		mu.Unlock()
	}
	return check(n, N)
}

func lockContend(tasks int) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	running, done := 0, 0
	var crowded atomic.Bool
	wg.Add(tasks)
	for t := 0; t < tasks; t++ {
		go func() {
			defer wg.Done()
			for i := 0; i < N/tasks; i++ {
				mu.Lock()
				if running++; running > 1 {
					crowded.Store(true)
				}
				runtime.Gosched()
				running--
				done++
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if crowded.Load() {
		return errors.New("more than 1 at once")
	}
	return check(done, N)
}

func readMostly(readers int) error {
	var rw sync.RWMutex
	var wg sync.WaitGroup
	var reading, done atomic.Int64
	var mixed atomic.Bool
	wg.Add(readers + 1)
	go func() {
		defer wg.Done()
		for i := 0; i < N/readers; i++ {
			rw.Lock()
			if reading.Load() > 0 {
				mixed.Store(true)
			}
			runtime.Gosched()
			rw.Unlock()
		}
	}()
	for t := 0; t < readers; t++ {
		go func() {
			defer wg.Done()
			for i := 0; i < N/readers; i++ {
				rw.RLock()
				reading.Add(1)
				runtime.Gosched()
				reading.Add(-1)
				rw.RUnlock()
				done.Add(1)
			}
		}()
	}
	wg.Wait()
	if mixed.Load() {
		return errors.New("reads while it writes")
	}
	return check(int(done.Load()), N)
}

func waitGroup(tasks int) error {
	n := 0
	for i := 0; i < N/tasks; i++ {
		var wg sync.WaitGroup
		wg.Add(tasks)
		for j := 0; j < tasks; j++ {
			wg.Done()
			n++
		}
		wg.Wait()
	}
	return check(n, N)
}
