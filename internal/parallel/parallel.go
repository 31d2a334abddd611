// Package parallel does the parts of a computation on all processors.
package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Each does each part 0..n-1 on as many goroutines as there are processors; each
// calls worker once for its own way to do a part, with scratch of its own. What
// part i gives depends on i alone, and whoever joins the parts does so in their
// order: any number of workers gives the same bytes.
func Each(n int, worker func() func(i int)) {
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
