package vcenter

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// vmotionUp reports whether the host has an interface for vMotion.
func (r *host) vmotionUp() bool {
	return r.vmotion && (r.services == nil || len(r.vmotionNICs()) > 0)
}

// vmotionNICs are the kernel interfaces selected for vMotion, such as vmk1.
func (r *host) vmotionNICs() []string {
	var out []string
	for i := range r.services {
		s := &r.services[i]
		if s.NicType != string(types.HostVirtualNicManagerNicTypeVmotion) {
			continue
		}
		for _, key := range s.SelectedVnic { // such as vmotion.key-vim.host.VirtualNic-vmk1
			out = append(out, key[strings.LastIndexByte(key, '-')+1:])
		}
	}
	return out
}

// vmotionMbps is the line rate of the slowest uplink that the first vMotion
// interface may use: one interface uses one uplink at a time. Where the
// interface's uplinks cannot be told, it is the fastest of all links.
func (r *host) vmotionMbps() int32 {
	for _, device := range r.vmotionNICs() {
		if mbps := r.net.slowest(r.net.uplinks(device)); mbps != engine.Unknown {
			return mbps
		}
	}
	fastest := int32(engine.Unknown)
	for i := range r.net.pnics {
		if l := r.net.pnics[i].LinkSpeed; l != nil {
			fastest = max(fastest, l.SpeedMb)
		}
	}
	return fastest
}

// uplinks are the keys of the physical cards behind a kernel interface.
func (n *hostNet) uplinks(device string) []string {
	for i := range n.vnics {
		v := &n.vnics[i]
		if v.Device != device {
			continue
		}
		if port := v.Spec.DistributedVirtualPort; port != nil {
			return n.proxyUplinks(port.SwitchUuid)
		}
		return n.groupUplinks(v.Portgroup)
	}
	return nil
}

func (n *hostNet) proxyUplinks(uuid string) []string {
	for i := range n.proxies {
		if n.proxies[i].DvsUuid == uuid {
			return n.proxies[i].Pnic
		}
	}
	return nil
}

func (n *hostNet) groupUplinks(group string) []string {
	for i := range n.groups {
		if n.groups[i].Spec.Name != group {
			continue
		}
		for k := range n.switches {
			if n.switches[k].Name == n.groups[i].Spec.VswitchName {
				return n.switches[k].Pnic
			}
		}
	}
	return nil
}

// slowest is the least speed of the cards that have a link, Unknown for none.
func (n *hostNet) slowest(keys []string) int32 {
	least := int32(engine.Unknown)
	for _, key := range keys {
		for i := range n.pnics {
			l := n.pnics[i].LinkSpeed
			if n.pnics[i].Key == key && l != nil && (least == engine.Unknown || l.SpeedMb < least) {
				least = l.SpeedMb
			}
		}
	}
	return least
}

// wakes reports whether there is a way to power the host on again: a BMC that
// vCenter has been told of, or a card that wakes on LAN.
func (r *host) wakes() bool {
	if r.bmc {
		return true
	}
	for i := range r.net.pnics {
		if r.net.pnics[i].WakeOnLanSupported {
			return true
		}
	}
	return false
}
