package configs

import (
	"strings"
	"testing"
)

// A token is never sent in the clear over a network.
func TestTokensNeedTLSOffLoopback(t *testing.T) {
	for _, c := range []struct {
		web    Web
		tokens bool
		want   string
	}{
		{Web{Listen: "127.0.0.1:8480"}, true, ""},
		{Web{Listen: "[::1]:8480"}, true, ""},
		{Web{Listen: "localhost:8480"}, true, ""},
		{Web{}, true, ""},
		{Web{Listen: "0.0.0.0:8480"}, false, ""},
		{Web{Listen: "0.0.0.0:8480", CertFile: "c", KeyFile: "k"}, true, ""},
		{Web{Listen: "0.0.0.0:8480"}, true, "web.listen: at \"0.0.0.0:8480\" the tokens"},
		{Web{Listen: ":8480"}, true, "web.listen: at \":8480\" the tokens"},
		{Web{Listen: "heliostat.example.net:8480"}, true, "web.listen: at "},
		{Web{Listen: "127.0.0.1.example.net:8480"}, true, "web.listen: at "},
		{Web{Listen: "127.0.0.1:8480", CertFile: "c"}, false, "web.cert_file: belongs together"},
		{Web{Listen: "127.0.0.1:8480", KeyFile: "k"}, false, "web.cert_file: belongs together"},
	} {
		err := c.web.validate(c.tokens)
		if (err == nil) != (c.want == "") || (err != nil && !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%+v, tokens %t: %v, want %q", c.web, c.tokens, err, c.want)
		}
	}
}
