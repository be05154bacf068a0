package main

import (
	"strconv"
	"sync"
)

const (
	mapKeys    = 65536
	updateKeys = 100
)

var shardmapRows = []row{
	{id: "map.get64k", ops: mapKeys, prepare: mapGet},
	{id: "map.set64k", ops: mapKeys, prepare: mapSet},
	plain("map.update", N, mapUpdate),
}

type entry struct {
	key   string
	value int
}

// filled returns a map of "user:<i>" to i, and its entries in the order in which the JavaScript side reads them. It
// differs from the order of insertion, so that the caches do not help. All entries have been read once, so that all are
// in the part of the map that is read without a lock.
func filled() (*sync.Map, []entry) {
	m := new(sync.Map)
	stored := make([]entry, mapKeys)
	for i := range stored {
		stored[i] = entry{"user:" + strconv.Itoa(i), i}
		m.Store(stored[i].key, i)
	}
	asked := make([]entry, mapKeys)
	for i := range asked {
		asked[i] = stored[i*40_503%mapKeys]
		m.Load(asked[i].key)
	}
	return m, asked
}

func mapGet() work {
	m, asked := filled()
	return work{call: func() error {
		sum := 0
		for i := range asked {
			v, _ := m.Load(asked[i].key)
			sum += v.(int)
		}
		return check(sum, mapKeys*(mapKeys-1)/2)
	}}
}

func mapSet() work {
	m, asked := filled()
	round := 0
	return work{
		call: func() error {
			round++
			for i := range asked {
				m.Store(asked[i].key, asked[i].value+round)
			}
			return nil
		},
		end: func() error {
			for _, e := range asked {
				v, _ := m.Load(e.key)
				if err := check(v.(int), e.value+round); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

type counter struct {
	mu sync.Mutex
	n  int
}

// mapUpdate counts N increments over 100 keys in turn, each under the mutex of its key: before Go 1.20's
// CompareAndSwap, sync.Map cannot change a value depending on the old one.
func mapUpdate() error {
	var m sync.Map
	for i := 0; i < N; i++ {
		key := updateKey[i%updateKeys]
		v, ok := m.Load(key)
		if !ok {
			v, _ = m.LoadOrStore(key, new(counter))
		}
		c := v.(*counter)
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
	}
	sum, keys := 0, 0
	m.Range(func(_, v any) bool {
		sum += v.(*counter).n
		keys++
		return true
	})
	if err := check(keys, updateKeys); err != nil {
		return err
	}
	return check(sum, N)
}

var updateKey = func() (keys [updateKeys]string) {
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(i)
	}
	return keys
}()
