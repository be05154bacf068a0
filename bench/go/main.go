// The Go contender of gopark's benchmark: a process that runs rows on request. Build it with ./build.sh; README.md
// describes the protocol.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

type hello struct {
	Contender string   `json:"contender"`
	Version   string   `json:"version"`
	MaxProcs  int      `json:"maxprocs"`
	Rows      []string `json:"rows"`
}

// answer has NS and Calls, or Bytes, or Error.
type answer struct {
	Row   string   `json:"row"`
	NS    *float64 `json:"ns,omitempty"`
	Calls int      `json:"calls,omitempty"`
	Bytes *float64 `json:"bytes,omitempty"`
	Error string   `json:"error,omitempty"`
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == measureFlag {
		measureHere(os.Args[2])
		return
	}
	rows := allRows()
	ids := make([]string, len(rows))
	byID := make(map[string]row, len(rows))
	for i, r := range rows {
		ids[i] = r.id
		byID[r.id] = r
	}
	out := json.NewEncoder(os.Stdout)
	write := func(line any) {
		if err := out.Encode(line); err != nil {
			fmt.Fprintln(os.Stderr, "bench-go:", err)
			os.Exit(1)
		}
	}
	write(hello{"go", runtime.Version(), runtime.GOMAXPROCS(0), ids})
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) == 0 {
			continue
		}
		write(respond(byID, fields))
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-go:", err)
		os.Exit(1)
	}
}

func respond(byID map[string]row, fields []string) answer {
	id := fields[0]
	if len(fields) != 2 {
		return answer{Row: id, Error: "the request is not <row> <ms>"}
	}
	ms, err := strconv.ParseFloat(fields[1], 64)
	if err != nil || !(ms >= 0 && ms <= 1e6) {
		return answer{Row: id, Error: fmt.Sprintf("ms is %q, not a number from 0 to 1000000", fields[1])}
	}
	r, ok := byID[id]
	if !ok {
		return answer{Row: id, Error: "no such row"}
	}
	if r.measure != nil {
		bytes, err := measureInChild(id)
		if err != nil {
			return answer{Row: id, Error: err.Error()}
		}
		return answer{Row: id, Bytes: &bytes}
	}
	ns, calls, err := r.time(ms)
	if err != nil {
		return answer{Row: id, Error: err.Error()}
	}
	return answer{Row: id, NS: &ns, Calls: calls}
}
