package randomisation

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Upload records a list that was made outside of Casebook. It refuses study_not_found, no_protocol,
// study_not_randomised, stage_not_found, value_missing, value_too_long, scheme_exists, too_many_strata, list_too_long and invalid_list.
// The refusals name lines but never the arm of a row, because they may be logged.
func Upload(r Randomisation, s study.Study, cmd UploadRandomisationList, _ domain.Call) ([]Event, error) {
	factors, arms, err := r.newScheme(s, cmd.Study, cmd.Stage, cmd.Scheme)
	if err != nil {
		return nil, err
	}
	if n, ok := strataOf(factors); !ok {
		return nil, tooManyStrata(n)
	}
	if n := len(cmd.CSV); n > maxCSVBytes {
		return nil, listTooLong("csv", "bytes", n)
	}
	l := list{factors: factors, arms: arms}
	if l.rows, err = readRows(cmd.CSV, factors, arms); err != nil {
		return nil, err
	}
	if !l.valid() {
		return nil, invalidList("the list does not have every arm of the protocol").Do("give every arm its rows, or change the protocol")
	}
	hash := l.hash(nil)
	shownHash := hash
	if len(l.rows) < minRowsToShowHash {
		shownHash = ""
	}
	parts := l.parts(hash)
	events := make([]Event, len(parts))
	for i, part := range parts {
		e := ListUploaded{Study: cmd.Study, Scheme: cmd.Scheme, Part: i + 1, Parts: len(parts), Rows: len(l.rows),
			SHA256: shownHash, List: blind.Of(part)}
		if i == 0 {
			e.Factors = factors
		}
		events[i] = e
	}
	return events, nil
}

// readRows reads the CSV. The columns may have any order; blanks around values are ignored.
func readRows(text string, factors []Factor, arms []domain.ArmID) ([]Row, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))) // spreadsheets write a byte order mark
	r.ReuseRecord = true
	record, err := r.Read()
	if err != nil {
		return nil, unreadable(err)
	}
	columns, arm, err := readHeader(record, factors)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if len(rows) == maxRows {
			return nil, listTooLong("csv", "rows or more", maxRows+1)
		}
		line, _ := r.FieldPos(0)
		stratum := 0
		for i, f := range factors {
			level := slices.Index(f.Levels, strings.TrimSpace(record[columns[i]]))
			if level < 0 {
				return nil, invalidList("line %d has a level of factor %s that the protocol does not have", line, f.ID).
					Do("use the protocol's levels, written as it writes them")
			}
			stratum = stratum*len(f.Levels) + level
		}
		a := slices.Index(arms, domain.ArmID(strings.TrimSpace(record[arm])))
		if a < 0 {
			return nil, invalidList("line %d has an arm that the protocol does not have", line).Do("use the ids of the protocol's arms")
		}
		rows = append(rows, Row{stratum, a})
	}
	if len(rows) == 0 {
		return nil, invalidList("the list has no rows").Do("add one row per patient to draw")
	}
	return rows, nil
}

// readHeader returns the column of every factor, and the column of the arm.
func readHeader(record []string, factors []Factor) (columns []int, arm int, err error) {
	names := make([]string, len(record))
	for i, name := range record {
		names[i] = strings.TrimSpace(name)
	}
	if len(names) != len(factors)+1 {
		return nil, 0, invalidList("the header has %d columns, and the protocol %d factors", len(names), len(factors)).
			Do("use one column per factor, and arm")
	}
	for _, f := range factors {
		column := slices.Index(names, f.ID)
		if column < 0 {
			return nil, 0, invalidList("the header does not have the factor %s", f.ID).Do("use one column per factor, and arm")
		}
		columns = append(columns, column)
		names[column] = "" // no id is empty, so no column is found twice
	}
	if arm = slices.Index(names, armColumn); arm < 0 {
		return nil, 0, invalidList("the header does not have the column arm").Do("use one column per factor, and arm")
	}
	return columns, arm, nil
}

// unreadable names the line that is not valid CSV. It leaves out the line's content, which may show an arm.
func unreadable(err error) error {
	if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
		return invalidList("line %d cannot be read: %v", parse.Line, parse.Err).
			Do("write the list as RFC 4180 says, with the same number of columns in every row")
	}
	return invalidList("there is no header").Do("begin with a header: one column per factor, and arm")
}

func invalidList(format string, args ...any) *refuse.Refusal {
	return refuse.Because("invalid_list", format, args...).At("csv")
}
