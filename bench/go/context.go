package main

import (
	"context"
	"time"
)

// A cancellable root, as every request's context has: under Background alone WithCancel has nothing to link to.
var root, _ = context.WithCancel(context.Background())

var contextRows = []row{
	plain("ctx.cancel", N, cancelOne),
	plain("ctx.timeout", N, cancelTimeout),
	plain("ctx.tree", 1, func() error { return cancelTree(10_000, 10) }),
	plain("ctx.deep1000", 1, func() error { return cancelChain(1000) }),
	plain("ctx.wide", 1, func() error { return cancelTree(100_001, 100_000) }),
	{id: "ctx.value20", ops: N, prepare: value20},
}

// cancelOne reads the error of the last context only: most are cancelled after the work, and nothing reads their error.
func cancelOne() error {
	last := root
	for i := 0; i < N; i++ {
		ctx, cancel := context.WithCancel(root)
		cancel()
		last = ctx
	}
	if last.Err() == nil {
		return check(0, 1)
	}
	return nil
}

func cancelTimeout() error {
	armed := 0
	for i := 0; i < N; i++ {
		ctx, cancel := context.WithTimeout(root, time.Second)
		if _, ok := ctx.Deadline(); ok {
			armed++
		}
		cancel()
	}
	return check(armed, N)
}

// child is a cancellable context that ends with its parent: its own cancel function is dropped.
func child(parent context.Context) context.Context {
	ctx, cancel := context.WithCancel(parent)
	_ = cancel
	return ctx
}

// cancelTree builds a tree breadth first, and cancels it at its top.
func cancelTree(size, fanOut int) error {
	top, cancel := context.WithCancel(root)
	nodes := []context.Context{top}
	for i := 0; len(nodes) < size; i++ {
		for c := 0; c < fanOut && len(nodes) < size; c++ {
			nodes = append(nodes, child(nodes[i]))
		}
	}
	cancel()
	ended := 0
	for _, ctx := range nodes {
		if ctx.Err() != nil {
			ended++
		}
	}
	return check(ended, size)
}

// cancelChain builds a chain of contexts, each the child of the one before, and cancels the first.
func cancelChain(length int) error {
	first, cancel := context.WithCancel(root)
	chain := []context.Context{first}
	for len(chain) < length {
		chain = append(chain, child(chain[len(chain)-1]))
	}
	cancel()
	ended := 0
	for _, ctx := range chain {
		if ctx.Err() != nil {
			ended++
		}
	}
	return check(ended, length)
}

// A pointer is the key, as in JavaScript an object is.
type contextKey struct{ name string }

func value20() work {
	key := &contextKey{"key"}
	deep := context.WithValue(root, key, 1)
	for i := 1; i < 20; i++ {
		deep = context.WithValue(deep, &contextKey{"other"}, i)
	}
	return work{call: func() error {
		sum := 0
		for i := 0; i < N; i++ {
			sum += deep.Value(key).(int)
		}
		return check(sum, N)
	}}
}
