package node

import (
	"bytes"
	"regexp"
	"strconv"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

const (
	// defaultWindow is the number of events per checkpoint interval if the client gives none.
	defaultWindow  = 32
	maxPrefixes    = 1000
	maxFilterBytes = 64 << 10
)

// filter selects events by the name of their stream or by their type.
type filter struct {
	byType   bool
	prefixes [][]byte
	regex    *regexp.Regexp
	// interval is the number of events, matching or not, after which a checkpoint is sent.
	interval uint64
}

// newFilter returns nil if the request has no filter.
func newFilter(o *streams.ReadReq_Options_FilterOptions, subscription bool) (*filter, *failure) {
	if o == nil {
		return nil, nil
	}
	f := &filter{}
	expression := o.GetStreamIdentifier()
	if o.GetEventType() != nil {
		f.byType, expression = true, o.GetEventType()
	}
	if f := checkExpression(expression.GetPrefix(), expression.GetRegex()); f != nil {
		return nil, f
	}
	for _, p := range expression.Prefix {
		f.prefixes = append(f.prefixes, []byte(p))
	}
	if expression.Regex != "" {
		regex, err := regexp.Compile(expression.Regex)
		if err != nil {
			return nil, badRequest("the filter's regular expression is not RE2, which has no look-around: " + err.Error())
		}
		f.regex = regex
	}
	window := uint64(defaultWindow)
	if w, ok := o.GetWindow().(*streams.ReadReq_Options_FilterOptions_Max); ok {
		window = uint64(w.Max)
	}
	if subscription && (window == 0 || o.CheckpointIntervalMultiplier == 0) {
		return nil, badRequest("the filter's window and checkpoint interval must be larger than zero")
	}
	f.interval = window * uint64(o.CheckpointIntervalMultiplier)
	return f, nil
}

// checkExpression requires either prefixes or a regular expression, small enough to be matched against every event.
func checkExpression(prefixes []string, regex string) *failure {
	size := len(regex)
	for _, p := range prefixes {
		size += len(p)
	}
	switch {
	case regex == "" && len(prefixes) == 0:
		return badRequest("the filter is empty; give prefixes or a regular expression")
	case regex != "" && len(prefixes) > 0:
		return badRequest("the filter has both prefixes and a regular expression; give one of them")
	case len(prefixes) > maxPrefixes || size > maxFilterBytes:
		return badRequest("the filter is too large; give at most " + strconv.Itoa(maxPrefixes) + " prefixes and " +
			strconv.Itoa(maxFilterBytes) + " bytes")
	}
	return nil
}

// matches reports whether the filter selects the event; a nil filter selects every event.
func (f *filter) matches(r *store.Record) bool {
	if f == nil {
		return true
	}
	if f.byType {
		return f.selects(r.Type())
	}
	return f.selects(r.Stream())
}

// selects reports whether the expression matches a name.
func (f *filter) selects(subject []byte) bool {
	if f.regex != nil {
		return f.regex.Match(subject)
	}
	for _, p := range f.prefixes {
		if bytes.HasPrefix(subject, p) {
			return true
		}
	}
	return false
}
