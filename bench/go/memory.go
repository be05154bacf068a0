package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

const weighed = 100_000

var memoryRows = []row{
	{id: "memory.wait", measure: weighWaits},
	{id: "memory.ctx", measure: weighContexts},
	{id: "memory.chan", measure: func() (float64, error) { return weighChannels(0) }},
	{id: "memory.chan16", measure: func() (float64, error) { return weighChannels(16) }},
}

const measureFlag = "-measure"

// measureInChild runs a memory row in a fresh process: otherwise it would reuse goroutines and heap that earlier rows
// freed, which would not be counted.
func measureInChild(id string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.Command(self, measureFlag, id).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// measureHere is the child's side: it prints the bytes of one.
func measureHere(id string) {
	err := errors.New("no such row")
	for _, r := range memoryRows {
		if r.id != id {
			continue
		}
		var bytes float64
		if bytes, err = r.measure(); err == nil {
			fmt.Println(bytes)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// inUse is the memory in use for heap and stacks, whole pages, after a collection.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapInuse + stats.StackInuse)
}

// weighWaits measures goroutines with their stacks, parked in receive on one shared channel.
func weighWaits() (float64, error) {
	ch := make(chan int)
	var started, sum, ended atomic.Int64
	before := inUse()
	for i := 0; i < weighed; i++ {
		go func() {
			started.Add(1)
			sum.Add(int64(<-ch))
			ended.Add(1)
		}()
	}
	if err := reaches(&started, weighed); err != nil {
		return 0, err
	}
	bytes := (inUse() - before) / weighed
	for i := 0; i < weighed; i++ {
		ch <- 1
	}
	if err := reaches(&ended, weighed); err != nil {
		return 0, err
	}
	return bytes, check(int(sum.Load()), weighed)
}

// weighContexts measures contexts and their cancel functions, kept by the caller, with their entries in the parent.
func weighContexts() (float64, error) {
	type made struct {
		ctx    context.Context
		cancel context.CancelFunc
	}
	parent, cancel := context.WithCancel(context.Background())
	kept := make([]made, weighed)
	before := inUse()
	for i := range kept {
		kept[i].ctx, kept[i].cancel = context.WithCancel(parent)
	}
	bytes := (inUse() - before) / weighed
	cancel()
	ended := 0
	for _, k := range kept {
		if k.ctx.Err() != nil {
			ended++
		}
		k.cancel()
	}
	return bytes, check(ended, weighed)
}

func weighChannels(capacity int) (float64, error) {
	kept := make([]chan int64, weighed)
	before := inUse()
	for i := range kept {
		kept[i] = make(chan int64, capacity)
	}
	bytes := (inUse() - before) / weighed
	sum := 0
	for _, ch := range kept {
		sum += cap(ch)
	}
	return bytes, check(sum, weighed*capacity)
}
