#!/bin/sh
# Builds the Go contender into .build/bench-go. Needs Go 1.19 or later and Debian's x/sync and x/time, which lie in
# /usr/share/gocode (packages golang-go, golang-golang-x-sync-dev, golang-golang-x-time-dev): no download, no go.mod.
set -eu
cd "$(dirname "$0")"
mkdir -p ../../.build
GO111MODULE=off GOFLAGS= GOPATH=/usr/share/gocode go build -o ../../.build/bench-go .
