package main

import (
	"casebook/api"
	"casebook/cmd/casebook/contexts"
)

type openapiCommand struct{}

// Run prints the description that a server serves at /openapi.json.
func (openapiCommand) Run(s streams) error {
	document, err := api.OpenAPI(buildID(), contexts.Commands(), contexts.Queries(), contexts.Streams())
	if err != nil {
		return err
	}
	_, err = s.out.Write(document)
	return err
}
