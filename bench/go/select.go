package main

import (
	"errors"
	"reflect"
	"time"
)

var selectRows = []row{
	plain("select.two", N, selectTwo),
	plain("select.n2", N, func() error { return selectOf(2, N, receive2) }),
	plain("select.n8", 2000, func() error { return selectOf(8, 2000, receive8) }),
	plain("select.n64", 500, func() error { return selectOf(64, 500, receiveAny) }),
	{id: "select.after", ops: N, prepare: selectAfter},
}

func selectTwo() error {
	a, b, quit := make(chan int), make(chan int), make(chan struct{})
	for _, ch := range []chan int{a, b} {
		go func(ch chan<- int) {
			for i := 0; i < N/2; i++ {
				ch <- 1
			}
		}(ch)
	}
	sum := 0
	for sum < N {
		select {
		case v := <-a:
			sum += v
		case v := <-b:
			sum += v
		case <-quit:
			return errors.New("quit")
		}
	}
	return check(sum, N)
}

// selectOf lets one goroutine send 0 ... values-1 round robin over n unbuffered channels, and receive get them by
// select. receive returns the sum of all values and of the indices of their channels.
func selectOf(n, values int, receive func(chs []chan int, values int) int) error {
	chs := make([]chan int, n)
	for i := range chs {
		chs[i] = make(chan int)
	}
	go func() {
		for i := 0; i < values; i++ {
			chs[i%n] <- i
		}
	}()
	want := 0
	for i := 0; i < values; i++ {
		want += i + i%n
	}
	return check(receive(chs, values), want)
}

func receive2(chs []chan int, values int) int {
	sum := 0
	c0, c1 := chs[0], chs[1]
	for i := 0; i < values; i++ {
		select {
		case v := <-c0:
			sum += v
		case v := <-c1:
			sum += v + 1
		}
	}
	return sum
}

func receive8(chs []chan int, values int) int {
	sum := 0
	c0, c1, c2, c3, c4, c5, c6, c7 := chs[0], chs[1], chs[2], chs[3], chs[4], chs[5], chs[6], chs[7]
	for i := 0; i < values; i++ {
		select {
		case v := <-c0:
			sum += v
		case v := <-c1:
			sum += v + 1
		case v := <-c2:
			sum += v + 2
		case v := <-c3:
			sum += v + 3
		case v := <-c4:
			sum += v + 4
		case v := <-c5:
			sum += v + 5
		case v := <-c6:
			sum += v + 6
		case v := <-c7:
			sum += v + 7
		}
	}
	return sum
}

func receiveAny(chs []chan int, values int) int {
	cases := make([]reflect.SelectCase, len(chs))
	for i, ch := range chs {
		cases[i] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)}
	}
	sum := 0
	for i := 0; i < values; i++ {
		chosen, v, _ := reflect.Select(cases)
		sum += int(v.Int()) + chosen
	}
	return sum
}

// selectAfter leaves the losing timers behind, as time.After does before Go 1.23, so that its figure grows a little
// with the time that it runs. Its end waits until they have fired. Otherwise they would fire during later rows.
func selectAfter() work {
	return work{
		call: func() error {
			ch := make(chan int, 1)
			sum := 0
			for i := 0; i < N; i++ {
				ch <- 1
				select {
				case v := <-ch:
					sum += v
				case <-time.After(time.Second):
				}
			}
			return check(sum, N)
		},
		end: func() error {
			time.Sleep(1100 * time.Millisecond)
			return nil
		},
	}
}
