// A handler for AWS's own Go client: lambda.Start asks the Runtime API for the next event.
package main

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// event is an API Gateway event of format 2.0 for an HTTP request, or the data of `mayfly invoke`.
type event struct {
	events.APIGatewayV2HTTPRequest
	N *int `json:"n"`
}

type count struct {
	N int `json:"n"`
}

func handle(_ context.Context, e event) (any, error) {
	if e.N != nil {
		return count{*e.N + 1}, nil
	}
	query := e.QueryStringParameters
	if query == nil {
		query = map[string]string{}
	}
	body, err := json.Marshal(map[string]any{"message": "hello from go", "path": e.RawPath, "query": query})
	return events.APIGatewayV2HTTPResponse{
		StatusCode: 200,
		Headers:    map[string]string{"content-type": "application/json"},
		Body:       string(body),
	}, err
}

func main() { lambda.Start(handle) }
