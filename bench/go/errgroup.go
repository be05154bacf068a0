package main

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const items = 100_000

var errgroupRows = []row{
	plain("go.done", N, goDone),
	plain("group.hundred", N/100, groupHundred),
	plain("group.map100k", items, groupMap),
}

func goDone() error {
	n := 0
	for i := 0; i < N; i++ {
		done := make(chan struct{})
		go func() {
			n++
			close(done)
		}()
		<-done
	}
	return check(n, N)
}

func groupHundred() error {
	var n atomic.Int64
	for i := 0; i < N/100; i++ {
		var g errgroup.Group
		for t := 0; t < 100; t++ {
			g.Go(func() error {
				n.Add(1)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return check(int(n.Load()), N)
}

func groupMap() error {
	g, _ := errgroup.WithContext(root)
	g.SetLimit(10)
	doubled := make([]int, items)
	for item := 0; item < items; item++ {
		item := item
		g.Go(func() error {
			doubled[item] = item * 2
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	sum := 0
	for _, d := range doubled {
		sum += d
	}
	return check(sum, items*(items-1))
}
