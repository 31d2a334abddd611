package plan

import "heliostat/engine"

// BudgetLeft is what the budgets by hour and day still allow at now, demands
// apart: an evacuation neither uses nor waits for them.
func BudgetLeft(c engine.Config, h *engine.History, now engine.Unix) engine.BudgetLeft {
	const hour, day = 3600, 86_400
	left := engine.BudgetLeft{MovesHour: c.MovesPerHour, MovesDay: c.MovesPerDay, PowerHour: c.PowerPerHour, PowerDay: c.PowerPerDay}
	for _, s := range h.Spent {
		age := now - s.At
		if s.Demand || age >= day {
			continue
		}
		switch s.Kind {
		case engine.Move:
			left.MovesDay--
			if age < hour {
				left.MovesHour--
			}
		case engine.Standby:
			left.PowerDay--
			if age < hour {
				left.PowerHour--
			}
		case engine.Wakeup, engine.EnterMaintenance, engine.ExitMaintenance:
		}
	}
	left.MovesHour, left.MovesDay = max(left.MovesHour, 0), max(left.MovesDay, 0)
	left.PowerHour, left.PowerDay = max(left.PowerHour, 0), max(left.PowerDay, 0)
	return left
}
