package api

import (
	"net/http"
	"reflect"

	"casebook/domain/refuse"

	"github.com/danielgtaylor/huma/v2"
)

// pushKeyRoute is where an app learns for which key it subscribes to notifications.
const pushKeyRoute = "/api/v1/push-key"

// PushKey is the key that a browser subscribes for.
type PushKey struct {
	Key string `json:"key" doc:"The browser's applicationServerKey: a public key of P-256 in base64url" example:"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"`
}

// getPushKey answers the key, which is the same for everybody and no secret.
func (a *API) getPushKey(c *call) error {
	if a.pushKey == "" {
		return refuse.NotFound("push_unavailable", "this server sends no notifications to devices").
			Do("tell those who run the system, if it should: serve has --push-contact for that")
	}
	return c.answerTagged(PushKey{Key: a.pushKey})
}

func (d *description) pushKey() {
	answer := d.jsonAnswer(reflect.TypeFor[PushKey](), "The key")
	answer.Headers["Etag"] = &huma.Param{Description: "Tag of the answer", Schema: &huma.Schema{Type: huma.TypeString}}
	d.document.AddOperation(&huma.Operation{
		OperationID: "PushKey", Method: http.MethodGet, Path: pushKeyRoute, Tags: []string{tagSession},
		Summary: "For which key a browser subscribes to notifications",
		Description: "The app then sends SubscribePush with the subscription of the browser. If the key has changed since, it " +
			"subscribes anew. Open to everybody.",
		Responses: d.responses(answer, append([]int{http.StatusNotFound}, always...)...),
		Security:  []map[string][]string{},
	})
}
