package placement.dpm_test

import data.placement.dpm

idle := {
	"id": "h1", "power": "on", "usable": true, "ours": false, "can_wake": true, "usb": false, "vsan": false,
	"cpu_pct_5m": 10, "mem_pct_5m": 30, "cpu_pct_40m": 10, "mem_pct_40m": 30, "low_for_s": 0,
}

asleep := object.union(idle, {
	"id": "h2", "power": "standby", "usable": false, "ours": true,
	"cpu_pct_5m": null, "mem_pct_5m": null, "cpu_pct_40m": null, "mem_pct_40m": null,
})

cluster := {"id": "c", "dpm": false, "cpu_pct_5m_max": 10, "mem_pct_5m_max": 30}

test_drain[name] if {
	some name, c in {
		"idle": {"host": {}, "cluster": {}, "want": {"h1"}},
		"just below": {"host": {"cpu_pct_40m": 44}, "cluster": {}, "want": {"h1"}},
		"at the bound": {"host": {"cpu_pct_40m": 45}, "cluster": {}, "want": set()},
		"memory in use": {"host": {"mem_pct_40m": 80}, "cluster": {}, "want": set()},
		"low for too short": {"host": {"cpu_pct_40m": null, "low_for_s": 540}, "cluster": {}, "want": set()},
		"never high": {"host": {"cpu_pct_40m": null, "low_for_s": 600}, "cluster": {}, "want": {"h1"}},
		"never high by other limits": {"host": {"cpu_pct_40m": null, "cpu_pct_5m": 46, "low_for_s": 600}, "cluster": {}, "want": set()},
		"memory unknown": {"host": {"mem_pct_40m": null}, "cluster": {}, "want": set()},
		"load unknown": {"host": {"usable": false}, "cluster": {}, "want": set()},
		"cannot be woken": {"host": {"can_wake": false}, "cluster": {}, "want": set()},
		"USB": {"host": {"usb": true}, "cluster": {}, "want": set()},
		"vSAN": {"host": {"vsan": true}, "cluster": {}, "want": set()},
		"getting busy": {"host": {}, "cluster": {"cpu_pct_5m_max": 82}, "want": set()},
		"vSphere does it": {"host": {}, "cluster": {"dpm": true}, "want": set()},
	}
	got := {x.host | some x in dpm.drain; x.then == "standby"} with input as {
		"cluster": object.union(cluster, c.cluster),
		"hosts": [object.union(idle, c.host)],
	}
	got == c.want
}

test_wake[name] if {
	some name, c in {
		"CPU": {"cluster": {"cpu_pct_5m_max": 82}, "asleep": {}, "want": {"h2"}},
		"memory": {"cluster": {"mem_pct_5m_max": 93}, "asleep": {}, "want": {"h2"}},
		"at the bound": {"cluster": {"cpu_pct_5m_max": 81}, "asleep": {}, "want": set()},
		"load unknown": {"cluster": {"cpu_pct_5m_max": null, "mem_pct_5m_max": null}, "asleep": {}, "want": set()},
		"a person's": {"cluster": {"cpu_pct_5m_max": 82}, "asleep": {"ours": false}, "want": set()},
		"cannot be woken": {"cluster": {"cpu_pct_5m_max": 82}, "asleep": {"can_wake": false}, "want": set()},
	}
	got := {x.host | some x in dpm.wake} with input as {
		"cluster": object.union(cluster, c.cluster),
		"hosts": [idle, object.union(asleep, c.asleep)],
	}
	got == c.want
}
