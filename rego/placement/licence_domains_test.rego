package placement.licence_domains_test

import data.placement.licence_domains

cluster := {
	"hosts": [{"id": "h1", "name": "esx-01"}, {"id": "h2", "name": "esx-02"}, {"id": "h3", "name": "esx-03"}],
	"marked": {"licence": [{"id": "a", "tags": {"licence": "db"}}, {"id": "b", "tags": {"licence": "lost"}}, {"id": "c", "tags": {}}], "app": [{"id": "d", "tags": {"app": "web"}}]},
}

test_licensed_hosts_alone if {
	got := {x.vm: x.hosts | some x in licence_domains.allow_hosts} with input as cluster
		with data.params.licence_domains as {"key": "licence", "hosts": {"db": ["esx-01", "esx-03", "elsewhere"]}}
	got == {"a": ["h1", "h3"], "b": []}
}
