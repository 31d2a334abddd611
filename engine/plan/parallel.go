package plan

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// inParallel does each part 0..n-1 on as many goroutines as there are processors;
// each calls worker once for its own way to do a part, with scratch of its own.
// What part i gives depends on i alone, and whoever joins the parts does so in
// their order: any number of workers gives the same bytes.
func inParallel(n int, worker func() func(i int)) {
	var next atomic.Int64
	work := func() {
		f := worker()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// partSize is how many VMs a part has: enough that starting it costs nothing.
const partSize = 4096

// parts is how many parts n VMs make.
func parts(n int) int { return (n + partSize - 1) / partSize }
