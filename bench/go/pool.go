package main

import "sync"

var poolRows = []row{
	plain("pool.getput", N, getPut),
}

type scratch struct {
	bytes [64]byte
	used  int
}

// getPut resets the object before each put, and counts that it comes back reset.
func getPut() error {
	pool := sync.Pool{New: func() any { return new(scratch) }}
	clean := 0
	for i := 0; i < N; i++ {
		s := pool.Get().(*scratch)
		if s.used == 0 {
			clean++
		}
		s.bytes[0] = byte(i)
		s.used = 1
		s.used = 0
		pool.Put(s)
	}
	return check(clean, N)
}
