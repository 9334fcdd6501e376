package main

import "casebook/api"

type openapiCommand struct{}

// Run prints the description that a server gives at /openapi.json.
func (openapiCommand) Run(s streams) error {
	document, err := api.OpenAPI(buildID())
	if err != nil {
		return err
	}
	_, err = s.out.Write(document)
	return err
}
