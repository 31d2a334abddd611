package run

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// A Score compares a cost with a published one.
type Score struct {
	Name       string  `json:"name"` // the column of reference.csv
	Cost       float64 `json:"cost"`
	GapPercent float64 `json:"gap_percent"` // ours less that, of that; less than 0 is better
}

// Published compares a cost with the columns of reference.csv in a folder: the row
// that begins with the instance's name. Without such a file there is nothing to
// compare with.
func Published(dir, instance string, cost float64) ([]Score, error) {
	path := filepath.Join(dir, "reference.csv")
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var scores []Score
	for i, row := range rows {
		if i == 0 || row[0] != instance {
			continue
		}
		for k, cell := range row[1:] {
			x, err := strconv.ParseFloat(cell, 64)
			if err != nil || x == 0 {
				continue // not published, or nothing to divide by
			}
			scores = append(scores, Score{rows[0][k+1], x, 100 * (cost - x) / x})
		}
	}
	return scores, nil
}

// PrintPublished prints scores for people.
func PrintPublished(out io.Writer, scores []Score) error {
	for _, x := range scores {
		if _, err := fmt.Fprintf(out, "  %+9.4f %% of %s, %.0f\n", x.GapPercent, x.Name, x.Cost); err != nil {
			return err
		}
	}
	return nil
}
