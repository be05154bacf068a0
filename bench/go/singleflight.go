package main

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
)

var singleflightRows = []row{
	plain("flight.do", N, flightDo),
	plain("flight.shared", N, func() error { return flightShared(100) }),
}

func flightDo() error {
	var group singleflight.Group
	n := 0
	for i := 0; i < N; i++ {
		v, err, _ := group.Do("key", func() (any, error) { return 1, nil })
		if err != nil {
			return err
		}
		n += v.(int)
	}
	return check(n, N)
}

// flightShared lets callers ask for one key, whose function returns when all but the first of them have asked.
func flightShared(callers int) error {
	var done atomic.Int64
	for i := 0; i < N/callers; i++ {
		var group singleflight.Group
		gate := make(chan struct{})
		work := func() (any, error) {
			<-gate
			return 1, nil
		}
		var wg sync.WaitGroup
		results := make([]<-chan singleflight.Result, callers)
		for j := range results {
			results[j] = group.DoChan("key", work)
		}
		wg.Add(callers)
		for _, result := range results {
			go func(result <-chan singleflight.Result) {
				defer wg.Done()
				if r := <-result; r.Shared {
					done.Add(int64(r.Val.(int)))
				}
			}(result)
		}
		close(gate)
		wg.Wait()
	}
	return check(int(done.Load()), N)
}
