package cycle

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// laid writes down what each value was to be laid against.
type laid struct {
	book
	on []string
}

func (l *laid) PutLike(_ context.Context, b []byte, base string) (digest, next string, err error) {
	if base == "" {
		base = string(b)
	}
	l.on = append(l.on, string(b)+" on "+base)
	return string(b), base, nil
}

// Values of one line are laid against the same one for an hour, each line for itself.
func TestBasesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &laid{}
		l := &Loop{Journal: j, bases: map[string]base{}}
		for i := range 5 {
			for _, line := range []string{"a", "b"} {
				if _, err := l.keep(t.Context(), line, engine.Subject{Kind: line, ID: fmt.Sprint(i)}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(25 * time.Minute)
		}
		got := strings.NewReplacer(`{"kind":"`, "", `","id":"`, "", `"}`, "").Replace(strings.Join(j.on, ", "))
		if want := "a0 on a0, b0 on b0, a1 on a0, b1 on b0, a2 on a0, b2 on b0, a3 on a3, b3 on b3, a4 on a3, b4 on b3"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}
