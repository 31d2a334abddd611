package lab

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipe("x")
		buf := make([]byte, 8)
		if n, err := a.Write([]byte("hello")); n != 5 || err != nil {
			t.Fatalf("nobody reads, and a write waits: %d, %v", n, err)
		}
		if n, err := b.Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		deadline := func(d time.Duration) {
			if err := b.SetReadDeadline(time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		deadline(time.Second)
		deadline(time.Minute)
		if _, err := b.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		// A deadline ends a read that already waits; put off, reading goes on.
		deadline(time.Hour)
		go func() {
			time.Sleep(time.Second)
			deadline(-time.Second)
		}()
		if _, err := b.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut short: %v", err)
		}
		if err := b.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			_, _ = a.Write([]byte("bye"))
			_ = a.Close()
		}()
		if got, err := io.ReadAll(b); string(got) != "bye" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if _, err := b.Write(buf); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write to a closed end: %v", err)
		}
	})
}
