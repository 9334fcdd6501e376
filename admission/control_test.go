package admission_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"casebook/admission"
	"casebook/domain/refuse"
)

// small are bounds under which one request is served and up to twenty wait.
var small = admission.Bounds{Least: 1, First: 1, Most: 1, Queue: 20, Wait: time.Minute}

func control(t testing.TB, bounds admission.Bounds, ofUser int) *admission.Control {
	t.Helper()
	o := admission.Options{Bounds: map[admission.Class]admission.Bounds{}, OfUser: ofUser}
	for _, c := range admission.Classes() {
		o.Bounds[c] = bounds
	}
	a, err := admission.NewControl(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func refusedAs(err error, code string) bool {
	r, is := refuse.As(err)
	return is && r.Code == code
}

// load takes the only place of a class, and lets so many requests wait, until the returned function is called.
func load(t *testing.T, a *admission.Control, class admission.Class, waiting int) (free func()) {
	t.Helper()
	served, err := a.Enter(t.Context(), class, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	for range waiting {
		gone.Go(func() {
			if p, err := a.Enter(ctx, class, ""); err == nil {
				p.GiveUp()
			}
		})
	}
	for a.Stats(class).Waiting < waiting {
		time.Sleep(time.Millisecond)
	}
	return func() { cancel(); gone.Wait(); served.GiveUp() }
}

// TestLessImportantClassesAreRefusedFirst loads each class more and more. A class is refused only when all less important
// ones are, more important ones never, and the class itself only when its queue is full.
func TestLessImportantClassesAreRefusedFirst(t *testing.T) {
	for _, loaded := range admission.Classes() {
		t.Run(loaded.String(), func(t *testing.T) {
			refused := 0 // how many classes are refused; it never falls while the load rises
			for waiting := 0; waiting <= small.Queue; waiting++ {
				a := control(t, small, 0)
				free := load(t, a, loaded, waiting)
				now := 0
				for _, class := range admission.Classes() {
					if !a.Sheds(class) {
						continue
					}
					if class > loaded {
						t.Errorf("%d waiting %s refuse %s", waiting, loaded, class)
					}
					if int(class) != now {
						t.Errorf("%d waiting %s refuse %s, but not all that is less important", waiting, loaded, class)
					}
					now++
				}
				if now < refused {
					t.Errorf("%d waiting %s refuse %d classes, fewer refuse %d", waiting, loaded, now, refused)
				}
				refused = now
				if own := a.Sheds(loaded); own != (waiting == small.Queue) {
					t.Errorf("%d waiting %s: the class itself is refused: %t", waiting, loaded, own)
				}
				free()
			}
			if refused != int(loaded)+1 {
				t.Errorf("a full queue of %s refuses %d classes", loaded, refused)
			}
		})
	}
}

// TestAFullClassLeavesMoreImportantOnesTheirPlaces: with each class full, a request of every more important one is served.
func TestAFullClassLeavesMoreImportantOnesTheirPlaces(t *testing.T) {
	for _, full := range admission.Classes() {
		a := control(t, small, 0)
		free := load(t, a, full, small.Queue)
		for _, class := range admission.Classes() {
			p, err := a.Enter(t.Context(), class, "somebody")
			switch {
			case class <= full:
				if !refusedAs(err, "overloaded") {
					t.Errorf("%s full: %s is answered %v", full, class, err)
				}
			case err != nil:
				t.Errorf("%s full: %s is answered %v", full, class, err)
			default:
				p.Leave()
			}
		}
		if n := a.Stats(full).Shed; n != 1 {
			t.Errorf("%s full: %d refusals are counted", full, n)
		}
		free()
		for _, class := range admission.Classes() {
			if a.Sheds(class) {
				t.Errorf("%s is refused after the load has gone", class)
			}
		}
	}
}

// TestAUserHoldsABoundedNumberOfPlaces of all classes together, and others are served beside.
func TestAUserHoldsABoundedNumberOfPlaces(t *testing.T) {
	a := control(t, admission.Bounds{Least: 10, First: 10, Most: 10, Queue: 10, Wait: time.Minute}, 3)
	enter := func(class admission.Class, who string) (admission.Place, error) {
		return a.Enter(t.Context(), class, who)
	}
	var held []admission.Place
	for _, class := range []admission.Class{admission.Queries, admission.Commands, admission.Diaries} {
		p, err := enter(class, "anna")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, p)
	}
	if _, err := enter(admission.Unblinding, "anna"); !refusedAs(err, "too_many_requests") {
		t.Errorf("one more is answered %v", err)
	}
	for range 5 { // whoever is nobody is not bound
		if p, err := enter(admission.Queries, ""); err != nil {
			t.Error(err)
		} else {
			held = append(held, p)
		}
	}
	if p, err := enter(admission.Queries, "bert"); err != nil {
		t.Error(err)
	} else {
		p.Leave()
	}
	held[0].GiveUp()
	held[1].Leave()
	for range 2 {
		p, err := enter(admission.Queries, "anna")
		if err != nil {
			t.Fatalf("after two have left: %v", err)
		}
		held = append(held, p)
	}
	if _, err := enter(admission.Queries, "anna"); !refusedAs(err, "too_many_requests") {
		t.Errorf("one more is answered %v", err)
	}
}

// TestWhoWaitsInVainHoldsNothing, neither a place nor a count of the user.
func TestWhoWaitsInVainHoldsNothing(t *testing.T) {
	bounds := small
	bounds.Wait = time.Millisecond
	a := control(t, bounds, 1)
	served, err := a.Enter(t.Context(), admission.Commands, "bert")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Enter(gone, admission.Commands, "anna"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone is answered %v", err)
	}
	for range 2 {
		if _, err := a.Enter(t.Context(), admission.Commands, "anna"); !refusedAs(err, "overloaded") {
			t.Errorf("after the longest wait: %v", err)
		}
	}
	served.Leave()
	p, err := a.Enter(t.Context(), admission.Commands, "anna")
	if err != nil {
		t.Fatal(err)
	}
	p.Leave()
	if s := a.Stats(admission.Commands); s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("left are %+v", s)
	}
}

// TestAllPlacesAreGivenBack after many requests of all classes have entered and left at the same time.
func TestAllPlacesAreGivenBack(t *testing.T) {
	a := control(t, admission.Bounds{Least: 2, First: 3, Most: 8, Queue: 5, Wait: time.Millisecond}, 4)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			class, who := admission.Classes()[i%len(admission.Classes())], fmt.Sprint(i%7)
			for range 50 {
				p, err := a.Enter(t.Context(), class, who)
				switch {
				case refusedAs(err, "overloaded"), refusedAs(err, "too_many_requests"):
				case err != nil:
					t.Error(err)
				case i%2 == 0:
					p.Leave()
				default:
					p.GiveUp()
				}
			}
		})
	}
	all.Wait()
	for _, class := range admission.Classes() {
		if s := a.Stats(class); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("of %s remain %+v", class, s)
		}
	}
	for who := range 7 {
		for range 4 { // as many as a user may hold
			if _, err := a.Enter(t.Context(), admission.Class(who%5), fmt.Sprint(who)); refusedAs(err, "too_many_requests") {
				t.Fatalf("user %d still holds places", who)
			}
		}
	}
}

func TestImpossibleBoundsAreRefused(t *testing.T) {
	good := small
	for name, spoil := range map[string]func(*admission.Bounds){
		"no request is served":         func(b *admission.Bounds) { b.Least = 0 },
		"the first is below the least": func(b *admission.Bounds) { b.Least = 2 },
		"the most is below the first":  func(b *admission.Bounds) { b.First = 2 },
		"nobody waits":                 func(b *admission.Bounds) { b.Queue = 0 },
		"no time to wait":              func(b *admission.Bounds) { b.Wait = 0 },
	} {
		bad := good
		spoil(&bad)
		o := admission.Options{Bounds: map[admission.Class]admission.Bounds{admission.Exports: bad}}
		if _, err := admission.NewControl(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, c := range admission.Classes() {
		if b := admission.DefaultBounds(c); b.Most == 0 {
			t.Errorf("%s has no bounds", c)
		}
	}
}

// BenchmarkEnterAndLeave measures what a request pays for its place.
func BenchmarkEnterAndLeave(b *testing.B) {
	a, err := admission.NewControl(admission.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := a.Enter(b.Context(), admission.Diaries, "somebody")
		if err != nil {
			b.Fatal(err)
		}
		p.Leave()
	}
}

// BenchmarkTally measures what a bound of a user costs.
func BenchmarkTally(b *testing.B) {
	t := admission.NewTally(4, math.MaxInt)
	b.ReportAllocs()
	for b.Loop() {
		if !t.Take("somebody") {
			b.Fatal("refused")
		}
		t.Give("somebody")
	}
}

// TestExportsOfOneUserLeaveQueriesToOthers: a user's exports do not fill the queue for which queries are refused.
func TestExportsOfOneUserLeaveQueriesToOthers(t *testing.T) {
	a, err := admission.NewControl(admission.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 60)
	for range 60 {
		go func() {
			place, err := a.Enter(ctx, admission.Exports, "auditor")
			if err != nil {
				refused <- err
				return
			}
			<-ctx.Done()
			place.GiveUp()
		}()
	}
	for range 56 {
		if refusal, is := refuse.As(<-refused); !is || refusal.Code != "too_many_requests" {
			t.Fatalf("an export is refused with %v", refusal)
		}
	}
	if a.Sheds(admission.Queries) {
		t.Error("queries of others are refused")
	}
	place, err := a.Enter(ctx, admission.Queries, "auditor")
	if err != nil {
		t.Fatalf("a query of the same user is refused: %v", err)
	}
	place.GiveUp()
}
