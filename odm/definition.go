package odm

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"casebook/domain/build"
	"casebook/domain/form"
)

// Definition turns a version of a study into the parts of a build, and reports what of it has no effect there. A version that
// includes another one gets what it does not define itself from there. What a build may not have, build.Definition.Compile
// refuses.
func Definition(study Study, version MetaDataVersion) (*build.Definition, *Report) {
	for depth := 0; version.Include != nil && depth < MaxDepth; depth++ {
		at := slices.IndexFunc(study.Versions, func(v MetaDataVersion) bool {
			return v.OID == version.Include.VersionOID && study.OID == version.Include.StudyOID
		})
		if at < 0 {
			break
		}
		version = including(version, study.Versions[at])
	}
	m := &mapping{study: study, version: version, report: &Report{}, definition: &build.Definition{}, taken: map[string]bool{},
		groups: map[string]string{}, homes: map[string][]home{}, at: "/ODM/Study[" + study.OID + "]/MetaDataVersion[" + version.OID + "]"}
	m.definition.Languages = slices.Sorted(maps.Keys(m.languages()))
	for _, l := range version.Lists {
		m.list(l)
	}
	for _, g := range version.Groups {
		if g.Type == TypeForm {
			m.form(g)
		}
	}
	m.rules()
	m.schedule()
	return m.definition, m.report
}

// including is a version with what it gets from the one that it includes.
func including(v, from MetaDataVersion) MetaDataVersion {
	v.Include = from.Include
	if v.Protocol == nil {
		v.Protocol = from.Protocol
	}
	v.Visits = without(v.Visits, from.Visits, func(x Visit) string { return x.OID })
	v.Groups = without(v.Groups, from.Groups, func(x Group) string { return x.OID })
	v.Items = without(v.Items, from.Items, func(x Item) string { return x.OID })
	v.Lists = without(v.Lists, from.Lists, func(x CodeList) string { return x.OID })
	v.Conditions = without(v.Conditions, from.Conditions, func(x Condition) string { return x.OID })
	v.Methods = without(v.Methods, from.Methods, func(x Method) string { return x.OID })
	return v
}

// without adds those of others that a list does not have.
func without[T any](list, others []T, oid func(T) string) []T {
	all := slices.Clone(list)
	for _, other := range others {
		if _, has := find(list, oid(other), oid); !has {
			all = append(all, other)
		}
	}
	return all
}

func find[T any](list []T, oid string, of func(T) string) (T, bool) {
	for _, one := range list {
		if of(one) == oid {
			return one, true
		}
	}
	var none T
	return none, false
}

// home is an item in its place in the build.
type home struct {
	form, group, item int
	ref               Ref
	of                Item
	// from is the OID of the group in the file.
	from string
}

type mapping struct {
	study      Study
	version    MetaDataVersion
	definition *build.Definition
	report     *Report
	at         string
	// taken are the names that are given, by kind and name; groups are those of forms and lists by their OID.
	taken  map[string]bool
	groups map[string]string
	homes  map[string][]home
	// expanded counts the groups of all forms.
	expanded int
}

// maxGroups is the most groups of all forms together, each counted as often as it is used.
const maxGroups = 1_000

func (m *mapping) found(outcome Outcome, code, construct, oid, why string) {
	m.report.addAt(outcome, code, construct, m.at+"/"+construct+"["+oid+"]", why)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// name makes a name that rules can use of an OID.
func (m *mapping) name(kind, oid string) string {
	plain := strings.TrimLeft(notInNames.ReplaceAllString(strings.TrimSuffix(oid, sameOID), "_"), "_")
	if plain == "" || plain[0] >= '0' && plain[0] <= '9' {
		plain = "X_" + plain
	}
	plain = plain[:min(len(plain), 36)]
	name := plain
	for n := 2; m.taken[kind+" "+name] || (form.Parts{}).Variable("", name) != nil; n++ {
		name = plain + "_" + strconv.Itoa(n)
	}
	m.taken[kind+" "+name] = true
	return name
}

// languages are all that texts of the version are in.
func (m *mapping) languages() map[string]bool {
	found := map[string]bool{}
	add := func(texts []Text) {
		for _, t := range texts {
			if t.Language != "" {
				found[t.Language] = true
			}
		}
	}
	for _, i := range m.version.Items {
		add(i.Question)
	}
	for _, l := range m.version.Lists {
		for _, i := range l.Items {
			add(i.Decode)
		}
	}
	return found
}

// text is a text in the languages of the build. A name, which has no language, stands in for what is not there at all.
func (m *mapping) text(texts []Text, name string) form.Translation {
	translated := form.Translation{}
	for _, t := range texts {
		if t.Language != "" && t.MediaType == "" && t.Value != "" {
			translated[t.Language] = strings.TrimSpace(t.Value)
		}
	}
	if len(translated) > 0 {
		return translated
	}
	for _, t := range texts {
		if t.Language == "" && t.MediaType == "" && t.Value != "" {
			name = strings.TrimSpace(t.Value)
		}
	}
	if len(m.definition.Languages) == 0 {
		return form.Plain(name)
	}
	for _, language := range m.definition.Languages {
		translated[language] = name
	}
	return translated
}

func (m *mapping) list(l CodeList) {
	if l.External != nil || len(l.Items) == 0 {
		return // a dictionary: items name it
	}
	name := m.name("list", l.OID)
	m.groups["list "+l.OID] = name
	list := form.CodeList{ID: name}
	for _, i := range l.Items {
		option := form.Option{Value: i.Value, Label: m.text(i.Decode, i.Value)}
		if rank, err := strconv.ParseFloat(i.Rank, 64); err == nil {
			option.Rank = &rank
		}
		list.Options = append(list.Options, option)
	}
	m.definition.Lists = append(m.definition.Lists, list)
}

// repetition is how often a group can be there; nil when once.
func repetition(g Group) *build.Repeats {
	kind, repeating := map[string]build.RepeatKind{"Simple": build.RepeatsSimple, "Dynamic": build.RepeatsDynamic,
		"Static": build.RepeatsStatic}[g.Repeating]
	if !repeating {
		return nil
	}
	most, _ := strconv.Atoi(g.Limit)
	return &build.Repeats{Kind: kind, Max: most}
}

func (m *mapping) form(g Group) {
	f := build.Form{ID: m.name("form", g.OID), OID: g.OID, Title: m.text(g.Description, g.Name), Kind: build.VisitForm, Repeats: repetition(g)}
	m.groups["form "+g.OID] = f.ID
	m.members(&f, g, 0)
	m.definition.Forms = append(m.definition.Forms, f)
}

// members brings the items of a group, and of the groups in it, into a form. A build has no groups in groups.
func (m *mapping) members(f *build.Form, g Group, depth int) {
	if m.expanded++; depth > MaxDepth || m.expanded > maxGroups {
		m.found(Refused, "groups_in_circle", "ItemGroupDef", g.OID, "Groups hold each other, or there are too many in each other.")
		return
	}
	own := build.Group{OID: g.OID, Title: m.text(g.Description, g.Name)}
	if depth > 0 {
		own.Repeats = repetition(g)
	}
	if depth > 1 {
		m.found(Becomes, "group_flattened", "ItemGroupDef", g.OID, "It is in a group of its form; in a build it stands beside that.")
	}
	at := len(f.Groups)
	items := slices.DeleteFunc(slices.Clone(g.Members), func(r Ref) bool { return r.Kind != ItemRef })
	if len(items) > 0 {
		if own.ID = m.name("group", g.OID); m.groups["group "+g.OID] != "" {
			own.OID = own.ID // a group of two forms is two groups
			m.found(Becomes, "oid_renamed", "ItemGroupDef", g.OID, "It is in several forms, and a group of its own, "+own.ID+", in this one.")
		}
		m.groups["group "+g.OID] = own.ID
		names := map[string]bool{}
		for _, r := range items {
			i, _ := find(m.version.Items, r.OID, func(i Item) string { return i.OID })
			name := m.name("item of "+own.ID, r.OID)
			names[name] = true
			m.homes[r.OID] = append(m.homes[r.OID], home{len(m.definition.Forms), at, len(own.Items), r, i, g.OID})
			own.Items = append(own.Items, m.item(name, r, i))
			if own.Repeats != nil && keyed(own.Repeats.Kind, r) {
				own.Repeats.Key = append(own.Repeats.Key, form.ItemID(name))
			}
		}
		m.rows(own, g)
		f.Groups = append(f.Groups, own)
	}
	for _, r := range g.Members {
		if r.Kind != GroupRef {
			continue
		}
		inner, _ := find(m.version.Groups, r.OID, func(g Group) string { return g.OID })
		if r.Exception != "" {
			m.found(KeptUnused, "kept_unused", "ItemGroupRef", r.OID, "A build skips items, not groups; give its items the condition.")
		}
		m.members(f, inner, depth+1)
	}
}

// keyed reports whether an item tells the rows of a group apart.
func keyed(kind build.RepeatKind, r Ref) bool {
	if kind == build.RepeatsSimple {
		return r.KeySequence != ""
	}
	return slices.ContainsFunc(r.Attributes, func(a Attribute) bool { return a.Space == "" && a.Name == "Repeat" && a.Value != "No" })
}

// rows lets rows be added freely where the file does not say which list they follow from.
func (m *mapping) rows(g build.Group, from Group) {
	if g.Repeats == nil || g.Repeats.Kind == build.RepeatsSimple {
		return
	}
	if key := g.Repeats.Key; len(key) == 1 {
		at := slices.IndexFunc(g.Items, func(i build.Item) bool { return i.ID == key[0] })
		if g.Items[at].List != "" {
			return
		}
	}
	m.found(Becomes, "rows_simple", "ItemGroupDef", from.OID,
		"Its rows, "+from.Repeating+" in the file, follow from no code list, and are added freely.")
	*g.Repeats = build.Repeats{Kind: build.RepeatsSimple, Max: g.Repeats.Max}
}

// types are the types of a build by those of ODM. The others are captured as text.
var types = map[string]form.ItemType{"integer": form.Integer, "decimal": form.Decimal, "float": form.Decimal, "double": form.Decimal,
	"boolean": form.Boolean, "date": form.Date, "time": form.Time, "datetime": form.Datetime, "partialDate": form.PartialDate,
	"incompleteDate": form.PartialDate, "partialDatetime": form.PartialDatetime, "incompleteDatetime": form.PartialDatetime}

func (m *mapping) item(name string, r Ref, i Item) build.Item {
	item := build.Item{OID: i.OID, Item: form.Item{ID: form.ItemID(name), Text: m.text(i.Question, cmp.Or(i.Name, i.OID)),
		Type: cmp.Or(types[i.DataType], form.Text), Required: r.Mandatory == "Yes" && r.Method == ""}}
	if why, narrowed := narrowedTypes[i.DataType]; narrowed {
		m.found(Becomes, "type_narrowed", "ItemDef", i.OID, why)
	} else if strings.HasSuffix(i.DataType, "Time") && item.Type == form.Text {
		m.found(Becomes, "type_narrowed", "ItemDef", i.OID, "A part of a time is captured as text.")
	}
	list, _ := find(m.version.Lists, i.List, func(l CodeList) string { return l.OID })
	switch {
	case list.External != nil:
		item.Dictionary = list.External.Dictionary
	case i.List != "":
		item.Type, item.List = form.Choice, m.groups["list "+i.List]
	}
	if digits, err := strconv.Atoi(i.Digits); err == nil && item.Type == form.Decimal {
		item.Decimals = &digits
	}
	if length, err := strconv.Atoi(i.Length); err == nil && item.Type == form.Text && length > 0 {
		item.MaxChars = length
	}
	for n, oid := range i.Units {
		unit, _ := find(m.study.Units, oid, func(u Unit) string { return u.OID })
		symbol := cmp.Or(unit.Name, oid)
		if len(unit.Symbol) > 0 && unit.Symbol[0].Value != "" {
			symbol = unit.Symbol[0].Value
		}
		if number := item.Type == form.Integer || item.Type == form.Decimal; !number || n > 0 {
			m.found(KeptUnused, "unit_kept", "ItemDef", i.OID, "The file does not say how its unit "+symbol+" is converted.")
			continue
		}
		item.Unit = symbol
	}
	return item
}
