// What go.sh builds and runs; prints nothing that differs from run to run.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
)

type node struct {
	left, right *node
	value       int
}

func grow(depth, v int) *node {
	if depth == 0 {
		return nil
	}
	return &node{grow(depth-1, 2*v), grow(depth-1, 2*v+1), v}
}

func (n *node) sum() int {
	if n == nil {
		return 0
	}
	return n.value + n.left.sum() + n.right.sum()
}

func channels() {
	work, out := make(chan int), make(chan int, 16)
	var wg sync.WaitGroup
	for i := 0; i < 200; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range work {
				h := sha256.Sum256([]byte(fmt.Sprint(n)))
				out <- int(h[0])
			}
		}()
	}
	go func() {
		for i := 0; i < 20000; i++ {
			work <- i
		}
		close(work)
		wg.Wait()
		close(out)
	}()
	total := 0
	for n := range out {
		total += n
	}
	fmt.Println("channels", total)
}

func collections() {
	var wg sync.WaitGroup
	sums := make([]int, 4)
	for i := range sums {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			for k := 0; k < 4; k++ {
				sums[i] += grow(17, k).sum()
			}
		}(i)
	}
	wg.Wait()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("trees", sums, m.NumGC > 0)
}

func web() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, strings.ToUpper(string(b)))
	}))
	var mu sync.Mutex
	var wg sync.WaitGroup
	var got []string
	for i := 0; i < 40; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r, err := http.Post(fmt.Sprintf("http://%s/p%d", l.Addr(), i), "text/plain", strings.NewReader(fmt.Sprint("body", i)))
			if err != nil {
				panic(err)
			}
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			mu.Lock()
			got = append(got, string(b))
			mu.Unlock()
		}(i)
	}
	wg.Wait()
	sort.Strings(got)
	fmt.Println(strings.Join(got, "; "))
}

func main() {
	channels()
	collections()
	web()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println("signal", <-c)
	out, err := exec.Command("sh", "-c", "echo child; exit 4").CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	os.WriteFile("f", []byte(strings.Repeat("x", 100000)), 0644)
	st, _ := os.Stat("f")
	fmt.Println(st.Size(), runtime.NumCPU() > 0)
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *node
		p.value = 1
	}()
}
