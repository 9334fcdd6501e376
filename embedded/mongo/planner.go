package mongo

import (
	"bytes"
	"math/bits"
	"slices"
)

// The planner turns a filter and a sort into ranges of one index. The ranges must contain every matching document, and
// may contain others: the scan tests the whole filter on each document.

// maxRanges bounds the number of ranges that the values of several $in multiply to. Beyond it, later fields are not
// bounded.
const maxRanges = 10_000

// maxMerge bounds how many ranges are read in parallel to merge their documents in one order.
const maxMerge = 100

// maxSeen bounds how many documents a scan remembers so that it does not return one twice.
const maxSeen = 5_000_000

// keyRange is a range of keys from lower, inclusive, to upper, exclusive. All its keys share the first fixed bytes. ends has, for each
// field in them, where it ends.
type keyRange struct {
	lower, upper []byte
	fixed        int
	ends         []int
}

// plan is a way to find the documents of a query.
type plan struct {
	x       *index // nil for a scan of all documents, in order of _id
	ranges  []keyRange
	points  bool // every range is one _id
	reverse bool
	dedupe  bool   // the scan may find a document more than once
	sorted  bool   // the scan returns the documents in the requested order
	merge   bool   // the ranges must be merged for that
	from    int    // the index's first field by which that order goes
	idOnly  bool   // the filter is just {_id: value}
	bounded int    // number of the index's fields that the filter bounds
	mask    uint64 // the index's multikey fields when it was planned
}

// stage returns the plan's name in explain.
func (p *plan) stage() string {
	switch {
	case p.idOnly:
		return "IDHACK"
	case p.x != nil:
		return "IXSCAN"
	}
	return "COLLSCAN"
}

// interval is a range of encodings of one field's value, ascending.
type interval struct {
	lower, upper []byte
	point        bool // lower is the encoding of one value and upper its successor
}

// choose returns the best plan. If hint is not nil, it considers only that index.
func (v *view) choose(f *filter, sort *sortSpec, hint *index) *plan {
	if id, ok := f.idEquals(); ok && hint == nil {
		from := v.c.docKey(appendKey(nil, id))
		e, _ := f.src.first()
		return &plan{
			x: v.c.primary, ranges: []keyRange{{lower: from, upper: successor(from)}}, points: true, sorted: true, bounded: 1,
			idOnly: f.src.len() == 1 && string(e.name) == "_id" && !isOperatorDoc(e.value),
		}
	}
	preds := map[string][]test{}
	collectPreds(preds, "", f.root.(allOf))
	if hint != nil {
		return planIndex(hint, preds, sort, false)
	}
	var plans []*plan
	for _, x := range append([]*index{v.c.primary}, v.indexes...) {
		p := planIndex(x, preds, sort, true)
		if p == nil || slices.ContainsFunc(plans, func(o *plan) bool { return o.dominates(p) }) {
			continue
		}
		plans = append(slices.DeleteFunc(plans, p.dominates), p)
	}
	switch len(plans) {
	case 0:
		return v.collectionScan(sort, false)
	case 1:
		return plans[0]
	}
	return v.probe(plans)
}

// dominates reports whether p is at least as good as o for all documents: it bounds all fields that o bounds, and it is
// sorted if o is.
func (p *plan) dominates(o *plan) bool {
	if o.sorted && !p.sorted {
		return false
	}
	for i := range o.x.fields[:o.bounded] {
		if !slices.ContainsFunc(p.x.fields[:p.bounded], func(f indexField) bool { return f.path == o.x.fields[i].path }) {
			return false
		}
	}
	return p.bounded > o.bounded || p.sorted && !o.sorted || !(o.x.unique && !p.x.unique)
}

// probeEntries is how many entries of each plan are read to choose between several plans.
const probeEntries = 200

// probe chooses between plans that do not dominate each other. The plan with the fewest entries wins, if it has fewer
// than probeEntries: it has little to do even if it must sort. Otherwise better decides.
func (v *view) probe(plans []*plan) *plan {
	best, least := plans[0], probeEntries
	for _, p := range plans {
		n := v.entries(p, least)
		if n < least {
			best, least = p, n
		} else if least == probeEntries && p.better(best) {
			best = p
		}
	}
	return best
}

// entries counts the entries of a plan, up to limit.
func (v *view) entries(p *plan, limit int) int {
	if p.points {
		return min(len(p.ranges), limit)
	}
	s := v.scan(p, nil)
	defer s.release()
	for n := range limit {
		if ok, err := s.advance(); !ok || err != nil { // the real scan will report the error
			return n
		}
	}
	return limit
}

// collectionScan returns a plan that reads all documents.
func (v *view) collectionScan(sort *sortSpec, reverse bool) *plan {
	from := spaceKey(spaceDocs, v.c.id)
	return &plan{ranges: []keyRange{{lower: from, upper: successor(from)}}, sorted: sort == nil, reverse: reverse}
}

// better reports whether p is preferable to o: if both bound fields, a sorted plan is; else the one that bounds more
// fields; then a sorted one, one that finds at most one document, and the one with fewer ranges.
func (p *plan) better(o *plan) bool {
	if p == o {
		return false
	}
	if p.sorted != o.sorted && min(p.bounded, o.bounded) > 0 {
		// Both narrow the search. One more bounded field does not outweigh sorting all documents found.
		return p.sorted
	}
	if p.bounded != o.bounded {
		return p.bounded > o.bounded
	}
	if p.sorted != o.sorted {
		return p.sorted
	}
	if u, w := p.uniquePoint(), o.uniquePoint(); u != w {
		return u
	}
	return len(p.ranges) < len(o.ranges)
}

func (p *plan) uniquePoint() bool { return p.x.unique && p.bounded == len(p.x.fields) }

// collectPreds collects the tests that every matching document passes, by path. An $elemMatch on documents gives tests
// on the paths within the element, because the matching element has an index entry of its own.
func collectPreds(preds map[string][]test, prefix string, all allOf) {
	for _, n := range all {
		if or, ok := n.(anyOf); ok {
			collectHulls(preds, prefix, or)
			continue
		}
		l, ok := n.(*leaf)
		if !ok {
			continue
		}
		if t, ok := l.test.(elemDocTest); ok {
			if kids, ok := t.f.(allOf); ok {
				collectPreds(preds, prefix+l.path+".", kids)
			}
			continue
		}
		preds[prefix+l.path] = append(preds[prefix+l.path], l.test)
	}
}

// hull is an interval that contains every value that passes a part of the filter. It is a bound, not a test.
type hull struct{ interval }

func (hull) whole() bool      { return false }
func (hull) holds(value) bool { return true }

// collectHulls adds a hull for each path that every branch of an $or bounds: the interval that contains the intervals
// of all branches. Thereby paging with {$or: [{at: {$lt: t}}, {at: t, _id: {$gt: id}}]} does not read all earlier pages
// again.
func collectHulls(preds map[string][]test, prefix string, or anyOf) {
	var common map[string]interval
	for i, n := range or {
		kids, ok := n.(allOf)
		if !ok {
			return
		}
		branch := map[string][]test{}
		collectPreds(branch, prefix, kids)
		bounds := map[string]interval{}
		for path, tests := range branch {
			// The field may be multikey; that is not known here.
			ivs := intervalsFor(tests, true)
			before, known := common[path]
			if ivs == nil || i > 0 && !known {
				continue
			}
			iv := interval{lower: ivs[0].lower, upper: ivs[len(ivs)-1].upper}
			if i > 0 && bytes.Compare(before.lower, iv.lower) < 0 {
				iv.lower = before.lower
			}
			if i > 0 && bytes.Compare(before.upper, iv.upper) > 0 {
				iv.upper = before.upper
			}
			bounds[path] = iv
		}
		common = bounds
	}
	for path, iv := range common {
		preds[path] = append(preds[path], hull{iv})
	}
}

// planIndex returns a plan that scans x. With must it returns nil if x helps neither to find the documents nor to sort
// them.
func planIndex(x *index, preds map[string][]test, sort *sortSpec, must bool) *plan {
	p := &plan{x: x, mask: x.multikey.Load(), ranges: []keyRange{{lower: x.space, fixed: len(x.space)}}}
	p.dedupe = p.mask != 0
	fixed := make([]bool, len(x.fields))  // bounded to one value
	listed := make([]bool, len(x.fields)) // bounded to a list of values
	boundMask := uint64(0)
	open := true // all intervals so far are points, so the next field can narrow the ranges
	for i := 0; i < len(x.fields) && open; i++ {
		field := &x.fields[i]
		multi := p.mask&(1<<i) != 0
		// Two fields below one array: different elements may satisfy the two bounds.
		if multi && boundMask&p.mask != 0 {
			break
		}
		ivs := intervalsFor(preds[field.path], multi)
		if ivs == nil {
			break
		}
		points := !slices.ContainsFunc(ivs, func(iv interval) bool { return !iv.point })
		if len(ivs)*len(p.ranges) > maxRanges && len(p.ranges) > 1 {
			break
		}
		p.ranges = narrow(p.ranges, ivs, field.desc)
		p.bounded++
		boundMask |= 1 << i
		fixed[i] = points && len(ivs) == 1
		listed[i] = points
		open = points
	}
	for i := range p.ranges {
		if p.ranges[i].upper == nil {
			p.ranges[i].upper = successor(p.ranges[i].lower)
		}
	}
	p.points = x.primary && open && p.bounded > 0
	if p.sorted, p.reverse = p.order(sort, fixed, fixed); !p.sorted && len(p.ranges) <= maxMerge && !p.points {
		p.sorted, p.reverse = p.order(sort, fixed, listed)
		if p.merge = p.sorted; p.merge {
			p.compareSorted()
		}
	}
	if must && p.bounded == 0 && (sort == nil || !p.sorted) {
		return nil
	}
	return p
}

// narrow appends each interval to each prefix and keeps the ranges in the index's order.
func narrow(prefixes []keyRange, ivs []interval, desc bool) []keyRange {
	out := make([]keyRange, 0, len(prefixes)*len(ivs))
	for _, p := range prefixes {
		for n := range ivs {
			iv := ivs[n]
			if desc {
				iv = ivs[len(ivs)-1-n]
			}
			lower, upper := bytes.Clone(iv.lower), bytes.Clone(iv.upper)
			if desc {
				invert(lower)
				invert(upper)
				if !iv.point {
					// Inverting swaps the ends, and turns an inclusive end into an exclusive one and vice versa.
					lower, upper = successor(upper), successor(lower)
				}
			}
			r := keyRange{lower: append(bytes.Clone(p.lower), lower...), fixed: p.fixed, ends: p.ends}
			if iv.point {
				r.fixed = len(r.lower)
				r.ends = append(slices.Clone(p.ends), r.fixed)
			} else {
				r.upper = append(bytes.Clone(p.lower), upper...)
			}
			out = append(out, r)
		}
	}
	return out
}

// order reports whether the index gives the requested order, and whether it must be read in reverse. fixed marks the
// fields that are bounded to one value; skip marks the fields that the sort may leave out.
func (p *plan) order(sort *sortSpec, fixed, skip []bool) (sorted, reverse bool) {
	if sort == nil {
		return true, false
	}
	i, decided := 0, false
	for _, s := range sort.fields {
		// Fields of one value do not influence the order.
		n := slices.IndexFunc(p.x.fields, func(f indexField) bool { return f.path == s.path })
		if n >= 0 && fixed[n] && p.mask&(1<<n) == 0 {
			continue
		}
		for i < len(p.x.fields) && skip[i] && p.x.fields[i].path != s.path {
			if decided && !fixed[i] { // its values would come before those of this field
				return false, reverse
			}
			i++
		}
		if !decided {
			p.from = i
		}
		if i == len(p.x.fields) || p.x.fields[i].path != s.path || p.mask&(1<<i) != 0 {
			// After the _id, which is unique, further sort fields have no effect.
			return p.x.primary && i == len(p.x.fields), reverse
		}
		rev := p.x.fields[i].desc != s.desc
		if decided && rev != reverse {
			return false, false
		}
		reverse, decided = rev, true
		i++
	}
	return true, reverse
}

// compareSorted has the ranges share, for a merge, only what lies before the fields of the order: a range has one value of such a field
// too, where the filter lists its values.
func (p *plan) compareSorted() {
	for i := range p.ranges {
		r := &p.ranges[i]
		switch {
		case p.from >= len(r.ends):
		case p.from == 0:
			r.fixed = len(p.x.space)
		default:
			r.fixed = r.ends[p.from-1]
		}
	}
}

// usable reports whether the plan can continue in a later view: its index exists and has the same multikey fields.
func (p *plan) usable(v *view) bool {
	if p.x == nil || p.x.primary {
		return true
	}
	return slices.Contains(v.indexes, p.x) && bits.OnesCount64(p.x.multikey.Load()) == bits.OnesCount64(p.mask)
}
