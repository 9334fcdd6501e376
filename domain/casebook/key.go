package casebook

import (
	"fmt"
	"strconv"
	"strings"

	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/refuse"
)

// FormKey names a form of a casebook: visit[n]/form[n], as the keys of ODM do. [1] is left out: V1/VS.
type FormKey string

// RowKey names a group of a form, or one of its rows: visit[n]/form[n]/group[n]. [1] is left out: AE/AE[2]/AE.
type RowKey string

// Key names an item of a casebook: visit[n]/form[n]/group[n]/item. [1] is left out: V1/VS/VS/SYSBP. No key is ever used
// for something else.
type Key string

// maxKeyChars is longer than any key of a build: its names have 64 characters at most.
const maxKeyChars = 300

// Schema implements domain.HasSchema.
func (FormKey) Schema() domain.Schema {
	return domain.Schema{Example: "V1/VS", Description: "visit[n]/form[n]; [1] is left out"}
}

// Schema implements domain.HasSchema.
func (RowKey) Schema() domain.Schema {
	return domain.Schema{Example: "AE/AE/AE[2]", Description: "visit[n]/form[n]/group[n]; [1] is left out"}
}

// Schema implements domain.HasSchema.
func (Key) Schema() domain.Schema {
	return domain.Schema{Example: "V1/VS/VS/SYSBP", Description: "visit[n]/form[n]/group[n]/item; [1] is left out"}
}

// Form returns the form that the item is in.
func (k Key) Form() FormKey {
	at := strings.SplitN(string(k), "/", 3)
	return FormKey(strings.Join(at[:min(2, len(at))], "/"))
}

// Form returns the form that the row is in.
func (k RowKey) Form() FormKey { return Key(k).Form() }

// formPlace is a form key in its parts.
type formPlace struct {
	visit  string
	visitN int
	form   string
	formN  int
}

// rowPlace is a row key in its parts.
type rowPlace struct {
	form  FormKey
	group string
	row   int
}

// key returns the key of an item of the row.
func (r rowPlace) key(item form.ItemID) Key { return Key(r.rowKey()) + "/" + Key(item) }

func (r rowPlace) rowKey() RowKey { return RowKey(string(r.form) + "/" + numbered(r.group, r.row)) }

func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "[" + strconv.Itoa(n) + "]"
}

// keyOf returns the key of a form.
func (p formPlace) key() FormKey {
	return FormKey(numbered(p.visit, p.visitN) + "/" + numbered(p.form, p.formN))
}

// parseForm reads the key of a form, ok is false for what is none.
func parseForm(k FormKey) (p formPlace, ok bool) {
	visit, of, found := strings.Cut(string(k), "/")
	if !found || len(k) > maxKeyChars {
		return p, false
	}
	var isVisit, isForm bool
	p.visit, p.visitN, isVisit = segment(visit)
	p.form, p.formN, isForm = segment(of)
	return p, isVisit && isForm
}

// parseRow reads the key of a row.
func parseRow(k RowKey) (r rowPlace, ok bool) {
	of, group, found := cutLast(string(k))
	if _, isForm := parseForm(FormKey(of)); !found || !isForm {
		return r, false
	}
	r.form = FormKey(of)
	r.group, r.row, ok = segment(group)
	return r, ok
}

// parse reads the key of an item.
func parse(k Key) (r rowPlace, item form.ItemID, ok bool) {
	of, id, found := cutLast(string(k))
	if !found || id == "" || strings.ContainsAny(id, "[]") {
		return r, "", false
	}
	r, ok = parseRow(RowKey(of))
	return r, form.ItemID(id), ok
}

func cutLast(k string) (before, after string, ok bool) {
	n := strings.LastIndexByte(k, '/')
	if n < 0 {
		return "", "", false
	}
	return k[:n], k[n+1:], true
}

// maxNumber is the highest number of a visit, form or row.
const maxNumber = 99_999

// segment reads name[n] and name. What has two ways to be written is read in the shorter one alone.
func segment(s string) (name string, n int, ok bool) {
	name, rest, numbered := strings.Cut(s, "[")
	if name == "" || strings.ContainsAny(name, "]/") {
		return "", 0, false
	}
	if !numbered {
		return name, 1, true
	}
	digits, closed := strings.CutSuffix(rest, "]")
	n, err := strconv.Atoi(digits)
	return name, n, closed && err == nil && n > 1 && n <= maxNumber && strconv.Itoa(n) == digits
}

// malformed is the refusal of what is no key.
func malformed[K ~string](field string, k K, written string) *refuse.Refusal {
	return refuse.Malformed("malformed_key", "%q is not a key", refuse.Shortened(string(k))).At(field).
		Do(fmt.Sprintf("write %s, and leave [1] out", written))
}
