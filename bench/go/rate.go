package main

import (
	"errors"
	"time"

	"golang.org/x/time/rate"
)

var rateRows = []row{
	plain("rate.allow", N, allow),
}

// allow calls two limiters in turn: one with a token for every call, one whose only token is spent. Neither has the
// limit Inf, for which AllowN reads neither the clock nor the tokens.
func allow() error {
	open, shut := rate.NewLimiter(1e9, 1e9), rate.NewLimiter(1e-9, 1)
	if !shut.Allow() {
		return errors.New("the only token is not granted")
	}
	granted, denied := 0, 0
	for i := 0; i < N/2; i++ {
		if open.AllowN(time.Now(), 1) {
			granted++
		}
		if !shut.AllowN(time.Now(), 1) {
			denied++
		}
	}
	if err := check(granted, N/2); err != nil {
		return err
	}
	return check(denied, N/2)
}
