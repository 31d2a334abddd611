package main

import "heliostat/engine"

// A held is a hold, with what would end it.
type held struct {
	engine.Hold
	Until string `json:"until"`
}

// until says of each kind of hold what ends it, in general. What it takes for a
// certain VM, with its numbers, is for the planner to say: see why-not.
var until = map[engine.HoldCode]string{
	engine.HoldFrozen:      "the freeze ends, or its rule no longer asks for it; a failed veto freezes too, until it answers again",
	engine.HoldVeto:        "the policy no longer refuses it, or the planner finds another way",
	engine.HoldPinned:      "its policy no longer pins it, or its owner takes the tag heliostat:never off",
	engine.HoldMode:        "the mode of its site, of this kind of action (plan.modes) or of its own tag is raised",
	engine.HoldSites:       "its policies allow another site",
	engine.HoldHosts:       "its policies allow another host",
	engine.HoldObstacle:    "the property of the VM is gone: docs/reference.md lists them",
	engine.HoldAcross:      "its owner tags it heliostat:across, or its site is evacuated",
	engine.HoldCapacity:    "a host there has room for it",
	engine.HoldReserve:     "its cluster, or the one that it would go to, could lose a host and still hold it",
	engine.HoldSpace:       "a datastore there has room for its disks",
	engine.HoldNetwork:     "a network there is configured as the same segment (segments)",
	engine.HoldMAC:         "one of the two VMs gets another MAC address",
	engine.HoldRule:        "the rule of its cluster or the group of its policy lets it go, or the others can go with it",
	engine.HoldRTT:         "the round trip is measured, and within the limit",
	engine.HoldBandwidth:   "the path is known, and wide enough",
	engine.HoldConverge:    "it dirties memory more slowly, or the path is wider",
	engine.HoldCompat:      "a host there has CPUs that it can run on, and come back from",
	engine.HoldCooldown:    "the rest after the last move, change or failure is over",
	engine.HoldBudget:      "the next cycle, hour or day begins, or the budget is raised",
	engine.HoldWorth:       "it is worth more, or costs less: it has to pay back within plan.payback_s, and while it is expected to hold",
	engine.HoldGap:         "what is missing is seen again",
	engine.HoldBusy:        "what is under way has ended",
	engine.HoldNowhere:     "there is another host that is not to be emptied too, or the place is not to be emptied any more",
	engine.HoldDeadline:    "the deadline is later, the link wider, or less has to leave",
	engine.HoldStorage:     "the storage policy has a mapping there",
	engine.HoldOwner:       "the person who put the host into that state takes it out again",
	engine.HoldKeepOn:      "no policy keeps the host on",
	engine.HoldLast:        "another host of its cluster and site is on",
	engine.HoldVSAN:        "a person moves its data off it",
	engine.HoldStandby:     "a BMC or wake-on-LAN is configured for it, and no VM uses a USB device of it",
	engine.HoldDPM:         "vSphere's own power management is switched off in its cluster",
	engine.HoldNotEmpty:    "the VMs named can leave it",
	engine.HoldPoweredOff:  "the VM that is off, or the template, is moved by a person",
	engine.HoldDRS:         "the cluster's own scheduler does it, or is no longer automated",
	engine.HoldEvacuating:  "what is to be emptied is empty",
	engine.HoldPaused:      "somebody ends the pause: heliostat resume",
	engine.HoldUnavailable: "the host answers, is on, out of maintenance, and has a vMotion interface up",
	engine.HoldBreaker:     "the vCenter has rested and a trial ends well",
	engine.HoldRamp:        "it has gone well for a while",
	engine.HoldEvidence:    "more sources or persons speak for the evacuation (rails.tiers), and a site is safer",
	engine.HoldApproval:    "persons approve it: heliostat approve",
	engine.HoldTurn:        "the site before it is done",
	engine.HoldQuarantine:  "a person has looked: heliostat release",
	engine.HoldSuspended:   "what was approved holds again on what is seen: then it goes on",
	engine.HoldPrivilege:   "the account gets the role that heliostat doctor --print-roles prints",
}
