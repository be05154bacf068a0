package main

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

var semaphoreRows = []row{
	plain("sem.acquire", N, acquire),
	plain("sem.try", N, tryAcquire),
	plain("sem.contend", N, func() error { return contend(100) }),
}

var errHeld = errors.New("wrong result: units are still held")

func acquire() error {
	sem := semaphore.NewWeighted(10)
	for i := 0; i < N; i++ {
		if err := sem.Acquire(root, 1); err != nil {
			return err
		}
		sem.Release(1)
	}
	if !sem.TryAcquire(10) {
		return errHeld
	}
	return nil
}

func tryAcquire() error {
	sem := semaphore.NewWeighted(10)
	n := 0
	for i := 0; i < N; i++ {
		if sem.TryAcquire(1) {
			n++
		}
		sem.Release(1)
	}
	if !sem.TryAcquire(10) {
		return errHeld
	}
	return check(n, N)
}

func contend(tasks int) error {
	sem := semaphore.NewWeighted(10)
	var running, done atomic.Int64
	var crowded atomic.Bool
	var wg sync.WaitGroup
	wg.Add(tasks)
	for t := 0; t < tasks; t++ {
		go func() {
			defer wg.Done()
			for i := 0; i < N/tasks; i++ {
				if sem.Acquire(root, 1) != nil {
					return
				}
				if running.Add(1) > 10 {
					crowded.Store(true)
				}
				runtime.Gosched()
				running.Add(-1)
				sem.Release(1)
				done.Add(1)
			}
		}()
	}
	wg.Wait()
	if crowded.Load() {
		return errors.New("more than 10 at once")
	}
	if !sem.TryAcquire(10) {
		return errHeld
	}
	return check(int(done.Load()), N)
}
