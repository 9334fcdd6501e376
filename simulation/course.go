package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/supply"
)

// course is the plan of what one patient will do.
type course struct {
	number string
	site   *site
	sex    patient.Sex
	age    int
	// screenedOn is the day of the screening. failure is why the patient fails the screening; "" for a patient who is
	// enrolled.
	screenedOn domain.Date
	failure    string
	// enrolledOn is the day of the enrolment. It is later than plannedOn if the site had no kits.
	enrolledOn, plannedOn domain.Date
	// endsOn is the day on which the participation ends early; "" if it does not. withdrawn is true for a withdrawal of
	// consent, and false for any other reason.
	endsOn    domain.Date
	withdrawn bool
	endReason string
	evenings  []evening
	moods     []mood
	incident  incident
	// kit is the kit that was dispensed last.
	kit supply.KitNumber
}

func (c *course) id() domain.PatientID { return domain.NewPatientID(studyID, c.number) }

// evening is the plan of one evening's pain diary.
type evening struct {
	day    domain.Date
	missed bool
	late   bool
	// onPaper says that the patient answers on paper, which the site transcribes two days later.
	onPaper bool
	// capturedAt is when the patient answers, by the patient's own clock.
	capturedAt time.Time
	// sentOn is the day on which the phone sends the diary: the same day, or a later one if the phone was offline.
	sentOn  domain.Date
	answers diary.Answers
	// correction is the value to which a coordinator corrects the worst pain; 0 for no correction.
	correction int
}

// mood is one answered PHQ-9.
type mood struct {
	day        domain.Date
	capturedAt time.Time
	answers    diary.Answers
}

var screenFailures = []string{
	"Mean pain below 4 on the numerical rating scale",
	"Opioids within the last 30 days",
	"Planned surgery of the spine",
	"eGFR below 60 mL/min/1.73 m2",
}

// plan makes the courses of all patients. The same seed, number of patients and number of days give the same courses,
// shifted to end two days before o.Today.
func plan(o Options) ([]*course, error) {
	first := o.Today.AddDays(-o.Days - 1)
	courses := make([]*course, o.Patients)
	for i := range courses {
		random := rand.New(rand.NewPCG(o.Seed, uint64(i))) // #nosec G404 -- a simulation has to be repeatable
		c, err := planOne(random, i, first, o)
		if err != nil {
			return nil, err
		}
		courses[i] = c
	}
	planIncidents(courses)
	planPause(courses, o)
	return courses, nil
}

func planOne(random *rand.Rand, i int, first domain.Date, o Options) (*course, error) {
	s := &sites[i%len(sites)]
	c := &course{
		number: fmt.Sprintf("S-%04d", i+1), site: s, age: 24 + random.IntN(55), sex: patient.Female,
		screenedOn: first.AddDays(-7 + random.IntN(6)),
	}
	if random.Float64() < 0.45 {
		c.sex = patient.Male
	}
	if i > 0 && random.Float64() < 0.17 { // the first patient is the example, and is always enrolled
		c.failure = screenFailures[random.IntN(len(screenFailures))]
		return c, nil
	}
	// Most are enrolled at the beginning, the others while the study runs.
	c.enrolledOn = first.AddDays(random.IntN(max(1, o.Days/4)))
	if i == 0 {
		c.enrolledOn = first
	}
	c.plannedOn = c.enrolledOn
	last := o.lastDay()
	if i > 0 && random.Float64() < 0.06 && o.Days > 7 {
		c.endsOn = c.enrolledOn.AddDays(5 + random.IntN(o.Days/2))
		c.withdrawn = random.Float64() < 0.5
		c.endReason = "ADVERSE EVENT"
		if c.withdrawn {
			c.endReason = "No longer wants to take part"
		}
		if c.endsOn > last {
			c.endsOn = ""
		}
	}
	zone, err := time.LoadLocation(s.zone)
	if err != nil {
		return nil, err
	}
	c.planDiaries(random, zone, last, i)
	return c, nil
}

// planDiaries plans the evenings and moods from the enrolment to the last day.
func (c *course) planDiaries(random *rand.Rand, zone *time.Location, last domain.Date, i int) {
	baseline := 3.5 + 2.5*random.Float64()    // pain at the beginning
	relief := 0.02 + 0.05*random.Float64()    // fraction of it that is gone per day, up to a half in total
	adherence := 0.80 + 0.18*random.Float64() // fraction of evenings that are answered in time
	flare, offline := 0, 0
	var online domain.Date
	for day := c.enrolledOn; day <= last && (c.endsOn == "" || day < c.endsOn); day = day.AddDays(1) {
		n := day.DaysSince(c.enrolledOn)
		if flare--; flare < 0 && random.Float64() < 0.03 {
			flare = 2 + random.IntN(3)
		}
		if offline--; offline < 0 && random.Float64() < 0.02 {
			offline = 2 + random.IntN(3)
			online = day.AddDays(offline)
		}
		pain := baseline*(1-math.Min(0.5, relief*float64(n))) + random.NormFloat64()
		if flare >= 0 {
			pain += 3
		}
		e := evening{day: day, sentOn: day, answers: painAnswers(random, pain)}
		if offline >= 0 && online <= last {
			e.sentOn = online
		}
		date, _ := day.Time()
		e.capturedAt = time.Date(date.Year(), date.Month(), date.Day(), 18, 15+random.IntN(300), random.IntN(60), 0, zone)
		switch draw := random.Float64(); {
		case draw > adherence+0.06:
			e.missed = true
		case draw > adherence:
			e.late = true
			e.capturedAt = time.Date(date.Year(), date.Month(), date.Day(), 24+6, random.IntN(300), random.IntN(60), 0, zone)
		}
		if worst := e.answers["worst"].(int); !e.missed && worst > 1 && random.Float64() < 0.008 {
			e.correction = worst - 1
		}
		c.evenings = append(c.evenings, e)
		if n%14 == 0 {
			c.moods = append(c.moods, mood{
				day: day, answers: moodAnswers(random, baseline, i == 1 && n == 14),
				capturedAt: time.Date(date.Year(), date.Month(), date.Day(), 10, random.IntN(300), 0, 0, zone),
			})
		}
	}
}

func painAnswers(random *rand.Rand, pain float64) diary.Answers {
	scale := func(x float64) int { return int(math.Round(math.Max(0, math.Min(10, x)))) }
	worst := scale(pain + 1)
	average := min(worst, scale(pain-0.5))
	least := min(average, scale(pain-2.5))
	a := diary.Answers{
		"worst": worst, "average": average, "least": least, "now": least + random.IntN(worst-least+1),
		"rescue": worst >= 7 || random.Float64() < 0.05, "interference": scale(pain - 0.5 + random.NormFloat64()),
	}
	if a["rescue"] == true {
		a["doses"] = 1 + random.IntN(3)
	}
	return a
}

// moodAnswers returns the answers to a PHQ-9, mostly low. An alarming one has the ninth item, on self-harm, above zero.
func moodAnswers(random *rand.Rand, baseline float64, alarming bool) diary.Answers {
	a := diary.Answers{}
	for n := 1; n <= 9; n++ {
		level := int(math.Max(0, math.Min(3, baseline/5+random.NormFloat64()*0.8-0.5)))
		if n == 9 {
			level = 0
			if alarming {
				level = 1
			}
		}
		a[instrument.ItemID(fmt.Sprintf("phq%d", n))] = fmt.Sprint(level)
	}
	return a
}
