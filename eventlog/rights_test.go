package eventlog_test

import (
	"errors"
	"strings"
	"testing"

	"casebook/embedded/node/clustertest"
	"casebook/eventlog"
)

// TestRightsAreChecked: what an account may do is found out without changing anything, and a missing right is named.
func TestRightsAreChecked(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	log := connect(t, c.URL())
	before, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := eventlog.Rights{Append: true, ReadAll: true, ManageGroups: true, Delete: true}
	if rights, err := log.CheckRights(t.Context(), true); err != nil || rights != all {
		t.Errorf("got %+v, %v", rights, err)
	}
	if after, err := log.End(t.Context()); err != nil || after != before {
		t.Errorf("the log ends at %v (%v) after the check, and at %v before", after, err, before)
	}
	for right, named := range map[clustertest.Right]string{
		clustertest.Append: "append to streams", clustertest.ReadAll: "read $all", clustertest.ManageGroups: "$ops",
	} {
		c.Deny(right, true)
		if _, err := log.CheckRights(t.Context(), true); !errors.Is(err, eventlog.ErrMissingRight) || !strings.Contains(err.Error(), named) {
			t.Errorf("without the right to %s: %v", named, err)
		}
		c.Deny(right, false)
	}
	c.Deny(clustertest.ManageGroups, true)
	c.Deny(clustertest.DeleteStreams, true)
	if rights, err := log.CheckRights(t.Context(), false); err != nil || rights.ManageGroups || rights.Delete {
		t.Errorf("without groups: %+v, %v", rights, err)
	}
}
