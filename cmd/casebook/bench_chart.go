package main

import (
	"fmt"
	"io"
	"strings"
)

// chart is a chart of bars in text.
type chart struct {
	title, unit string
	points      []point
}

// point is a bar.
type point struct {
	name  string
	value float64
}

// chartWidth is the length of the longest bar.
const chartWidth = 50

// write draws the chart. It writes nothing for fewer than two bars, which show no course.
func (c chart) write(w io.Writer) error {
	most := 0.0
	for _, p := range c.points {
		most = max(most, p.value)
	}
	if len(c.points) < 2 || most == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", c.title)
	for _, p := range c.points {
		bar := strings.Repeat("#", max(1, int(chartWidth*p.value/most+0.5)))
		if _, err := fmt.Fprintf(w, "%12s  %10.1f %s  %s\n", p.name, p.value, c.unit, bar); err != nil {
			return err
		}
	}
	return nil
}
