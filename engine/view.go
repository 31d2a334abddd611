package engine

// A View is what policies are shown: the snapshot, and around it what is
// remembered, what is under way, and the calendar.
type View struct {
	Now      Unix
	Snapshot *Snapshot
	History  *History
	Open     []ActionRecord // not terminal
	Windows  []Window
	Budget   BudgetLeft
	Low      Thresholds // as used by Fold
}

// A Window is an agreed period, from the configuration or an operator.
type Window struct {
	ID    string  `json:"id"`
	Kind  string  `json:"kind"`  // maintenance, quiet, change
	Place Subject `json:"place"` // kind fleet, site, cluster or host; hosts by ID or by name
	From  Unix    `json:"from"`
	To    Unix    `json:"to"`
	Note  string  `json:"note,omitempty"`
}

// BudgetLeft is how many actions budgets still allow, demands apart.
type BudgetLeft struct {
	MovesHour int32 `json:"moves_hour"`
	MovesDay  int32 `json:"moves_day"`
	PowerHour int32 `json:"power_hour"`
	PowerDay  int32 `json:"power_day"`
}
