package main

import "heliostat/configs"

// killFile is the file by which anybody on this machine stops the daemon. Nobody
// outside reaches into a bubble.
func killFile(cfg *configs.Config, at surroundings) string {
	if at.noSockets {
		return ""
	}
	return cfg.State.KillFile
}
