# Builds a program and runs it: goroutines, channels, collections, an HTTP server and clients, signals, a child process.
# packages: golang-go
# excache: 32M
# timeout: 240
. "$(dirname "$0")/lib.sh"
export GOCACHE=$PWD/cache GOPATH=$PWD/go GOFLAGS=-p=2 GO111MODULE=off
cp "$TOP_PROGRAMS/work.go" .
go build -o work work.go && ./work
