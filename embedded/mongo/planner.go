package mongo

import (
	"bytes"
	"container/heap"
	"errors"
	"math/bits"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// The planner turns a filter and a sort into ranges of one index. The ranges only have to contain every document that
// matches: the scan tests the whole filter on each document it fetches.

// maxRanges bounds how many ranges the values of several $in may multiply to; beyond, the later fields are not bounded.
const maxRanges = 10_000

// maxMerge bounds how many ranges are read side by side to get their documents in one order.
const maxMerge = 100

// maxSeen bounds how many documents a scan remembers in order not to return one twice.
const maxSeen = 5_000_000

// keyRange is a range of keys, from lower to before upper. The first fixed bytes are the same in all its keys.
type keyRange struct {
	lower, upper []byte
	fixed        int
}

// plan says how to find the documents.
type plan struct {
	x       *index // nil: all documents, in any order (which is that of _id)
	ranges  []keyRange
	points  bool // every range is one _id
	reverse bool
	dedupe  bool // a document may turn up more than once
	sorted  bool // the documents come in the order that was asked for
	merge   bool // for which the ranges must be read side by side
	idOnly  bool // the filter is {_id: value} and nothing else
	bounded int  // how many of the index's fields the filter bounds
	mask    uint64
}

// stage is the plan's name in explain.
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
	point        bool // lower is the encoding of one value, and upper its successor
}

// choose finds the best plan. hint, if not nil, is the only index to consider.
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

// dominates says that p is at least as good as o, whatever the documents are: it bounds what o bounds, and the order of
// o, if o gives it, too.
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

// probeEntries is how many entries of each of several plans are looked at to choose between them.
const probeEntries = 200

// probe chooses between plans of which none is better for sure. One that is soon at its end wins: even if it has to sort,
// it has little to do. If all are long, the rules of better decide.
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
		if ok, err := s.advance(); !ok || err != nil { // the scan proper will meet the error again
			return n
		}
	}
	return limit
}

// collectionScan reads all documents.
func (v *view) collectionScan(sort *sortSpec, reverse bool) *plan {
	from := spaceKey(spaceDocs, v.c.id)
	return &plan{ranges: []keyRange{{lower: from, upper: successor(from)}}, sorted: sort == nil, reverse: reverse}
}

// better orders plans: more bounded fields by far, then the order asked for without sorting, then fewer ranges.
func (p *plan) better(o *plan) bool {
	if p == o {
		return false
	}
	if p.sorted != o.sorted && min(p.bounded, o.bounded) > 0 {
		// Both narrow the search. One field more does not make up for sorting all that is found.
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

// collectPreds gathers the tests that every match passes, by path. $elemMatch on documents counts for the paths within:
// the element that matches has its own index entry.
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

// hull is not a test of a filter: it says that what passes lies somewhere in an interval.
type hull struct{ interval }

func (hull) whole() bool      { return false }
func (hull) holds(value) bool { return true }

// collectHulls adds the paths that every branch of an $or bounds, with the interval that holds all branches'. This is
// what keeps paging by {$or: [{at: {$lt: t}}, {at: t, _id: {$gt: id}}]} from reading all earlier pages again.
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
			// Whether the field holds arrays is not known here, so it is taken to.
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

// planIndex plans a scan of x; with must, nil when x helps neither to find nor to sort.
func planIndex(x *index, preds map[string][]test, sort *sortSpec, must bool) *plan {
	p := &plan{x: x, mask: x.multikey.Load(), ranges: []keyRange{{lower: x.space, fixed: len(x.space)}}}
	p.dedupe = p.mask != 0
	fixed := make([]bool, len(x.fields))  // bound to one value
	listed := make([]bool, len(x.fields)) // bound to one value or several
	boundMask := uint64(0)
	open := true // the ranges so far are points, so that the next field can narrow them
	for i := 0; i < len(x.fields) && open; i++ {
		field := &x.fields[i]
		multi := p.mask&(1<<i) != 0
		// Two fields below one array: the bounds would have to hold for the same element, and need not.
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
		p.merge = p.sorted
	}
	if must && p.bounded == 0 && (sort == nil || !p.sorted) {
		return nil
	}
	return p
}

// narrow appends each interval to each range, which is a prefix so far, keeping them in the index's order.
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
					// Inverting swaps the ends, and each of them changes between being part of the range and not.
					lower, upper = successor(upper), successor(lower)
				}
			}
			r := keyRange{lower: append(bytes.Clone(p.lower), lower...), fixed: p.fixed}
			if iv.point {
				r.fixed = len(r.lower)
			} else {
				r.upper = append(bytes.Clone(p.lower), upper...)
			}
			out = append(out, r)
		}
	}
	return out
}

// order says whether the index gives the order asked for, and in which direction it must be read. Fixed are the fields
// bound to one value; skip are those whose place in the index does not matter.
func (p *plan) order(sort *sortSpec, fixed, skip []bool) (sorted, reverse bool) {
	if sort == nil {
		return true, false
	}
	i, decided := 0, false
	for _, s := range sort.fields {
		// Fields of one value do not influence the order.
		if n := slices.IndexFunc(p.x.fields, func(f indexField) bool { return f.path == s.path }); n >= 0 && fixed[n] && p.mask&(1<<n) == 0 {
			continue
		}
		for i < len(p.x.fields) && skip[i] && p.x.fields[i].path != s.path {
			i++
		}
		if i == len(p.x.fields) || p.x.fields[i].path != s.path || p.mask&(1<<i) != 0 {
			// Beyond the _id there is nothing left to order by.
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

// intervalsFor returns where the values that pass all tests can lie, in order and apart from each other; nil when the
// tests do not say. For a multikey field different elements may pass different tests, so only one test is used.
func intervalsFor(tests []test, multi bool) []interval {
	var best []interval
	var rangesFrom, rangesTo []byte
	rank := 0 // 3 equality, 2 list, 1 prefix
	for _, t := range tests {
		switch t := t.(type) {
		case eqTest:
			if rank < 3 && t.v.t != tArray {
				best, rank = []interval{pointAt(appendKey(nil, t.v))}, 3
			}
		case *inTest:
			if ivs := intervalsOfIn(t); rank < 2 && ivs != nil {
				best, rank = ivs, 2
			}
		case *regexTest:
			if rank < 1 && t.prefix != "" {
				best, rank = intervalsOfRegex(t), 1
			}
		case cmpTest, hull:
			from, to := rangeOf(t)
			if from == nil || multi && rangesFrom != nil {
				continue
			}
			if rangesFrom == nil || bytes.Compare(from, rangesFrom) > 0 {
				rangesFrom = from
			}
			if rangesTo == nil || bytes.Compare(to, rangesTo) < 0 {
				rangesTo = to
			}
		}
	}
	if best == nil && rangesFrom != nil {
		if bytes.Compare(rangesFrom, rangesTo) >= 0 {
			rangesTo = rangesFrom // nothing can pass
		}
		best = []interval{{lower: rangesFrom, upper: rangesTo}}
	}
	return best
}

func pointAt(key []byte) interval { return interval{key, successor(key), true} }

func intervalsOfIn(t *inTest) []interval {
	ivs := make([]interval, 0, len(t.vals))
	for _, v := range t.vals {
		if v.t == tArray {
			return nil
		}
		ivs = append(ivs, pointAt(appendKey(nil, v)))
	}
	for _, r := range t.regexes {
		if r.prefix == "" {
			return nil
		}
		ivs = append(ivs, intervalsOfRegex(r)...)
	}
	if len(ivs) == 0 { // nothing is in an empty list
		return []interval{{lower: []byte{kMaxKey}, upper: []byte{kMaxKey}}}
	}
	slices.SortFunc(ivs, func(a, b interval) int { return bytes.Compare(a.lower, b.lower) })
	// Patterns may overlap each other and the values.
	merged := ivs[:1]
	for _, iv := range ivs[1:] {
		last := &merged[len(merged)-1]
		if bytes.Compare(iv.lower, last.upper) >= 0 {
			merged = append(merged, iv)
			continue
		}
		last.point = false
		if bytes.Compare(iv.upper, last.upper) > 0 {
			last.upper = iv.upper
		}
	}
	return merged
}

// intervalsOfRegex: strings with the prefix, and regular expressions, which match themselves.
func intervalsOfRegex(t *regexTest) []interval {
	from := appendEscaped([]byte{kString}, []byte(t.prefix))
	from = from[:len(from)-2] // without the end mark
	return []interval{{lower: from, upper: successor(from)}, {lower: []byte{kRegex}, upper: []byte{kRegex + 1}}}
}

// rangeOf returns where values that pass a comparison, or a hull, lie: for a comparison within the class of its operand.
func rangeOf(of test) (from, to []byte) {
	if h, ok := of.(hull); ok {
		return h.lower, h.upper
	}
	t := of.(cmpTest)
	c := class(t.v.t)
	if c == kMinKey || c == kMaxKey || t.v.t == tArray {
		return nil, nil
	}
	key := appendKey(nil, t.v)
	switch t.op {
	case opGT:
		return successor(key), []byte{c + 1}
	case opGTE:
		return key, []byte{c + 1}
	case opLT:
		return []byte{c}, key
	default:
		return []byte{c}, successor(key)
	}
}

// scan walks over the documents of a plan. It can be stopped and continued on another view of the collection.
type scan struct {
	c *collection
	v *view
	p *plan
	f *filter

	it     *pebble.Iterator
	fresh  bool   // the iterator stands before the first entry of the current range
	heads  heads  // of the ranges that are merged; these have iterators of their own
	at     int    // the current range, counted in the direction of the scan
	last   []byte // the last entry that was looked at, nil before the first one of the range
	seen   map[string]struct{}
	doc    doc
	docBuf []byte

	keys, docs int64 // examined, for explain
}

// scan begins a scan of the view.
func (v *view) scan(p *plan, f *filter) *scan {
	s := &scan{c: v.c, v: v, p: p, f: f}
	if p.dedupe {
		s.seen = map[string]struct{}{}
	}
	return s
}

// release gives back what the scan holds of its view.
func (s *scan) release() error {
	err := s.heads.release()
	if s.it != nil {
		err = errors.Join(err, s.it.Close())
		s.it = nil
	}
	return err
}

// step fetches the next document of the plan, whether it matches or not; it skips entries of documents it has seen.
func (s *scan) step() (bool, error) {
	if s.p.points {
		return s.stepPoint()
	}
	for {
		it, err := s.nextEntry()
		if err != nil || it == nil {
			return false, err
		}
		key := it.Key()
		if s.p.x != nil {
			s.keys++
		}
		if s.p.x == nil || s.p.x.primary {
			v, err := it.ValueAndErr()
			if err != nil {
				return false, err
			}
			s.doc = v
			return true, nil
		}
		id, ok := entryID(key, it.Value())
		if !ok {
			return false, refuse(codeInternalError, "an entry of index %s is damaged; drop and create the index", s.p.x.name)
		}
		if s.seen != nil {
			if _, dup := s.seen[string(id)]; dup {
				continue
			}
			if len(s.seen) == maxSeen {
				return false, refuse(codeExceededMemoryLimit, "the query finds more than %d documents by index %s, which has arrays: narrow it, or hint another index", maxSeen, s.p.x.name)
			}
			s.seen[string(id)] = struct{}{}
		}
		if ok, err := s.fetch(s.c.docKey(id)); ok || err != nil {
			return ok, err
		}
	}
}

// nextEntry returns an iterator at the next entry, nil at the end.
func (s *scan) nextEntry() (*pebble.Iterator, error) {
	if s.p.merge {
		return s.heads.next(s)
	}
	ok, err := s.advance()
	if err != nil || !ok {
		return nil, err
	}
	s.last = append(s.last[:0], s.it.Key()...)
	return s.it, nil
}

// fetch reads a document into s.doc.
func (s *scan) fetch(key []byte) (bool, error) {
	v, closer, err := s.v.Get(key)
	if err == pebble.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.docBuf = append(s.docBuf[:0], v...)
	s.doc = s.docBuf
	return true, closer.Close()
}

// stepPoint reads the documents of a list of _ids one by one, which is cheaper than to seek each with an iterator.
func (s *scan) stepPoint() (bool, error) {
	for s.at < len(s.p.ranges) {
		r := s.current()
		s.at++
		s.keys++
		if ok, err := s.fetch(r.lower); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (s *scan) current() keyRange {
	if s.p.reverse {
		return s.p.ranges[len(s.p.ranges)-1-s.at]
	}
	return s.p.ranges[s.at]
}

// advance moves the iterator to the next entry, through the ranges.
func (s *scan) advance() (bool, error) {
	for s.at < len(s.p.ranges) {
		var ok bool
		switch {
		case s.it == nil || s.fresh:
			r := s.current()
			if bytes.Compare(r.lower, r.upper) >= 0 {
				break
			}
			if s.it == nil {
				var err error
				if s.it, err = s.v.NewIter(&pebble.IterOptions{LowerBound: r.lower, UpperBound: r.upper}); err != nil {
					return false, err
				}
			} else {
				s.it.SetBounds(r.lower, r.upper)
			}
			s.fresh = false
			ok = seek(s.it, s.last, s.p.reverse)
		case s.p.reverse:
			ok = s.it.Prev()
		default:
			ok = s.it.Next()
		}
		if ok {
			return true, nil
		}
		if s.it != nil {
			if err := s.it.Error(); err != nil {
				return false, err
			}
		}
		s.at++
		s.last = s.last[:0]
		s.fresh = true
	}
	return false, nil
}

// usable says whether the plan can go on in a later view: its index is still there and means the same.
func (p *plan) usable(v *view) bool {
	if p.x == nil || p.x.primary {
		return true
	}
	return slices.Contains(v.indexes, p.x) && bits.OnesCount64(p.x.multikey.Load()) == bits.OnesCount64(p.mask)
}

// heads are the ranges of a merged scan, as a heap: the one whose entry comes next is on top. The entries are compared
// without the part that is fixed in each range, which is what the ranges differ in.
type heads struct {
	all     []*head // nil until the scan begins
	heap    []*head // those that are not at their end
	started bool    // the iterators are open
}

type head struct {
	r       keyRange
	reverse bool
	it      *pebble.Iterator
	last    []byte // the last entry that was handed out
	ended   bool
}

func (h *head) rest() []byte { return h.it.Key()[h.r.fixed:] }

func (h *heads) Len() int      { return len(h.heap) }
func (h *heads) Swap(i, j int) { h.heap[i], h.heap[j] = h.heap[j], h.heap[i] }
func (h *heads) Push(x any)    { h.heap = append(h.heap, x.(*head)) }
func (h *heads) Less(i, j int) bool {
	c := bytes.Compare(h.heap[i].rest(), h.heap[j].rest())
	if h.heap[i].reverse {
		return c > 0
	}
	return c < 0
}

func (h *heads) Pop() any {
	last := h.heap[len(h.heap)-1]
	h.heap = h.heap[:len(h.heap)-1]
	return last
}

// next moves to the next entry of all ranges and returns the iterator that stands on it; nil at the end.
func (h *heads) next(s *scan) (*pebble.Iterator, error) {
	if !h.started {
		if err := h.start(s); err != nil {
			return nil, err
		}
	} else if len(h.heap) > 0 { // the top was handed out
		top := h.heap[0]
		if top.reverse {
			top.it.Prev()
		} else {
			top.it.Next()
		}
		if top.it.Valid() {
			heap.Fix(h, 0)
		} else if err := top.it.Error(); err != nil {
			return nil, err
		} else {
			top.ended = true
			heap.Pop(h)
		}
	}
	if len(h.heap) == 0 {
		return nil, nil
	}
	top := h.heap[0]
	top.last = append(top.last[:0], top.it.Key()...)
	return top.it, nil
}

// start opens the iterators, where they were before release.
func (h *heads) start(s *scan) error {
	if h.all == nil {
		for _, r := range s.p.ranges {
			h.all = append(h.all, &head{r: r, reverse: s.p.reverse, ended: bytes.Compare(r.lower, r.upper) >= 0})
		}
	}
	h.started = true
	for _, one := range h.all {
		if one.ended {
			continue
		}
		var err error
		if one.it, err = s.v.NewIter(&pebble.IterOptions{LowerBound: one.r.lower, UpperBound: one.r.upper}); err != nil {
			return err
		}
		if seek(one.it, one.last, one.reverse) {
			h.heap = append(h.heap, one)
			continue
		}
		if err := one.it.Error(); err != nil {
			return err
		}
		one.ended = true
	}
	heap.Init(h)
	return nil
}

func (h *heads) release() error {
	var err error
	for _, one := range h.all {
		if one.it != nil {
			err = errors.Join(err, one.it.Close())
			one.it = nil
		}
	}
	h.heap, h.started = nil, false
	return err
}

// seek puts an iterator on the first entry after last, in the direction of the scan; without last on the first of all.
func seek(it *pebble.Iterator, last []byte, reverse bool) bool {
	switch {
	case len(last) > 0 && reverse:
		return it.SeekLT(last)
	case len(last) > 0:
		return it.SeekGE(append(last, 0))
	case reverse:
		return it.Last()
	}
	return it.First()
}
