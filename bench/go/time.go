package main

import "time"

const million = 1_000_000

var timeRows = []row{
	plain("timers.million", million, timersMillion),
}

func timersMillion() error {
	timers := make([]*time.Timer, million)
	for i := range timers {
		timers[i] = time.AfterFunc(time.Hour, func() {})
	}
	stopped := 0
	for _, t := range timers {
		if t.Stop() {
			stopped++
		}
	}
	return check(stopped, million)
}
